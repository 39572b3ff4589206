"""Claims as tables: `claims`, a line a dataset and protocol (or device) with the evidence, `verdicts`, one a claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby

from aegen_bench.report.cells import overrides
from aegen_bench.report.claims import Finding, evaluate
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.statistics import ALPHA
from aegen_bench.report.table import Table

__all__ = ["NAMES", "build"]

METHOD = (
    f"reproduced: every comparison that the claim needs holds, each tested at {ALPHA:.0%} with two trials or more on "
    "a side (a trend over all its trials); no correction across claims. not reproduced: at least one fails. not "
    "tested: none fails, and at least one has no test. Trials that diverged, failed or collapsed have no number here. "
    "FID stands for the Fréchet distance of each protocol."
)


def build(names: Sequence[str], evidence: Evidence, protocol: str | None = None) -> list[Table]:
    """Return those tables of claims whose names are among `names`, of one protocol id or all."""
    wanted = [name for name in names if name in NAMES]
    findings = list(evaluate(evidence, protocol)) if wanted else []
    return [NAMES[name](evidence, findings) for name in wanted]


def _claims(evidence: Evidence, every: Sequence[Finding]) -> Table:
    """Every claim with what the results say of it, our numbers as mean ± standard deviation (trials)."""
    columns = [
        "The paper says",
        "Section",
        "Dataset",
        "Protocol or device",
        "Verdict",
        "Our numbers",
        "Test, or why there is none",
    ]
    rows = []
    for claim, findings in groupby(every, lambda finding: finding.claim):
        first = [claim.says, claim.section]
        for alike in _alike(list(findings)):
            one = alike[0]
            datasets = ", ".join(dict.fromkeys(evidence.name(f.dataset) for f in alike))
            places = "; ".join(dict.fromkeys(f.place for f in alike)) or "—"
            rows.append([*first, datasets, places, one.verdict, one.numbers, one.test + _paper(alike)])
            first = ["", ""]
    return _table("claims", evidence, columns, rows, _notes(evidence))


def _verdicts(evidence: Evidence, every: Sequence[Finding]) -> Table:
    """A line a claim that could be tested: its verdict on each dataset where there is one."""
    columns = ["The paper says", "Section", "Verdict"]
    found = [(claim, list(findings)) for claim, findings in groupby(every, lambda finding: finding.claim)]
    rows = [[c.says, c.section, said] for c, findings in found if (said := _summary(evidence, findings))]
    return _table("verdicts", evidence, columns, rows, [_counted(found), METHOD])


def _alike(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that say the same in one group, so that an untested claim has one line for several datasets; those
    that were tested come first.
    """
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.verdict, finding.numbers, finding.test), []).append(finding)
    return sorted(groups.values(), key=lambda group: (group[0].verdict == "not tested", not group[0].numbers))


def _paper(alike: Sequence[Finding]) -> str:
    """What the paper's own numbers say, where they say otherwise than its words."""
    if alike[0].verdict == "not tested" or any(f.dataset not in f.claim.paper_differs for f in alike):
        return ""
    return f"; the paper's own numbers do not show it{' either' if alike[0].verdict == 'not reproduced' else ''}"


def _summary(evidence: Evidence, findings: Sequence[Finding]) -> str:
    """`Fashion: reproduced (lite; dinov2), not reproduced (lite_classifier)`; empty where nothing was tested."""
    parts = []
    for dataset in dict.fromkeys(finding.dataset for finding in findings):
        here = [f for f in findings if f.dataset == dataset and f.verdict != "not tested"]
        said = {
            verdict: [f.place for f in here if f.verdict == verdict]
            for verdict in dict.fromkeys(f.verdict for f in here)
        }
        several = len({f.place for f in findings}) > 1
        texts = [f"{verdict} ({'; '.join(names)})" if several else verdict for verdict, names in said.items()]
        parts += [f"{evidence.name(dataset)}: {', '.join(texts)}"] if texts else []
    return "; ".join(parts)


def _counted(found: Sequence[tuple[object, Sequence[Finding]]]) -> str:
    counts = Counter(_overall(findings) for _, findings in found)
    told = [f"{number} {verdict}" for verdict, number in sorted(counts.items(), key=lambda item: ORDER.index(item[0]))]
    noun = "claim" if len(found) == 1 else "claims"
    return (
        f"{len(found)} {noun}: {', '.join(told)}, taking together all that were tested of each; the table `claims` has "
        "the numbers and says why the others were not."
    )


ORDER = ("reproduced", "not reproduced", "not tested")


def _overall(findings: Sequence[Finding]) -> str:
    seen = {finding.verdict for finding in findings}
    return "not reproduced" if "not reproduced" in seen else "reproduced" if "reproduced" in seen else "not tested"


def _table(name: str, evidence: Evidence, columns: list[str], rows: list[list[str]], notes: list[str]) -> Table:
    title = f"Claims. What the paper says, against these results. Profile {evidence.layout.profile}"
    about = {"profile": evidence.layout.profile}
    return Table(name, title, columns, rows, notes, about=about, words=tuple(range(len(columns))))


def _notes(evidence: Evidence) -> list[str]:
    about = evidence.frame.attrs["protocols"]
    described = [(evidence.protocol_name(part.protocol), about.get(part.protocol, {})) for part in evidence.parts()]
    protocols = [f"{name}: {text['describe']}" for name, text in described if "describe" in text]
    return [METHOD, *protocols, *overrides(evidence.frame, evidence.layout)]


NAMES: dict[str, Callable[[Evidence, Sequence[Finding]], Table]] = {"verdicts": _verdicts, "claims": _claims}
"""The tables by the names that `--tables` knows."""
