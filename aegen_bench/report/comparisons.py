"""Which rows of a dataset can be told apart: the tests behind the bold numbers, and the table that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from aegen_bench.report.cells import Cell, Entry, Layout, trial_counts
from aegen_bench.report.entries import collect
from aegen_bench.report.measures import DAGGER, Measure, marked, single_protocol, stale_note
from aegen_bench.report.statistics import ALPHA, Numbers, difference, hedges_g, welch
from aegen_bench.report.table import Table, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BOLD", "NOT_BOLD", "Contest", "comparisons"]

BOLD = (
    "Bold: the leading group of a column's rows, which Welch's two-sided t-tests between all of them do not "
    "distinguish from the best mean (Holm-corrected, 5%). Never tested nor bold: rows with one seed, which has no "
    "spread, and rows of which a trial diverged or collapsed."
)
NOT_BOLD = "Nothing is bold: a test needs two rows of a column with two seeds or more, none diverged or collapsed."


@dataclass(frozen=True)
class Contest:
    """Tests between the rows of a column, best mean first, each with its trials' numbers; `p` [k, k] are Holm-adjusted
    p-values of Welch's test. Empty where fewer than two rows can be tested.

    A row is tested that has two seeds or more, none of which diverged or collapsed: the mean of those that are left
    would flatter it, and a mean over some that collapsed is so uncertain that nothing is told from it.
    """

    samples: dict[str, list[float]]
    p: Numbers

    @staticmethod
    def of(cells: Mapping[Entry, Cell], dataset: str, rows: Sequence[str], place: int = 0, sign: int = 1) -> Contest:
        """Compare rows by the number at `place` of their cells; of sign 1 lower is better, of -1 higher."""
        able = [row for row in rows if _sound(cells.get((dataset, row), Cell()))]
        able.sort(key=lambda row: sign * cells[dataset, row].mean[place])
        samples = {row: cells[dataset, row].sample(place) for row in able if len(able) > 1}
        return Contest(samples, welch(list(samples.values())))

    def leads(self, row: str) -> bool | None:
        """Whether a row is not told apart from the best one, as the best one is; None of a row that is not tested."""
        return self.to_best()[row] >= ALPHA if row in self.samples else None

    def to_best(self) -> dict[str, float]:
        """Return the p-value of each tested row against the best one, whose own is 1."""
        return {row: float(self.p[0, i]) for i, row in enumerate(self.samples)}

    def values(self, dataset: str, quantity: str) -> Iterator[Value]:
        """Yield of every pair the difference with its interval, the effect size and the p-value."""
        for (i, row), (j, other) in combinations(enumerate(self.samples), 2):
            a, b = self.samples[row], self.samples[other]
            gap, low, high = difference(a, b)
            yield Value(dataset, row, f"{quantity} difference", against=other, value=gap, low=low, high=high)
            yield Value(dataset, row, f"{quantity} Hedges' g", against=other, value=hedges_g(a, b))
            yield Value(dataset, row, f"{quantity} p (Welch, Holm)", against=other, value=float(self.p[i, j]))


def _sound(cell: Cell) -> bool:
    return cell.n > 1 and not cell.counts["diverged"] and not cell.counts["collapsed"]


def comparisons(frame: pd.DataFrame, layout: Layout, dataset: str, name: str) -> Table:
    """Return the table of one dataset under one protocol: each row's distance, best first, and how it differs from the
    best one that can be tested.
    """
    protocol, about = single_protocol(frame, "comparisons")
    extractor = str(about.get("extractor", "features unknown"))
    measure, here = Measure.of(1, extractor), frame[frame["dataset"] == dataset]
    cells = collect(here, measure.metrics, family=measure.family)
    dagger = marked(frame, layout, extractor)
    known = [row for row in layout.rows if cells.get((dataset, row), Cell()).n]
    rows = sorted(known, key=lambda row: (row in dagger, cells[dataset, row].mean[0]))
    contest = Contest.of(cells, dataset, [row for row in rows if row not in dagger])
    decimals = 1 if any(cells[dataset, row].mean[0] >= 10 for row in rows) else 3
    lines, values = [], list[Value]()
    for row in rows:
        entry, cell, leads = (dataset, row), cells[dataset, row], contest.leads(row)
        stale = entry in layout.stale
        shown = cell.shown(decimals, bold=[0] if leads else [], stale=stale)
        own = _span(*cell.intervals()[0], decimals) if cell.n > 1 else ""
        lines.append([layout.published.name(row) + " †" * (row in dagger), shown, own, *_gap(contest, row, decimals)])
        values += cell.values(entry, measure.metrics, [leads], stale=stale)
    pairs = len(contest.samples) * (len(contest.samples) - 1) // 2
    notes = [
        str(about.get("describe", f"Protocol {protocol}")),
        "Best mean first. Mean ± sample standard deviation over seeds, in brackets the number of trials, and Student's "
        "95% interval of the mean. To the best: the mean minus that of the best tested row, with "
        "Welch's 95% interval; Hedges' g is that difference in pooled standard deviations, corrected for few seeds; p "
        f"is of Welch's two-sided t-test, Holm-corrected over the {pairs} pairs of tested rows.",
        BOLD if pairs else NOT_BOLD,
        trial_counts(here),
        *([DAGGER] if dagger & set(rows) else []),
        *stale_note(layout, rows),
    ]
    values += contest.values(dataset, measure.metrics[0])
    columns = ["Model", measure.title.split(",")[0], "95% interval", "to the best", "95% interval", "Hedges' g", "p"]
    title = f"Comparisons on {layout.published.name(dataset)}. {measure.title}. Profile {layout.profile}"
    return Table(name, title, columns, lines, notes, values, {"profile": layout.profile, "protocol": protocol})


def _gap(contest: Contest, row: str, decimals: int) -> list[str]:
    """How a row differs from the best one: difference, interval, effect size, p; nothing of one that is not tested."""
    best = next(iter(contest.samples), "")
    if row not in contest.samples or row == best:
        return ["best" if row == best else "", "", "", ""]
    gap, low, high = difference(contest.samples[row], contest.samples[best])
    effect, p = hedges_g(contest.samples[row], contest.samples[best]), contest.to_best()[row]
    return [
        f"{gap:+,.{decimals}f}",
        _span(low, high, decimals),
        f"{effect:.2f}",
        "< 0.001" if p < 0.001 else f"{p:.3f}",
    ]


def _span(low: float, high: float, decimals: int) -> str:
    return f"{low:,.{decimals}f} to {high:,.{decimals}f}"
