"""A table as a LaTeX fragment that needs no package but booktabs, siunitx (version 3) and graphicx."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING

from aegen_bench.report.cells import Printed, Table
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
# Numbers align at their points and keep their ±; as text they can be bold.
_SETUP = (
    r"\sisetup{uncertainty-mode=separate,group-separator={,},group-minimum-digits=4,mode=text,reset-text-series=false}"
)
WIDE = 130
"""A table of more characters a line, shrunk to the page, cannot be read: it is set in parts where its columns allow."""


LINE, PAGE = 85, 56
"""About as many characters of this size fit into a line of an article, and so many lines on a page of it."""
PROSE = 38
"""Characters in a line of a column of sentences."""


def render(*tables: Table) -> str:
    """Return of each table an environment: caption, tabular, and the notes as small paragraphs below; of one that is
    too wide or too long for a page several, its columns or lines shared out, with the notes below the last.

    A table of the paper keeps the paper's number; the others are numbered S1, S2 and so on.
    """
    return "\n".join(part for table in tables for part in _parts(table))


def document(*tables: Table) -> str:
    """Return an article of the tables, to be compiled as it is."""
    head = r"\documentclass{article}\usepackage{booktabs,siunitx,graphicx}\begin{document}"
    parts = [part for table in tables for part in _parts(table)]
    # LaTeX keeps but so many tables waiting for a place.
    pages = [part + "\\clearpage\n" * (i % 8 == 0) for i, part in enumerate(parts, 1)]
    return "\n".join([head, *pages, r"\end{document}", ""])


def _parts(table: Table) -> list[str]:
    heads, printed = table.heads, table.printed()
    columns = [_Column.of(table, i, [line[i] for line in printed]) for i in range(len(heads))]
    widths = [max(map(len, [head, *(str(line[i]) for line in printed)])) + 2 for i, head in enumerate(heads)]
    widths = [PROSE if column.broken else width for column, width in zip(columns, widths, strict=True)]
    groups = [(shown, lines) for shown in _across(table, widths) for lines in _down(table, columns, widths, printed)]
    parts = []
    for i, (shown, lines) in enumerate(groups, 1):
        part = f" ({i} of {len(groups)})" if len(groups) > 1 else ""
        parts.append(_one(table, part, columns, shown, lines, table.notes if i == len(groups) else []))
    return parts


def _across(table: Table, widths: Sequence[int]) -> list[list[int]]:
    """The places of the columns of each part; all have the first."""
    count = -(-sum(widths[1:]) // max(WIDE - widths[0], WIDE // 2))  # a name may be longer than a line
    if not table.apart or count < 2:
        return [list(range(len(widths)))]
    middles = [end - width / 2 for end, width in zip(accumulate(widths[1:]), widths[1:], strict=True)]
    part_of = [int(middle * count / sum(widths[1:])) for middle in middles]
    return [[0, *(i for i, part in enumerate(part_of, 1) if part == number)] for number in range(count)]


def _down(
    table: Table, columns: Sequence[_Column], widths: Sequence[int], printed: list[list[Printed]]
) -> list[list[list[Printed]]]:
    """The lines of each part, which fit on a page with the notes; lines that go on with the one above stay with it."""
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
        setup=_SETUP,
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
    """A column of a table: of words one of LaTeX's; of numbers one for each that stand side by side and one for what
    stands behind them.
    """

    form: str
    numbers: int = 0
    broken: bool = False

    @staticmethod
    def of(table: Table, place: int, cells: Sequence[Printed]) -> _Column:
        column = table.columns[place]
        measured = [cell.numbers for cell in cells if cell.numbers]
        if not column.aligned or not measured:
            broken = max((len(str(cell)) for cell in cells), default=0) > LONG
            return _Column(r"p{0.45\linewidth}" if broken else "l" if column.words else "r", broken=broken)
        forms = "".join(f"S[table-format={_room(numbers)}]" for numbers in zip(*measured, strict=True))
        return _Column(f"{forms}@{{\\;}}l", len(measured[0]))

    def head(self, name: str) -> str:
        return self._across(_escape(name)) if self.numbers else _escape(name)

    def cell(self, cell: Printed) -> str:
        text = str(cell)
        if self.broken:
            return rf"{{\raggedright {_sentence(text)}\par}}"  # the group keeps \\ what it is
        if not self.numbers:
            return _escape(text)
        if not cell.numbers:
            return self._across(_escape(text)) if text else " & " * self.numbers
        numbers = [
            r"\bfseries " * (i in cell.bold)
            + mean.replace(",", "")
            + (rf" \pm {spread.replace(',', '')}" if spread else "")
            for i, (mean, spread) in enumerate(cell.numbers)
        ]
        return " & ".join([*numbers, _escape(cell.behind)])

    def _across(self, text: str) -> str:
        return rf"\multicolumn{{{self.numbers + 1}}}{{c}}{{{text}}}"


def _room(numbers: Sequence[tuple[str, str]]) -> str:
    """The room that numbers take, as siunitx writes it: `4.1(3)` for 1352.2 ± 34.6, whose ± has three digits in all."""
    whole, fraction = _digits([mean.lstrip("-") for mean, _ in numbers])
    sign = "-" if any(mean.startswith("-") for mean, _ in numbers) else ""
    spreads = [spread for _, spread in numbers if spread]
    return f"{sign}{whole}.{fraction}" + (f"({_digits(spreads)[0] + fraction})" if spreads else "")


def _digits(numbers: Sequence[str]) -> tuple[int, int]:
    """The most digits before the point, and after it."""
    halves = [number.replace(",", "").partition(".") for number in numbers]
    return max(len(whole) for whole, _, _ in halves), max(len(fraction) for _, _, fraction in halves)


def _sentence(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    parts = text.split("`")
    coded = [rf"\texttt{{{_escape(part)}}}" if i % 2 else _escape(part) for i, part in enumerate(parts)]
    return "".join(coded) if len(parts) % 2 else _escape(text)


def _escape(text: str) -> str:
    escaped = "".join(_ESCAPES.get(char, char) for char in re.sub(r"\s+", " ", text))
    broken = re.sub(",(?=[a-z])", r",\\allowbreak{}", escaped.replace("--", "-{}-"))  # lists of names
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", broken)
