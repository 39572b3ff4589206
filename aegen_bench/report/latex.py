"""A table as a LaTeX fragment that needs no package but booktabs, siunitx (version 3) and graphicx."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from aegen_bench.report.table import Number, Table

__all__ = ["render"]

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
_SHRUNK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # only what is too wide
LONG = 60
"""A column of words with a longer entry breaks its lines."""
WIDE = 130
"""A table of more characters a line, shrunk to the page, cannot be read: it is set in parts where its columns allow."""


def render(*tables: Table) -> str:
    """Return of each table an environment: caption, tabular, and the notes as small paragraphs below; of a wide one
    several, its columns shared out, with the notes below the last.
    """
    return "\n".join(_one(part) for table in tables for part in _parts(table))


def _parts(table: Table) -> list[Table]:
    if not table.apart:
        return [table]
    widths = [max(map(len, texts)) + 2 for texts in zip(table.columns, *table.rows, strict=True)]
    count = -(-sum(widths[1:]) // max(WIDE - widths[0], WIDE // 2))  # a name may be longer than a line
    if count < 2:
        return [table]
    middles = [end - width / 2 for end, width in zip(accumulate(widths[1:]), widths[1:], strict=True)]
    part_of = [int(middle * count / sum(widths[1:])) for middle in middles]
    parts = []
    for number in range(count):
        shown = [0, *(i for i, part in enumerate(part_of, 1) if part == number)]
        rows = [[line[i] for i in shown] for line in table.rows]
        title, notes = f"{table.title} ({number + 1} of {count})", table.notes if number == count - 1 else []
        parts.append(replace(table, title=title, columns=[table.columns[i] for i in shown], rows=rows, notes=notes))
    return parts


def _one(table: Table) -> str:
    columns = [_column(texts, words=i in table.words) for i, texts in enumerate(zip(*table.rows, strict=True))]
    header = [column.head(name) for column, name in zip(columns, table.columns, strict=False)]
    body = [[column.cell(text) for column, text in zip(columns, line, strict=True)] for line in table.rows]
    lines = [" & ".join(line) + r" \\" for line in [header, *body]]
    grid = [
        _SHRUNK,
        rf"\begin{{tabular}}{{{''.join(column.form for column in columns)}}}",
        r"\toprule",
        lines[0],
        r"\midrule",
        *lines[1:],
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    caption = re.sub(r"^Table \d+\. ", "", table.title)  # LaTeX numbers its tables itself
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            rf"\centering\footnotesize\setlength{{\tabcolsep}}{{3pt}}{_SETUP}",
            rf"\caption{{{_escape(caption)}}}",
            *(grid if table.rows else []),
            *(_below(table.notes) if table.notes else []),
            r"\end{table}",
            "",
        ]
    )


def _below(notes: Sequence[str]) -> list[str]:
    opening = r"\par\smallskip\begin{minipage}{\linewidth}\scriptsize\raggedright"
    return [opening, *(rf"{_sentence(note)}\par" for note in notes), r"\end{minipage}"]


@dataclass(frozen=True)
class _Column:
    """A column of a table: of words one of LaTeX's; of numbers one for each that stand side by side and one for what
    stands behind them.
    """

    form: str
    numbers: int = 0
    broken: bool = False

    def head(self, name: str) -> str:
        return self._across(_escape(name)) if self.numbers else _escape(name)

    def cell(self, text: str) -> str:
        if self.broken:
            return rf"{{\raggedright {_sentence(text)}\par}}"  # the group keeps \\ what it is
        if not self.numbers:
            return _escape(text)
        if not isinstance(text, Number):
            return self._across(_escape(text)) if text else " & " * self.numbers
        bold = [r"\bfseries " if i in text.bold else "" for i in range(len(text.numbers))]
        plain = [number.replace(",", "").replace("±", r"\pm") for number in text.numbers]
        return " & ".join([*map("".join, zip(bold, plain, strict=True)), _escape(text.behind)])

    def _across(self, text: str) -> str:
        return rf"\multicolumn{{{self.numbers + 1}}}{{c}}{{{text}}}"


def _column(texts: Sequence[str], *, words: bool) -> _Column:
    measured = [text.numbers for text in texts if isinstance(text, Number)]
    if words or not measured:
        broken = max(map(len, texts)) > LONG
        return _Column(r"p{0.45\linewidth}" if broken else "l" if words else "r", broken=broken)
    side_by_side = list(zip(*measured, strict=True))
    forms = "".join(f"S[table-format={_room(numbers)}]" for numbers in side_by_side)
    return _Column(f"{forms}@{{\\;}}l", len(side_by_side))


def _room(numbers: Sequence[str]) -> str:
    """The room that numbers take, as siunitx writes it: `4.1(3)` for 1352.2 ± 34.6, whose ± has three digits in all."""
    parts = [number.replace(",", "").partition(" ± ") for number in numbers]
    whole, fraction = _digits([mean.lstrip("-") for mean, _, _ in parts])
    sign = "-" if any(mean.startswith("-") for mean, _, _ in parts) else ""
    spreads = [spread for _, _, spread in parts if spread]
    spread = f"({_digits(spreads)[0] + fraction})" if spreads else ""
    return f"{sign}{whole}.{fraction}{spread}"


def _digits(numbers: Sequence[str]) -> tuple[int, int]:
    """The most digits before the point, and after it."""
    halves = [number.partition(".") for number in numbers]
    return max(len(whole) for whole, _, _ in halves), max(len(fraction) for _, _, fraction in halves)


def _sentence(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    parts = text.split("`")
    coded = [rf"\texttt{{{_escape(part)}}}" if i % 2 else _escape(part) for i, part in enumerate(parts)]
    return "".join(coded) if len(parts) % 2 else _escape(text)


def _escape(text: str) -> str:
    escaped = "".join(_ESCAPES.get(char, char) for char in re.sub(r"\s+", " ", text))
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped.replace("--", "-{}-"))
