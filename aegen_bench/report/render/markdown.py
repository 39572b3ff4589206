"""Markdown tables that are also readable as plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aegen_bench.report.cells import Printed, Table

__all__ = ["LONG", "render"]

LONG = 60
"""Number of characters; a column with a longer entry is treated as sentences."""


def render(*tables: Table) -> str:
    """Return each table as a heading, a grid with aligned pipes, and its notes as a list."""
    return "\n".join(map(_one, tables))


def _one(table: Table) -> str:
    notes = [f"- {_escape(note)}" for note in table.notes]
    return "\n".join([f"### {_escape(table.title)}", "", *(_grid(table) if table.lines else []), *notes, ""])


def _grid(table: Table) -> list[str]:
    columns = [
        _filled([_escape(column.head), *map(_cell, cells)], to_left=column.words, numbers=column.aligned)
        for column, cells in zip(table.columns, zip(*table.printed(), strict=True), strict=True)
    ]
    return [*(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True)), ""]


def _filled(texts: Sequence[str], *, to_left: bool, numbers: bool) -> list[str]:
    """Return a padded column, beginning with its head and the rule below. Text is aligned left and numbers right;
    sentences are not padded.
    """
    width = max(3, *map(len, texts))
    if width > LONG and not numbers:
        width, to_left = 3, True
    head, *rest = [text.ljust(width) if to_left else text.rjust(width) for text in texts]
    return [head, "-" * width if to_left else "-" * (width - 1) + ":", *rest]


def _cell(cell: Printed) -> str:
    return "".join(f"**{text}**" if bold else _escape(text) for text, bold in cell.pieces())


def _escape(text: str) -> str:
    text = re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("|", "\\|")
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", text)  # could begin a tag
