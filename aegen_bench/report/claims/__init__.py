"""Which of the paper's statements hold in the results: `claims` of published.yaml, evaluated.

A claim is data: what is said and where, the datasets, a measure (`measures.py`) and a predicate (`predicates.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import model_validator

from aegen_bench.errors import UserError, unknown
from aegen_bench.report.cells import devices
from aegen_bench.report.claims.comparing import Check
from aegen_bench.report.claims.measures import MEASURES, Sample, Source
from aegen_bench.report.claims.predicates import (
    Between,
    Ends,
    Falls,
    Higher,
    Lower,
    LowerThanCited,
    Predicate,
    Rises,
    Within,
)
from aegen_bench.report.evidence import Evidence, Part
from aegen_bench.report.published import Published
from aegen_bench.study.reading import Strict, validated

__all__ = ["Claim", "Finding", "evaluate", "load"]

Verdict = Literal["reproduced", "not reproduced", "not tested"]


class Claim(Strict):
    """A statement of the paper. `protocol` is the name of the only one it speaks of; `paper_differs` are the datasets
    on which the paper's own numbers do not show it.
    """

    name: str
    says: str
    section: str
    measure: str
    datasets: tuple[str, ...]
    protocol: str = ""
    paper_differs: tuple[str, ...] = ()
    lower: Lower | None = None
    higher: Higher | None = None
    within: Within | None = None
    between: Between | None = None
    lower_than_cited: LowerThanCited | None = None
    falls: Falls | None = None
    rises: Rises | None = None
    ends: Ends | None = None

    @model_validator(mode="after")
    def _one_predicate(self) -> Claim:
        if sum(isinstance(value, Predicate) for _, value in self) != 1:
            legal = [name for name, field in type(self).model_fields.items() if field.default is None]
            raise ValueError(f"a claim has exactly one of {', '.join(legal)}")
        if self.measure not in MEASURES:
            raise ValueError(str(unknown("measure", self.measure, MEASURES)))
        return self

    @property
    def predicate(self) -> Predicate:
        return next(value for _, value in self if isinstance(value, Predicate))


@dataclass(frozen=True)
class Finding:
    """What became of a claim on one dataset; `place` is the protocol's name, or the device of times, or empty where
    neither has to do with it.
    """

    claim: Claim
    dataset: str
    place: str
    verdict: Verdict
    numbers: str
    test: str


def load(published: Published) -> list[Claim]:
    """Return the claims of published.yaml; UserError that names the first fault of one."""
    found: Any = published.content.get("claims", [])
    if not isinstance(found, list):
        raise UserError(f"{published.path}: claims: expected a list, found {type(found).__name__}")
    claims: list[Claim] = []
    for i, one in enumerate(found, 1):
        name = one.get("name", i) if isinstance(one, dict) else i
        claim = validated(Claim, one, f"{published.path}: claim {name}")
        if any(claim.name == other.name for other in claims):
            raise UserError(f"{published.path}: claim {name} stands twice")
        claims.append(claim)
    return claims


def evaluate(evidence: Evidence, protocol: str | None = None) -> Iterator[Finding]:
    """Yield the findings of each claim by dataset and, where a network scores, by protocol (or under one id alone), or
    by device where it speaks of times.
    """
    frame = evidence.frame
    parts = [part for part in evidence.parts() if protocol in (None, part.protocol)]
    plain = [Source(evidence, Part("", "", "", frame))]
    scored = [Source(evidence, part) for part in parts]
    timed = [Source(evidence, Part("", "", "", frame[frame["device"] == one]), one) for one in devices(frame)]
    for claim in load(evidence.layout.published):
        about = MEASURES[claim.measure]
        sources = scored if about.scored else timed if about.timed and timed else plain
        if claim.protocol:
            sources = [source for source in sources if source.place == claim.protocol]
        for dataset in claim.datasets:
            yield from (_finding(claim, source, dataset) for source in sources)
            if not sources:
                why = f"nothing is scored{f' under protocol {claim.protocol}' if claim.protocol else ''}"
                yield Finding(claim, dataset, claim.protocol, "not tested", "", why)


@dataclass(frozen=True)
class _Here:
    """One measure on one dataset under one protocol or device."""

    source: Source
    dataset: str
    measure: str

    def sample(self, row: str) -> Sample:
        return self.source.sample(self.dataset, row, self.measure)

    def cited(self, table: int, row: str) -> float | None:
        layout, part = self.source.evidence.layout, self.source.part
        if (layout.profile, part.extractor) != ("paper", "inception"):
            return None
        return layout.published.value(table, row, self.dataset).get("mean")


def _finding(claim: Claim, source: Source, dataset: str) -> Finding:
    blank = Finding(claim, dataset, source.place, "not tested", "", "no results on this dataset")
    if not source.has(dataset):
        return blank
    here, predicate = _Here(source, dataset, claim.measure), claim.predicate
    checks = list(predicate.checks(here))
    texts = [here.sample(row).text() for row in dict.fromkeys(predicate.named())]
    found = replace(blank, numbers="; ".join(filter(None, texts)))
    if failed := [check for check in checks if check.holds is False]:
        return replace(found, verdict="not reproduced", test="; ".join([_tested(predicate, failed), *_reasons(checks)]))
    if reasons := _reasons(checks):
        return replace(found, test="; ".join(reasons))
    return replace(found, verdict="reproduced", test=_tested(predicate, [max(checks, key=lambda c: c.p or 0.0)]))


def _tested(predicate: Predicate, checks: list[Check]) -> str:
    """`Welch, one-sided: p = 0.94 (against RAE+GMM)`: what fails, or the weakest where all hold."""
    if any(check.p is None for check in checks):  # how trials ended, or what no seed changes
        name = predicate.test if isinstance(predicate, Ends) else "exact"
        return f"{name} ({', '.join(check.what for check in checks)})"
    return f"{predicate.test}: {', '.join(f'p = {check.p:.2g} ({check.what})' for check in checks)}"


def _reasons(checks: list[Check]) -> list[str]:
    """`one trial, as claimed so far (WAE-GAN; Two-Stage VAE)`: each reason once, with those it holds of."""
    whom: dict[str, list[str]] = {}
    for check in checks:
        if check.holds is None:
            names = whom.setdefault(check.why, [])
            names += [check.whom] if check.whom and check.whom not in names else []
    return [f"{why} ({'; '.join(names)})" if names else why for why, names in whom.items()]
