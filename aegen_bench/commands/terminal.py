"""How commands print: wrapped text and rich tables on a terminal, and plain lines, never cut or wrapped, in a pipe."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aegen_bench.progress import terminal_width, wrapped

if TYPE_CHECKING:
    from rich.text import Text

    from aegen_bench.report.cells import Printed, Table

__all__ = ["MANY", "Grid", "counted", "grid", "of_table", "show", "spoken"]

SPOKEN = {
    "run": "to train",
    "resume": "to resume",
    "retry": "to retry",
    "retrain": "to retrain",
    "evaluate": "to score",
}
"""How the states of trials that a run would work on are shown, so that none reads as if it were done already."""
MANY = 20
"""In a plan of more rows, the pairs of a trunk share a line; a forecast of more cells shows the costliest."""


@dataclass(frozen=True)
class Grid:
    """A small table: its column names and the cells of its rows, the first of which is the row's name.

    `right` are the indices of columns with numbers. `title` is printed above the table and `notes` below. `plain` is
    the text for a pipe, by default the cells as aligned text.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Printed]]
    title: str = ""
    notes: Sequence[str] = ()
    right: frozenset[int] = frozenset()
    plain: str | None = None

    def text(self) -> str:
        """Return the table as text for a pipe, where nothing is cut or wrapped."""
        if self.plain is not None:
            return self.plain
        lines = [list(self.columns)] * any(self.columns) + [[str(cell) for cell in row] for row in self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        return "\n".join(
            "  " + "  ".join(f"{part:<{width}}" for part, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def parts(self, width: int) -> list[list[int]]:
        """Return the column indices of each part, so that every part fits into the width and begins with column 0."""
        cells = [[str(row[i]) for row in self.rows] for i in range(len(self.columns))]
        # Heads are wrapped between words. One blank precedes the first column, three precede each of the others.
        wide = [3 + max(map(len, [*name.split(), *cells[i], ""])) for i, name in enumerate(self.columns)]
        parts, room = [[0]], width + 2 - wide[0]
        for i in range(1, len(wide)):
            if wide[i] > room and len(parts[-1]) > 1:
                parts.append([0])
                room = width + 2 - wide[0]
            parts[-1].append(i)
            room -= wide[i]
        return parts


def of_table(table: Table, notes: Sequence[str] | None = None) -> Grid:
    """Return a table of a report, with its own notes or the given ones; in a pipe it is printed as Markdown."""
    from dataclasses import replace

    from aegen_bench.report.render import markdown

    shown = table if notes is None else replace(table, notes=list(notes))
    right = frozenset(i for i, column in enumerate(table.columns) if not column.words)
    return Grid(table.heads, table.printed(), table.title, shown.notes, right, markdown.render(shown))


def counted(states: Iterable[str]) -> str:
    """Count the states of trials: '2 done, 4 to train'."""
    return ", ".join(f"{n} {SPOKEN.get(state, state)}" for state, n in Counter(states).items())


def spoken(state: str) -> str:
    """Return the state of a trial as it is printed."""
    return SPOKEN.get(state, state)


def grid(trials: Iterable[tuple[str, str, str]], *, joined: bool = False) -> Iterator[str | Grid]:
    """Yield a table of rows by datasets that counts the trials in each state, given (row, dataset, state) of each.

    Datasets without images share a line below it. If there are many rows, the pairs of a trunk (trunk+prior) share a
    line; if `joined`, so do all rows with the same states.
    """
    trials = list(trials)
    names = _folded(list(dict.fromkeys(row for row, _, _ in trials)))
    states: dict[str, dict[str, list[str]]] = {}
    for row, dataset, state in trials:
        states.setdefault(names[row], {}).setdefault(dataset, []).append(state)
    every = list(dict.fromkeys(dataset for of_row in states.values() for dataset in of_row))
    with_images = {d for of_row in states.values() for d, found in of_row.items() if set(found) != {"no data"}}
    shown = [dataset for dataset in every if dataset in with_images]
    if shown:
        rows = [[row, *(counted(found.get(dataset, [])) or "-" for dataset in shown)] for row, found in states.items()]
        yield Grid(["", *shown], _joined(rows) if joined else rows)
    if without := [dataset for dataset in every if dataset not in with_images]:
        yield f"  no images here: {', '.join(without)}"


def _joined(rows: Sequence[list[str]]) -> list[list[str]]:
    """Join lines with the same cells. A line of more than two rows names only the first of them."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, *cells in rows:
        alike.setdefault(tuple(cells), []).append(name)
    return [
        [f"{names[0]} and {len(names) - 1} more rows" if len(names) > 2 else ", ".join(names), *cells]
        for cells, names in alike.items()
    ]


def _folded(rows: Sequence[str]) -> Mapping[str, str]:
    """Return the name of each row in a plan. If there are many rows, the pairs of a trunk share a name."""
    if len(rows) <= MANY:
        return {row: row for row in rows}
    priors = Counter(row.partition("+")[0] for row in rows if "+" in row)
    names = {}
    for row in rows:
        trunk, pair, _ = row.partition("+")
        names[row] = f"{trunk} + {priors[trunk]} priors" if pair and priors[trunk] > 1 else row
    return names


def show(lines: Iterable[str | Grid]) -> None:
    """Print each line as soon as it is available."""
    width = terminal_width(sys.stdout)
    for line in lines:
        if isinstance(line, str):
            print(line if width is None else wrapped(line, width), flush=True)
        elif width is None:
            print(line.text(), flush=True)
        else:
            _show_rich(line, width)


def _show_rich(grid: Grid, width: int) -> None:
    """Print a table with rich. Columns that do not fit on the terminal follow below, under the same rows."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(highlight=False, width=width)
    if grid.title:
        print(wrapped(grid.title, width), flush=True)
    for part in grid.parts(width):
        table = RichTable(box=SIMPLE_HEAD if any(grid.columns) else None, pad_edge=False, show_header=any(grid.columns))
        for i in part:
            table.add_column(_text(grid.columns[i]), overflow="fold", justify="right" if i in grid.right else "left")
        for row in grid.rows:
            table.add_row(*(_text(row[i]) for i in part))
        console.print(table)
    show(f"- {note}" for note in grid.notes)


def _text(cell: str | Printed) -> Text:
    from rich.text import Text

    if isinstance(cell, str):
        return Text(cell)
    return Text.assemble(*((text, "bold" * bold) for text, bold in cell.pieces()))
