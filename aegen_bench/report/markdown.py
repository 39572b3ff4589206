"""A table as Markdown that also reads well as plain text."""

from __future__ import annotations

from aegen_bench.report.cells import Table

__all__ = ["render"]


def render(table: Table) -> str:
    """Return a heading, a table with aligned pipes and the notes as a list."""
    lines = [[_escape(text) for text in row] for row in [table.columns, *table.rows]]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.columns))]
    # The first column names the row; the others hold numbers and stand to the right.
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    header, *rows = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    body = [f"| {' | '.join(line)} |" for line in [header, rule, *rows]]
    notes = [f"- {_escape(note)}" for note in table.notes]
    return "\n".join([f"### {_escape(table.title)}", "", *body, "", *notes, ""])


def _escape(text: str) -> str:
    text = " ".join(text.split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
