"""What a table is made of: cells that hold numbers, and how a column prints them.

A number stays a number until a format prints it: Markdown, LaTeX and the page print cells through their columns, CSV
and JSON take the numbers as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from aegen_bench.inference import interval

__all__ = [
    "MARKS",
    "Cell",
    "Column",
    "Entry",
    "Form",
    "Number",
    "Printed",
    "Spread",
    "State",
    "Table",
    "count",
    "ends",
    "fixed",
    "general",
    "measured",
    "plain",
    "words",
]

Entry = tuple[str, str]  # dataset, row
State = Literal["ok", "missing", "no data", "diverged", "failed", "mixed"]
Spread = Literal["", "seeds", "interval", "draws"]
MARKS: dict[str, str] = {"missing": "—"}
"""How a state without numbers is printed, where it is not printed as its name."""
FLAWS = ("diverged", "failed", "collapsed")


@dataclass(frozen=True)
class Number:
    """One number at full precision; None where it does not apply.

    A number without a `quantity` is only printed: CSV and JSON leave it out, because it is made of others that they
    have. `leading`: in the leading group of its column or not; None where that is not tested. `open`: of one seed,
    which by the noise of the other rows could be as good as the leading group. `sample` holds the values that it is the
    mean of, one a trial; `within` is the standard deviation of the draws of a trial, pooled over trials.
    """

    quantity: str = ""
    value: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    leading: bool | None = None
    open: bool = False
    stage: str = ""
    against: str = ""
    sample: tuple[float, ...] = ()
    within: float | None = None

    @staticmethod
    def of(quantity: str, sample: Sequence[float], stage: str = "", within: float | None = None) -> Number:
        """Return the mean of one value a trial, with the sample standard deviation and Student's 95% interval."""
        mean, n = float(np.mean(sample)), len(sample)
        std = float(np.std(sample, ddof=1)) if n > 1 else None
        low, high = (None, None) if std is None else interval(mean, std, n)
        return Number(quantity, mean, std, low, high, stage=stage, sample=tuple(sample), within=within)

    def spread(self, kind: Spread) -> float | None:
        """Return what stands behind ±; None where there is nothing."""
        if kind == "interval":
            return None if self.low is None or self.high is None else (self.high - self.low) / 2
        return self.std if kind == "seeds" else self.within if kind == "draws" else None


@dataclass(frozen=True)
class Cell:
    """One entry of a table: words, or numbers of the same `n` trials, or the reason why there is none (`state`).

    `ended` counts the trials that diverged, failed or collapsed; `source` says who measured: "measured" (a trial of
    ours), "no trial" (images from elsewhere) or a key of `sources` in published.yaml. `after` is printed behind the
    numbers.
    """

    dataset: str = ""
    row: str = ""
    numbers: tuple[Number, ...] = ()
    n: int = 0
    state: State = "ok"
    ended: Counter[str] = field(default_factory=Counter)
    stale: bool = False
    source: str = "measured"
    text: str = ""
    after: str = ""

    @property
    def value(self) -> float:
        """The first number; only of a cell that has one."""
        value = self.numbers[0].value
        assert value is not None
        return value


class Printed(NamedTuple):
    """A cell as it is printed: each number with what stands behind its ±, which of them are bold, and what follows."""

    numbers: tuple[tuple[str, str], ...]
    bold: frozenset[int]
    behind: str

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """Yield the text in pieces, each with whether it is bold."""
        for i, (mean, spread) in enumerate(self.numbers):
            yield ", " * (i > 0), False
            yield mean + (f" ± {spread}" if spread else ""), i in self.bold
        if self.behind:
            yield " " * bool(self.numbers) + self.behind, False

    def __str__(self) -> str:
        return "".join(text for text, _ in self.pieces())


Form = Callable[[Number], tuple[str, str]]
"""Prints a number, and what stands behind its ± (empty where nothing does)."""


def fixed(decimals: int | None = None, spread: Spread = "", scale: float = 1.0) -> Form:
    """Numbers in units of `scale` with so many decimals; without, three significant digits."""

    def form(number: Number) -> tuple[str, str]:
        if number.value is None:
            return "", ""
        value, half = number.value / scale, number.spread(spread)
        digits = decimals
        if digits is None:
            digits = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
        return f"{value:,.{digits}f}", "" if half is None else f"{half / scale:,.{digits}f}"

    return form


def plain(spec: str) -> Form:
    """Numbers by a format specification of Python's."""
    return lambda number: ("" if number.value is None else f"{number.value:{spec}}", "")


def ends(spec: str) -> Form:
    """The interval of a number, its ends by a format specification; nothing where it has none."""

    def form(number: Number) -> tuple[str, str]:
        low, high = number.low, number.high
        if low is None or high is None or not np.isfinite([low, high]).all():
            return "", ""
        return f"{low:{spec}} to {high:{spec}}", ""

    return form


def general(number: Number) -> tuple[str, str]:
    """A number as it is given; a range where seeds differ; a budget in steps says so."""
    text = f"{number.low:,.10g} to {number.high:,.10g}" if number.value is None else f"{number.value:,.10g}"
    return text + " steps" * number.quantity.startswith("steps"), ""


@dataclass(frozen=True)
class Column:
    """A column: its head and how it prints numbers.

    `behind`: with the numbers stand the trials and how they ended ("all"), their number alone ("n"), or nothing.
    `staged`: several numbers of a cell are those of training stages, named or joined by " + ". Words stand to the left.
    `tip` explains the column to a reader of the page.
    """

    head: str
    form: Form = general
    behind: Literal["all", "n", ""] = ""
    staged: Literal["named", "added", ""] = ""
    aligned: bool = False
    words: bool = False
    tip: str = ""

    def print(self, cell: Cell) -> Printed:
        """Return a cell of this column as it is printed."""
        mark = "‡" if cell.stale and self.behind == "all" else ""
        if cell.state != "ok":
            return Printed((), frozenset(), f"{MARKS.get(cell.state, cell.state)} {mark}".rstrip())
        numbers = [self.form(number) for number in cell.numbers]
        if self.staged and numbers:
            named = self.staged == "named" and len(numbers) > 1
            parts = [
                number.stage * named + " " * named + text
                for number, (text, _) in zip(cell.numbers, numbers, strict=True)
            ]
            numbers = [((", " if self.staged == "named" else " + ").join(parts), "")]
        flaws = [f"{cell.ended[name]} {name}" for name in FLAWS if cell.ended[name] and self.behind == "all"]
        undecided = "?" * any(number.open for number in cell.numbers)
        trials = f"({cell.n}){undecided}" if cell.n and self.behind else ""
        parts = [trials, f"[{', '.join(flaws)}]" if flaws else "", mark]
        behind = " ".join(filter(None, [cell.text, *parts, cell.after]))
        shown = tuple(number for number in numbers if number[0])
        return Printed(shown, frozenset(i for i, number in enumerate(cell.numbers) if number.leading), behind)


def measured(head: str, form: Form) -> Column:
    """A column of numbers over trials, which say how many these are and how they ended."""
    return Column(head, form, "all", aligned=True)


def count(head: str) -> Column:
    """A column of whole numbers."""
    return Column(head, plain(",.0f"))


def words(head: str) -> Column:
    """A column of words."""
    return Column(head, words=True)


@dataclass(frozen=True)
class Table:
    """A table of one profile and, where it is of one, a protocol or device; a format turns it into a file `name`.

    `more` are cells that no format prints, but CSV and JSON have. `apart`: each column can be read without the
    others, so that a format may set a wide table in parts.
    """

    name: str
    label: str
    caption: str
    columns: list[Column]
    lines: list[list[Cell]]
    notes: list[str]
    profile: str
    protocol: str = ""
    protocol_name: str = ""
    device: str = ""
    more: list[Cell] = field(default_factory=list)
    apart: bool = False

    @property
    def title(self) -> str:
        protocol = f", protocol {self.protocol_name}" if self.protocol_name else ""
        return f"{self.label}. {self.caption}. Profile {self.profile}{protocol}"

    @property
    def heads(self) -> list[str]:
        return [column.head for column in self.columns]

    def printed(self) -> list[list[Printed]]:
        """Return every cell as it is printed, line by line."""
        return [[column.print(cell) for column, cell in zip(self.columns, line, strict=True)] for line in self.lines]

    def texts(self) -> list[list[str]]:
        """Return every cell as plain text, line by line."""
        return [[str(cell) for cell in line] for line in self.printed()]

    def cells(self) -> Iterator[Cell]:
        """Yield every cell with numbers, the printed ones first."""
        yield from (cell for line in self.lines for cell in line if cell.numbers)
        yield from self.more
