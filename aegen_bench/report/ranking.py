"""Average ranks over datasets, where there are enough of them to say something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aegen_bench.report.cells import Cell, Entry
from aegen_bench.report.statistics import MIN_DATASETS, Ranks, ranks

__all__ = ["Ranking", "ranking"]


@dataclass(frozen=True)
class Ranking:
    """The rows that have a number on each of `datasets`, with their ranks by mean distance; or why there are none."""

    rows: list[str]
    datasets: list[str]
    ranks: Ranks | None
    why: str = ""

    def shown(self, row: str) -> str:
        """Return the row's average rank; nothing of a row that lacks a dataset."""
        return f"{self.ranks.average[self.rows.index(row)]:.2f}" if self.ranks and row in self.rows else ""


def ranking(cells: Mapping[Entry, Cell], datasets: Sequence[str], rows: Sequence[str]) -> Ranking:
    """Rank rows over the datasets that have a number of any two of them; no ranks under six datasets or three rows."""
    known = {row: {d for d in datasets if cells.get((d, row), Cell()).n} for row in rows}
    shared = [d for d in datasets if sum(d in where for where in known.values()) > 1]
    complete = [row for row in rows if known[row] >= set(shared)]
    if len(shared) < MIN_DATASETS:
        why = f"ranks and their critical difference need {MIN_DATASETS} datasets (Demsar 2006); here: {len(shared)}"
        return Ranking([], shared, None, why)
    if len(complete) < 3:
        why = f"ranks need three rows with a number on all {len(shared)} datasets; here: {len(complete)}"
        return Ranking([], shared, None, why)
    means = [[cells[dataset, row].mean[0] for row in complete] for dataset in shared]
    return Ranking(complete, shared, ranks(means))
