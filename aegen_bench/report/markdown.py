"""A table as Markdown that also reads well as plain text."""

from __future__ import annotations

from aegen_bench.report.table import Number, Table

__all__ = ["render"]


def render(*tables: Table) -> str:
    """Return of each table a heading, a grid with aligned pipes and the notes as a list."""
    return "\n".join(map(_one, tables))


def _one(table: Table) -> str:
    notes = [f"- {_escape(note)}" for note in table.notes]
    return "\n".join([f"### {_escape(table.title)}", "", *(_grid(table) if table.rows else []), *notes, ""])


def _grid(table: Table) -> list[str]:
    lines = [[_cell(text) for text in row] for row in [table.columns, *table.rows]]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.columns))]
    # The first column names the row; the others hold numbers and stand to the right.
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    header, *rows = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return [*(f"| {' | '.join(line)} |" for line in [header, rule, *rows]), ""]


def _cell(text: str) -> str:
    if not isinstance(text, Number):
        return _escape(text)
    numbers = [f"**{number}**" if i in text.bold else number for i, number in enumerate(text.numbers)]
    return f"{', '.join(numbers)} {_escape(text.behind)}".rstrip()


def _escape(text: str) -> str:
    text = " ".join(text.split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
