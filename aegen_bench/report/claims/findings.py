"""Which of the paper's statements hold in the results: `claims` of published.yaml, evaluated and put into tables.

A claim is data: what is said and where, the datasets, a measure (`measures.py`) and a predicate (`predicates.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from pydantic import model_validator

from aegen_bench.errors import UserError, unknown
from aegen_bench.report import notes
from aegen_bench.report.cells import Cell, Table, words
from aegen_bench.report.claims.measures import MEASURES, Sample, Source
from aegen_bench.report.claims.predicates import (
    Between,
    Check,
    Ends,
    Falls,
    Higher,
    Lower,
    LowerThanCited,
    Predicate,
    Rises,
    Within,
)
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.published import Published
from aegen_bench.report.summary import Summary
from aegen_bench.study.reading import Strict, validated

__all__ = ["Claim", "Finding", "alike", "claims", "evaluate", "load", "verdicts"]

Verdict = Literal["reproduced", "not reproduced", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "not reproduced", "not tested")


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

    def said(self, group: Sequence[Finding]) -> str:
        """The test, with what the paper's own numbers say of a group of findings where they say otherwise than its
        words.
        """
        if self.verdict == "not tested" or any(one.dataset not in one.claim.paper_differs for one in group):
            return self.test
        either = " either" if self.verdict == "not reproduced" else ""
        return f"{self.test}; the paper's own numbers do not show it{either}"


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


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of each claim by dataset and, where a network scores, by protocol, or by device where it
    speaks of times.
    """
    whole, frame = evidence.whole, evidence.frame
    plain = [Source(evidence, whole, whole.summary)]
    scored = [Source(evidence, part, part.summary) for part in evidence.parts]
    timed = [
        Source(evidence, whole, Summary(frame[frame["device"] == one], evidence.layout), one)
        for one in evidence.devices
    ]
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
        layout = self.source.evidence.layout
        if (layout.profile, self.source.part.extractor) != ("paper", "inception"):
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


# ---- tables ------------------------------------------------------------------------------------------


def alike(findings: Sequence[Finding]) -> Iterator[tuple[Claim, list[list[Finding]]]]:
    """Yield each claim with its findings in groups that say the same, so that an untested claim has one line for
    several datasets; those that were tested come first.
    """
    for claim, of_claim in groupby(findings, lambda finding: finding.claim):
        groups: dict[tuple[str, str, str], list[Finding]] = {}
        for finding in of_claim:
            groups.setdefault((finding.verdict, finding.numbers, finding.test), []).append(finding)
        yield claim, sorted(groups.values(), key=lambda group: (group[0].verdict == "not tested", not group[0].numbers))


def claims(evidence: Evidence, findings: Sequence[Finding]) -> Table:
    """Every claim with what the results say of it, a line a dataset and protocol (or device) with the evidence."""
    heads = ("The paper says", "Section", "Dataset", "Protocol or device", "Verdict", "Our numbers")
    lines = []
    for claim, groups in alike(findings):
        first = [claim.says, claim.section]
        for group in groups:
            one = group[0]
            datasets = ", ".join(dict.fromkeys(evidence.name(f.dataset) for f in group))
            places = "; ".join(dict.fromkeys(f.place for f in group)) or "—"
            lines.append([*first, datasets, places, one.verdict, one.numbers, one.said(group)])
            first = ["", ""]
    protocols = [f"{part.name}: {part.about['describe']}" for part in evidence.parts if "describe" in part.about]
    said = [notes.CLAIMS, *protocols, *notes.departures(evidence.frame, evidence.layout)]
    return _table("claims", evidence, [*heads, "Test, or why there is none"], lines, said)


def verdicts(evidence: Evidence, findings: Sequence[Finding]) -> Table:
    """A line a claim that could be tested: its verdict on each dataset where there is one."""
    found = [(claim, list(mine)) for claim, mine in groupby(findings, lambda finding: finding.claim)]
    lines = [[c.says, c.section, summed] for c, mine in found if (summed := _summary(evidence, mine))]
    counts = Counter(_overall(mine) for _, mine in found)
    said = [notes.counted({verdict: counts[verdict] for verdict in VERDICTS}), notes.CLAIMS]
    return _table("verdicts", evidence, ["The paper says", "Section", "Verdict"], lines, said)


def _summary(evidence: Evidence, findings: Sequence[Finding]) -> str:
    """`Fashion: reproduced (lite; dinov2), not reproduced (lite_classifier)`; empty where nothing was tested."""
    parts, several = [], len({finding.place for finding in findings}) > 1
    for dataset in dict.fromkeys(finding.dataset for finding in findings):
        said: dict[str, list[str]] = {}
        for finding in findings:
            if finding.dataset == dataset and finding.verdict != "not tested":
                said.setdefault(finding.verdict, []).append(finding.place)
        texts = [f"{verdict} ({'; '.join(names)})" if several else verdict for verdict, names in said.items()]
        parts += [f"{evidence.name(dataset)}: {', '.join(texts)}"] if texts else []
    return "; ".join(parts)


def _overall(findings: Sequence[Finding]) -> Verdict:
    seen = {finding.verdict for finding in findings}
    return "not reproduced" if "not reproduced" in seen else "reproduced" if "reproduced" in seen else "not tested"


def _table(name: str, evidence: Evidence, heads: Sequence[str], lines: list[list[str]], said: list[str]) -> Table:
    caption, body = "What the paper says, against these results", [[Cell(text=text) for text in line] for line in lines]
    return Table(name, "Claims", caption, list(map(words, heads)), body, said, evidence.layout.profile)
