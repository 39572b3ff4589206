"""Output of commands: lines of text, and grids that are rich tables on a terminal and aligned text in a pipe."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Grid", "grid", "show"]


@dataclass(frozen=True)
class Grid:
    """A small table: the names of the columns, and rows of text whose first column is the row's name."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Return the table as aligned text, without cutting or wrapping."""
        lines = [list(self.columns), *(list(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        return "\n".join(
            "  " + "  ".join(f"{part:<{width}}" for part, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def grid(trials: Iterable[tuple[str, str, str]]) -> Iterator[str | Grid]:
    """Yield a grid of rows by datasets that counts trials, (row, dataset, state), by state. Datasets whose trials all
    have the state `no data` are listed on one line instead.
    """
    counts: dict[str, dict[str, Counter[str]]] = {}
    for row, dataset, state in trials:
        counts.setdefault(row, {}).setdefault(dataset, Counter())[state] += 1
    every = list(dict.fromkeys(dataset for of_row in counts.values() for dataset in of_row))
    with_images = {d for of_row in counts.values() for d, states in of_row.items() if set(states) != {"no data"}}
    shown = [dataset for dataset in every if dataset in with_images]

    def cell(row: str, dataset: str) -> str:
        return ", ".join(f"{n} {state}" for state, n in counts[row].get(dataset, {}).items()) or "-"

    if shown:
        yield Grid(["", *shown], [[row, *(cell(row, dataset) for dataset in shown)] for row in counts])
    if without := [dataset for dataset in every if dataset not in with_images]:
        yield f"  no images here: {', '.join(without)}"


def show(lines: Iterable[str | Grid]) -> None:
    """Print each line as soon as it is available."""
    terminal = sys.stdout.isatty()
    for line in lines:
        if isinstance(line, str):
            print(line, flush=True)
        elif terminal:
            _show_rich(line)
        else:
            print(line.text(), flush=True)


def _show_rich(grid: Grid) -> None:
    """Print a grid as a rich table. Cells wrap within their column if it is wider than the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in grid.columns:
        table.add_column(Text(name), overflow="fold")
    for row in grid.rows:
        table.add_row(*(Text(part) for part in row))
    Console(highlight=False).print(table)
