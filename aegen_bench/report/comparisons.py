"""Which rows of a dataset can be told apart: the tests behind the bold numbers, and the table that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aegen_bench.report.cells import Cell, Entry
from aegen_bench.report.statistics import leading

__all__ = ["BOLD", "NOT_BOLD", "leaders", "tested"]

BOLD = (
    "Bold: among a column's rows with two seeds or more the leading group, which Welch's two-sided t-tests between all "
    "of them do not tell from the best mean (Holm-corrected, 5%). One seed cannot be tested and is never bold."
)
NOT_BOLD = "Nothing is bold: a test needs two rows with two seeds or more in a column."


def tested(cells: Mapping[Entry, Cell], dataset: str, rows: Sequence[str]) -> list[str]:
    """Return those of the rows that can be tested on a dataset: with two seeds or more. Fewer than two are none."""
    found = [row for row in rows if cells.get((dataset, row), Cell()).n > 1]
    return found if len(found) > 1 else []


def leaders(
    cells: Mapping[Entry, Cell], dataset: str, rows: Sequence[str], place: int, *, lower_is_better: bool
) -> set[str]:
    """Return the leading group of a column: rows not told apart from the best of those that can be tested.

    `place` says which of the cells' numbers is compared.
    """
    able = tested(cells, dataset, rows)
    samples = [[trial[place] for trial in cells[dataset, row].trials] for row in able]
    return {able[i] for i in leading(samples, lower_is_better=lower_is_better)} if able else set()
