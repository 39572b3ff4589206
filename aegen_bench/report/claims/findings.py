"""Tests the paper's statements against the results: evaluates the `claims` of published.yaml, and makes their tables.

A claim is data: the statement and its section, the datasets, a measure (`measures.py`) and a predicate
(`predicates.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args

from aegen_bench.errors import UserError
from aegen_bench.report import notes
from aegen_bench.report.cells import Cell, Table, words
from aegen_bench.report.claims.measures import MEASURES, Measured, PapersNumbers, Source
from aegen_bench.report.claims.predicates import Check, Claim, Ends, Here, Predicate
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.published import Published
from aegen_bench.study.reading import validated

__all__ = ["Claim", "Finding", "alike", "claims", "evaluate", "load", "verdicts"]

Verdict = Literal["supported", "contradicted", "inconclusive", "not tested"]


@dataclass(frozen=True)
class Finding:
    """The result of a claim on one dataset. `place` is the name of the protocol, the device for times, or empty if the
    claim depends on neither. `paper` is the verdict of the same tests on the paper's own numbers.
    """

    claim: Claim
    dataset: str
    place: str
    verdict: Verdict
    numbers: str
    test: str
    paper: Verdict = "not tested"

    @property
    def printed(self) -> str:
        """The verdict by the paper's numbers; empty if it has none."""
        return "" if self.paper == "not tested" else self.paper


def load(published: Published) -> list[Claim]:
    """Return the claims of published.yaml; UserError for an invalid one."""
    found: Any = published.content.get("claims", [])
    if not isinstance(found, list):
        raise UserError(f"{published.path}: claims: expected a list, found {type(found).__name__}")
    claims: list[Claim] = []
    for i, one in enumerate(found, 1):
        name = one.get("name", i) if isinstance(one, dict) else i
        claim = validated(Claim, one, f"{published.path}: claim {name}")
        if any(claim.name == other.name for other in claims):
            raise UserError(f"{published.path}: there are two claims called {name}")
        claims.append(claim)
    return claims


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of each claim: one per dataset, and per protocol if it is about scores, or per device if it is
    about times.
    """
    whole = evidence.whole
    plain = [Source(evidence, whole)]
    scored = [Source(evidence, part) for part in evidence.parts]
    timed = [Source(evidence, whole, next(iter(found.values())).place, found) for found in evidence.timings.values()]
    for claim in load(evidence.layout.published):
        about = MEASURES[claim.measure]
        sources = scored if about.scored else timed if about.timed and timed else plain
        if claim.protocol:
            sources = [source for source in sources if source.place == claim.protocol]
        for dataset in claim.datasets:
            paper = _of_paper(claim, dataset, evidence.layout.published)
            yield from (_finding(claim, source, dataset, paper) for source in sources)
            if not sources:
                why = f"no scores{f' under protocol {claim.protocol}' if claim.protocol else ''}"
                yield Finding(claim, dataset, claim.protocol, "not tested", "", why, paper)


def _finding(claim: Claim, source: Source, dataset: str, paper: Verdict) -> Finding:
    predicate = claim.predicate
    if not source.has(dataset):
        return Finding(claim, dataset, source.place, "not tested", "", "no results on this dataset", paper)
    here = Measured(source, dataset, claim.measure, predicate.named())
    checks = _checks(predicate, here)
    numbers = "; ".join(filter(None, (here.sample(row).text() for row in predicate.named())))
    verdict = _verdict(checks)
    return Finding(claim, dataset, source.place, verdict, numbers, _said(predicate, checks, verdict), paper)


def _of_paper(claim: Claim, dataset: str, published: Published) -> Verdict:
    """Return the verdict by the paper's tables; "not tested" if the claim is about another protocol."""
    if claim.protocol:
        return "not tested"
    return _verdict(_checks(claim.predicate, PapersNumbers(published, dataset, claim.measure)))


def _checks(predicate: Predicate, here: Here) -> list[Check]:
    found = list(predicate.checks(here))
    tested = sum(check.p is not None for check in found)
    return [check.among(tested) for check in found]


def _verdict(checks: Sequence[Check]) -> Verdict:
    """Return the joint verdict of the comparisons of a claim."""
    outcomes = {check.outcome or "not tested" for check in checks}
    return next((one for one in ("contradicted", "inconclusive", "not tested") if one in outcomes), "supported")


def _said(predicate: Predicate, checks: Sequence[Check], verdict: Verdict) -> str:
    """Return the comparisons that decide a verdict (the weakest one if supported), `one-sided t-test: p = 0.94 (against
    RAE+GMM)`, then the reasons why others were not tested, with their rows, `only one trial, in line with the claim
    (WAE-GAN)`.
    """
    deciding = [check for check in checks if check.outcome == verdict]
    if verdict == "supported":
        deciding = [max(deciding, key=lambda check: check.p or 0.0)]
    told = []
    if any(check.p is None for check in deciding):  # how trials ended, or a number that does not depend on the seed
        name = predicate.test if isinstance(predicate, Ends) else "no test needed"
        told.append(f"{name} ({', '.join(check.what for check in deciding)})")
    elif deciding:
        told.append(f"{predicate.test}: {', '.join(map(_tested, deciding))}")
    whom: dict[str, list[str]] = {}
    for check in checks if verdict != "supported" else []:
        if check.outcome is None and check.whom not in whom.setdefault(check.why, []):
            whom[check.why].append(check.whom)
    return "; ".join([*told, *(f"{why} ({'; '.join(names)})" if any(names) else why for why, names in whom.items())])


def _tested(check: Check) -> str:
    """Return `p = 0.94 (against RAE+GMM)`; for a contradiction, with the p-value of the opposite."""
    p = check.against if check.outcome == "contradicted" else check.p
    more = [check.settle] if check.outcome == "inconclusive" and check.settle else []
    return f"p = {p:.2g} ({'; '.join([check.what, *more])})"


# ---- tables ------------------------------------------------------------------------------------------


def alike(findings: Sequence[Finding]) -> Iterator[tuple[Claim, list[list[Finding]]]]:
    """Yield each claim with its findings, grouped if they are the same, so that an untested claim has one line for
    several datasets. Tested findings come first.
    """
    for claim, of_claim in groupby(findings, lambda finding: finding.claim):
        groups: dict[tuple[str, ...], list[Finding]] = {}
        for finding in of_claim:
            groups.setdefault((finding.verdict, finding.numbers, finding.test, finding.paper), []).append(finding)
        yield claim, sorted(groups.values(), key=lambda group: (group[0].verdict == "not tested", not group[0].numbers))


def claims(evidence: Evidence, findings: Sequence[Finding]) -> Table:
    """Return the table of all claims with the evidence, one line per dataset and protocol (or device)."""
    heads = ("The paper says", "Section", "Dataset", "Protocol or device", "Verdict", "From the paper's numbers")
    lines = []
    for claim, groups in alike(findings):
        first = [claim.says, claim.section]
        for group in groups:
            one = group[0]
            datasets = ", ".join(dict.fromkeys(evidence.name(f.dataset) for f in group))
            places = "; ".join(dict.fromkeys(f.place for f in group)) or "—"
            lines.append([*first, datasets, places, one.verdict, one.printed, one.numbers, one.test])
            first = ["", ""]
    protocols = [f"{part.name}: {part.about['describe']}" for part in evidence.parts if "describe" in part.about]
    said = [notes.CLAIMS, *protocols, *notes.departures(evidence.frame, evidence.layout)]
    return _table("claims", evidence, [*heads, "Our numbers", "Test, or why there was none"], lines, said)


def verdicts(evidence: Evidence, findings: Sequence[Finding]) -> Table:
    """Return the table of all claims that could be tested, one line per claim with its verdicts by dataset."""
    counts, lines = Counter[Verdict](), []
    for claim, found in groupby(findings, lambda finding: finding.claim):
        mine = list(found)
        counts[_overall(mine)] += 1
        if tested := [finding for finding in mine if finding.verdict != "not tested"]:
            several = len({finding.place for finding in mine}) > 1
            lines.append([claim.says, claim.section, _summary(evidence, tested, several=several)])
    said = [notes.counted({verdict: counts[verdict] for verdict in get_args(Verdict)}), notes.CLAIMS]
    return _table("verdicts", evidence, ["The paper says", "Section", "Verdict"], lines, said)


def _summary(evidence: Evidence, findings: Sequence[Finding], *, several: bool) -> str:
    """Return `Fashion: supported (lite), contradicted (lite_classifier), from the paper's numbers: supported`."""
    parts = []
    for dataset in dict.fromkeys(finding.dataset for finding in findings):
        said: dict[str, list[str]] = {}
        for finding in (one for one in findings if one.dataset == dataset):
            said.setdefault(finding.verdict, []).append(finding.place)
        texts = [f"{verdict} ({'; '.join(names)})" if several else verdict for verdict, names in said.items()]
        printed = {finding.printed for finding in findings if finding.dataset == dataset and finding.printed}
        texts += [f"from the paper's numbers: {verdict}" for verdict in printed]
        parts.append(f"{evidence.name(dataset)}: {', '.join(texts)}")
    return "; ".join(parts)


def _overall(findings: Sequence[Finding]) -> Verdict:
    """Return the joint verdict over all datasets: supported if every possible test supports the claim."""
    seen = {finding.verdict for finding in findings}
    return next(verdict for verdict in ("contradicted", "inconclusive", "supported", "not tested") if verdict in seen)


def _table(name: str, evidence: Evidence, heads: Sequence[str], lines: list[list[str]], said: list[str]) -> Table:
    caption = "The paper's statements, tested on these results"
    body = [[Cell(text=text) for text in line] for line in lines]
    return Table(name, name.capitalize(), caption, list(map(words, heads)), body, said, evidence.layout.profile)
