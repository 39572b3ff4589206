"""LaTeX tables, as fragments that only need the packages booktabs and graphicx."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING

from aegen_bench.report.cells import Column, Printed, Table
from aegen_bench.report.render.markdown import LONG

if TYPE_CHECKING:
    import jinja2

__all__ = ["document", "render"]

_ESCAPES = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "\u00d7": r"$\times$",
    "—": r"\textemdash{}",
    "\u2013": r"\textendash{}",
    # A bracket after a line's end would be read as its optional argument.
    "[": "{[}",
    "]": "{]}",
}
WIDE = 130
"""Maximal characters per line; a wider table, shrunk to the page, would be illegible, and is split if possible."""


LINE, PAGE = 85, 56
"""The approximate number of characters in a line of an article at this size, and of lines on its page."""
PROSE = 38
"""Characters per line in a column of sentences."""


def render(*tables: Table) -> str:
    """Return an environment for each table: caption, tabular, and notes as small paragraphs below. A table that is too
    wide or too long for a page is split into several, by columns or lines, with the notes below the last.

    The paper's tables keep their numbers; the others are numbered S1, S2 and so on.
    """
    return "\n".join(part for table in tables for part in _parts(table))


def document(*tables: Table) -> str:
    """Return a complete article with the tables."""
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    parts = [part for table in tables for part in _parts(table)]
    # LaTeX can hold only a limited number of floats.
    pages = [part + "\\clearpage\n" * (i % 8 == 0) for i, part in enumerate(parts, 1)]
    return "\n".join([head, *pages, r"\end{document}", ""])


def _parts(table: Table) -> list[str]:
    heads, printed = table.heads, table.printed()
    columns = [_Column.of(column, [line[i] for line in printed]) for i, column in enumerate(table.columns)]
    widths = [max(map(len, [head, *(str(line[i]) for line in printed)])) + 2 for i, head in enumerate(heads)]
    widths = [PROSE if column.broken else width for column, width in zip(columns, widths, strict=True)]
    groups = [(shown, lines) for shown in _across(table, widths) for lines in _down(table, columns, widths, printed)]
    parts = []
    for i, (shown, lines) in enumerate(groups, 1):
        part = f" ({i} of {len(groups)})" if len(groups) > 1 else ""
        parts.append(_one(table, part, columns, shown, lines, table.notes if i == len(groups) else []))
    return parts


def _across(table: Table, widths: Sequence[int]) -> list[list[int]]:
    """Return the indices of the columns of each part; all parts have the first column."""
    count = -(-sum(widths[1:]) // max(WIDE - widths[0], WIDE // 2))  # a name may be longer than a line
    if not table.apart or count < 2:
        return [list(range(len(widths)))]
    middles = [end - width / 2 for end, width in zip(accumulate(widths[1:]), widths[1:], strict=True)]
    part_of = [int(middle * count / sum(widths[1:])) for middle in middles]
    return [[0, *(i for i, part in enumerate(part_of, 1) if part == number)] for number in range(count)]


def _down(
    table: Table, columns: Sequence[_Column], widths: Sequence[int], printed: list[list[Printed]]
) -> list[list[list[Printed]]]:
    """Return the lines of each part, which fit on a page with the notes. Continuation lines are not separated."""
    room = PAGE * max(1.0, min(sum(widths), WIDE) / LINE) - 5 - sum(len(note) // 110 + 1 for note in table.notes)
    parts: list[list[list[Printed]]] = [[]]
    used = 0.0
    for line in printed:
        tall = max(
            [-(-len(str(cell)) // PROSE) + 1 for column, cell in zip(columns, line, strict=True) if column.broken]
            or [1]
        )
        if used + tall > max(room, 20) and parts[-1] and str(line[0]):
            parts.append([])
            used = 0.0
        parts[-1].append(line)
        used += tall
    return parts


def _one(
    table: Table,
    part: str,
    columns: Sequence[_Column],
    shown: Sequence[int],
    printed: Sequence[Sequence[Printed]],
    notes: Sequence[str],
) -> str:
    number = re.fullmatch(r"Table (\d+)", table.label)
    caption = table.title.removeprefix(f"{table.label}. ") if number else table.title
    return _template().render(
        number=number and number[1],
        caption=_escape(caption + part),
        label=re.sub(r"[^\w:.+-]", "-", f"tab:{table.profile}:{table.name}") + part.strip(" ()").replace(" ", "-"),
        form="".join(columns[i].form for i in shown),
        head=" & ".join(columns[i].head(table.heads[i]) for i in shown),
        lines=[" & ".join(columns[i].cell(line[i]) for i in shown) for line in printed],
        notes=[_sentence(note) for note in notes],
    )


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment("<%", "%>", "<<", ">>", trim_blocks=True, keep_trailing_newline=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string((files(__package__) / "table.tex").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class _Column:
    """A column of a table. One of single measured numbers has two of LaTeX's, so that these, which all have the same
    decimals, align at their points: the number to the right, its ± and whatever follows to the left.
    """

    form: str
    broken: bool = False
    split: bool = False

    @staticmethod
    def of(column: Column, cells: Sequence[Printed]) -> _Column:
        if column.aligned and {len(cell.numbers) for cell in cells} - {0} == {1}:
            return _Column(r"r@{\;}l", split=True)
        if max((len(str(cell)) for cell in cells), default=0) > LONG:
            return _Column(r"p{0.45\linewidth}", broken=True)
        return _Column("l" if column.words else "r")

    def head(self, name: str) -> str:
        return self._across(_escape(name))

    def cell(self, cell: Printed) -> str:
        if self.broken:
            return rf"{{\raggedright {_sentence(str(cell))}\par}}"  # the group keeps \\ what it is
        if not (self.split and cell.numbers):
            return self._across("".join(_bold(*piece) for piece in cell.pieces()))
        mean, spread = cell.numbers[0]
        behind = [_bold(f"± {spread}" if spread else "", 0 in cell.bold), _escape(cell.behind)]
        return f"{_bold(mean, 0 in cell.bold)} & {' '.join(filter(None, behind))}"

    def _across(self, text: str) -> str:
        return rf"\multicolumn{{2}}{{c}}{{{text}}}" if self.split else text


def _bold(text: str, bold: bool) -> str:
    return rf"\textbf{{{_escape(text)}}}" if bold and text else _escape(text)


def _sentence(text: str) -> str:
    """Return escaped text, with text in backticks as code."""
    parts = text.split("`")
    coded = [rf"\texttt{{{_escape(part)}}}" if i % 2 else _escape(part) for i, part in enumerate(parts)]
    return "".join(coded) if len(parts) % 2 else _escape(text)


def _escape(text: str) -> str:
    escaped = "".join(_ESCAPES.get(char, char) for char in re.sub(r"\s+", " ", text))
    broken = re.sub(",(?=[a-z])", r",\\allowbreak{}", escaped.replace("--", "-{}-"))  # lists of names
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", broken)
