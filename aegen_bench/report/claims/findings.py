"""Which of the paper's statements hold in the results: `claims` of published.yaml, evaluated and put into tables.

A claim is data: what is said and where, the datasets, a measure (`measures.py`) and a predicate (`predicates.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any, Literal

from pydantic import model_validator

from aegen_bench.errors import UserError, unknown
from aegen_bench.inference import Row, Scale, moderated
from aegen_bench.report import notes
from aegen_bench.report.cells import Cell, Table, words
from aegen_bench.report.claims.measures import MEASURES, Printed, Sample, Source
from aegen_bench.report.claims.predicates import (
    Between,
    Check,
    Ends,
    Equivalence,
    Falls,
    Here,
    Higher,
    Lower,
    LowerThanCited,
    NoGain,
    Order,
    Predicate,
    Rises,
    Within,
)
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.published import Published
from aegen_bench.report.summary import Summary
from aegen_bench.study.reading import Strict, validated

__all__ = ["Claim", "Finding", "alike", "claims", "evaluate", "load", "verdicts"]

Verdict = Literal["supported", "contradicted", "inconclusive", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "inconclusive", "not tested")


class Claim(Strict):
    """A statement of the paper. `protocol` is the name of the only one it speaks of."""

    name: str
    says: str
    section: str
    measure: str
    datasets: tuple[str, ...]
    protocol: str = ""
    lower: Lower | None = None
    higher: Higher | None = None
    within: Within | None = None
    no_gain: NoGain | None = None
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
        predicate = self.predicate
        share = isinstance(predicate, Equivalence) or (isinstance(predicate, Order) and predicate.factor != 1)
        if share and not MEASURES[self.measure].scale.logarithmic:
            raise ValueError(
                f"a factor or margin needs a measure that is compared by its logarithm: not {self.measure}"
            )
        return self

    @property
    def predicate(self) -> Predicate:
        return next(value for _, value in self if isinstance(value, Predicate))


@dataclass(frozen=True)
class Finding:
    """What became of a claim on one dataset; `place` is the protocol's name, or the device of times, or empty where
    neither has to do with it. `paper` is what the numbers of the paper's own tables say by the same tests.
    """

    claim: Claim
    dataset: str
    place: str
    verdict: Verdict
    numbers: str
    test: str
    paper: Verdict = "not tested"


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
        Source(evidence, whole, whole.summary, f"{next(iter(found.values())).about['device']}, timing {one}", found)
        for one, found in evidence.timings.items()
    ] or [
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
                paper = _of_paper(claim, dataset, evidence.layout.published)
                yield Finding(claim, dataset, claim.protocol, "not tested", "", why, paper)


@dataclass(frozen=True)
class _Here:
    """One measure on one dataset under one protocol or device; `named` are the rows that a claim speaks of."""

    source: Source
    dataset: str
    measure: str
    named: tuple[str, ...]

    @property
    def scale(self) -> Scale:
        return MEASURES[self.measure].scale

    def sample(self, row: str) -> Sample:
        found = self.source.sample(self.dataset, row, self.measure)
        if found.values and not found.why and len(self.scale.of(found.values)) < len(found.values):
            return replace(found, why="not positive, so without a logarithm")
        return found

    def row(self, row: str) -> Row:
        return self._rows[row]

    @cached_property
    def _rows(self) -> dict[str, Row]:
        """The rows that the claim names, their variances moderated by those of all rows of the profile where reading
        these is cheap.
        """
        cheap = self.measure == "distance" or MEASURES[self.measure].metric
        names = dict.fromkeys([*self.named, *(self.source.evidence.layout.rows if cheap else [])])
        samples = {name: self.sample(name) for name in names}
        found, _ = moderated({name: one.values for name, one in samples.items() if not one.why}, self.scale)
        return found

    def cited(self, table: int, row: str) -> float | None:
        layout = self.source.evidence.layout
        if (layout.profile, self.source.part.extractor) != ("paper", "inception"):
            return None
        return layout.published.value(table, row, self.dataset).get("mean")


def _finding(claim: Claim, source: Source, dataset: str) -> Finding:
    predicate, paper = claim.predicate, _of_paper(claim, dataset, source.evidence.layout.published)
    if not source.has(dataset):
        return Finding(claim, dataset, source.place, "not tested", "", "no results on this dataset", paper)
    here = _Here(source, dataset, claim.measure, predicate.named())
    checks = _checks(predicate, here)
    numbers = "; ".join(filter(None, (here.sample(row).text() for row in dict.fromkeys(predicate.named()))))
    verdict = _verdict(checks)
    return Finding(claim, dataset, source.place, verdict, numbers, _said(predicate, checks, verdict), paper)


def _of_paper(claim: Claim, dataset: str, published: Published) -> Verdict:
    """What the paper's tables say; nothing of a claim on a protocol of its own, which its tables are not of."""
    if claim.protocol:
        return "not tested"
    return _verdict(_checks(claim.predicate, Printed(published, dataset, claim.measure)))


def _checks(predicate: Predicate, here: Here) -> list[Check]:
    found = list(predicate.checks(here))
    tested = sum(check.p is not None for check in found)
    return [check.among(tested) for check in found]


def _verdict(checks: Sequence[Check]) -> Verdict:
    """What the comparisons of a claim say together."""
    outcomes = [check.outcome for check in checks]
    if "contradicted" in outcomes:
        return "contradicted"
    if "inconclusive" in outcomes:
        return "inconclusive"
    return "not tested" if None in outcomes else "supported"


def _said(predicate: Predicate, checks: Sequence[Check], verdict: Verdict) -> str:
    """The comparisons that decide a verdict, of a supported claim the weakest, and why others were not tested."""
    deciding = [check for check in checks if check.outcome == verdict]
    if verdict == "supported":
        deciding = [max(deciding, key=lambda check: check.p or 0.0)]
    untested = [] if verdict == "supported" else _reasons(checks)
    return "; ".join([*([_tested(predicate, deciding)] if deciding else []), *untested])


def _tested(predicate: Predicate, checks: Sequence[Check]) -> str:
    """`one-sided t-test: p = 0.94 (against RAE+GMM)`."""
    if any(check.p is None for check in checks):  # how trials ended, or what no seed changes
        name = predicate.test if isinstance(predicate, Ends) else "exact"
        return f"{name} ({', '.join(check.what for check in checks)})"
    return f"{predicate.test}: {', '.join(map(_one, checks))}"


def _one(check: Check) -> str:
    """`p = 0.94 (against RAE+GMM)`; of a contradiction the p-value of that."""
    p = check.against if check.outcome == "contradicted" else check.p
    more = [check.settle] if check.outcome == "inconclusive" and check.settle else []
    return f"p = {p:.2g} ({'; '.join([check.what, *more])})"


def _reasons(checks: Sequence[Check]) -> list[str]:
    """`one trial, as claimed so far (WAE-GAN; Two-Stage VAE)`: each reason once, with those it holds of."""
    whom: dict[str, list[str]] = {}
    for check in checks:
        if check.outcome is None:
            names = whom.setdefault(check.why, [])
            names += [check.whom] if check.whom and check.whom not in names else []
    return [f"{why} ({'; '.join(names)})" if names else why for why, names in whom.items()]


# ---- tables ------------------------------------------------------------------------------------------


def alike(findings: Sequence[Finding]) -> Iterator[tuple[Claim, list[list[Finding]]]]:
    """Yield each claim with its findings in groups that say the same, so that an untested claim has one line for
    several datasets; those that were tested come first.
    """
    for claim, of_claim in groupby(findings, lambda finding: finding.claim):
        groups: dict[tuple[str, ...], list[Finding]] = {}
        for finding in of_claim:
            groups.setdefault((finding.verdict, finding.numbers, finding.test, finding.paper), []).append(finding)
        yield claim, sorted(groups.values(), key=lambda group: (group[0].verdict == "not tested", not group[0].numbers))


def claims(evidence: Evidence, findings: Sequence[Finding]) -> Table:
    """Every claim with what the results say of it, a line a dataset and protocol (or device) with the evidence."""
    heads = ("The paper says", "Section", "Dataset", "Protocol or device", "Verdict", "By the paper's numbers")
    lines = []
    for claim, groups in alike(findings):
        first = [claim.says, claim.section]
        for group in groups:
            one = group[0]
            datasets = ", ".join(dict.fromkeys(evidence.name(f.dataset) for f in group))
            places = "; ".join(dict.fromkeys(f.place for f in group)) or "—"
            lines.append([*first, datasets, places, one.verdict, _printed(one), one.numbers, one.test])
            first = ["", ""]
    protocols = [f"{part.name}: {part.about['describe']}" for part in evidence.parts if "describe" in part.about]
    said = [notes.CLAIMS, *protocols, *notes.departures(evidence.frame, evidence.layout)]
    return _table("claims", evidence, [*heads, "Our numbers", "Test, or why there is none"], lines, said)


def verdicts(evidence: Evidence, findings: Sequence[Finding]) -> Table:
    """A line a claim that could be tested: its verdict on each dataset where there is one."""
    found = [(claim, list(mine)) for claim, mine in groupby(findings, lambda finding: finding.claim)]
    lines = [[c.says, c.section, summed] for c, mine in found if (summed := _summary(evidence, mine))]
    counts = Counter(_overall(mine) for _, mine in found)
    said = [notes.counted({verdict: counts[verdict] for verdict in VERDICTS}), notes.CLAIMS]
    return _table("verdicts", evidence, ["The paper says", "Section", "Verdict"], lines, said)


def _printed(finding: Finding) -> str:
    """What the paper's numbers say; nothing where it prints none."""
    return "" if finding.paper == "not tested" else finding.paper


def _summary(evidence: Evidence, findings: Sequence[Finding]) -> str:
    """`Fashion: supported (lite; dinov2), contradicted (lite_classifier), by the paper's numbers supported`; empty
    where nothing was tested.
    """
    parts, several = [], len({finding.place for finding in findings}) > 1
    for dataset in dict.fromkeys(finding.dataset for finding in findings):
        here = [finding for finding in findings if finding.dataset == dataset and finding.verdict != "not tested"]
        said: dict[str, list[str]] = {}
        for finding in here:
            said.setdefault(finding.verdict, []).append(finding.place)
        texts = [f"{verdict} ({'; '.join(names)})" if several else verdict for verdict, names in said.items()]
        texts += [f"by the paper's numbers {printed}" for printed in {_printed(finding) for finding in here} if printed]
        parts += [f"{evidence.name(dataset)}: {', '.join(texts)}"] if here else []
    return "; ".join(parts)


def _overall(findings: Sequence[Finding]) -> Verdict:
    """What all tests of a claim say together: supported where each that could be made says so."""
    seen = {finding.verdict for finding in findings}
    order: tuple[Verdict, ...] = ("contradicted", "inconclusive", "supported", "not tested")
    return next(verdict for verdict in order if verdict in seen)


def _table(name: str, evidence: Evidence, heads: Sequence[str], lines: list[list[str]], said: list[str]) -> Table:
    caption, body = "What the paper says, against these results", [[Cell(text=text) for text in line] for line in lines]
    return Table(name, "Claims", caption, list(map(words, heads)), body, said, evidence.layout.profile)
