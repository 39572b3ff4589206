"""The parts of a table: cells that hold numbers, and columns that format them.

Numbers keep full precision until they are printed: Markdown, LaTeX and the page format cells through their columns,
while CSV and JSON write the numbers themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from aegen_bench.inference import interval

__all__ = [
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
FLAWS = ("diverged", "failed", "collapsed")


@dataclass(frozen=True)
class Number:
    """One number at full precision; `value` is None if it does not apply.

    CSV and JSON leave out a number without `quantity`, since it is derived from others that they have. `leading` says
    whether it is in the leading group of its column; None if that is not tested. `open` marks a number of one seed
    which, given the noise of the other rows, could belong to the leading group. `sample` holds the values whose mean it
    is, one per trial; `within` is the standard deviation over the draws of a trial, pooled over trials.
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
        """Return the mean of a sample, one value per trial, with its standard deviation and Student's 95% interval."""
        mean, n = float(np.mean(sample)), len(sample)
        std = float(np.std(sample, ddof=1)) if n > 1 else None
        low, high = (None, None) if std is None else interval(mean, std, n)
        return Number(quantity, mean, std, low, high, stage=stage, sample=tuple(sample), within=within)

    def spread(self, kind: Spread) -> float | None:
        """Return the number after ±; None if there is none."""
        if kind == "interval":
            return None if self.low is None or self.high is None else (self.high - self.low) / 2
        return self.std if kind == "seeds" else self.within if kind == "draws" else None


@dataclass(frozen=True)
class Cell:
    """A cell of a table: text, or numbers of the same `n` trials, or the reason why there are none (`state`).

    `ended` counts the trials that diverged, failed or collapsed. `source` is "measured" (our own trials), "no trial"
    (external images) or a key of `sources` in published.yaml. `after` is printed after the numbers.
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
        """The first number; the cell must have one."""
        value = self.numbers[0].value
        assert value is not None
        return value


class Printed(NamedTuple):
    """A formatted cell: each number with its ± part, the indices of the bold ones, and the text after them."""

    numbers: tuple[tuple[str, str], ...]
    bold: frozenset[int]
    behind: str

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """Yield (text, whether it is bold) for each piece of the cell."""
        for i, (mean, spread) in enumerate(self.numbers):
            yield ", " * (i > 0), False
            yield mean + (f" ± {spread}" if spread else ""), i in self.bold
        if self.behind:
            yield " " * bool(self.numbers) + self.behind, False

    def __str__(self) -> str:
        return "".join(text for text, _ in self.pieces())


Form = Callable[[Number], tuple[str, str]]
"""Formats a number, and its ± part (empty if there is none)."""


def fixed(decimals: int | None = None, spread: Spread = "", scale: float = 1.0) -> Form:
    """Format numbers in units of `scale`, with `decimals` decimals; None means three significant digits."""

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
    """Format numbers by a Python format specification."""
    return lambda number: ("" if number.value is None else f"{number.value:{spec}}", "")


def ends(spec: str) -> Form:
    """Format the interval of a number, its limits by a Python format specification; empty if it has none."""

    def form(number: Number) -> tuple[str, str]:
        low, high = number.low, number.high
        if low is None or high is None or not np.isfinite([low, high]).all():
            return "", ""
        return f"{low:{spec}} to {high:{spec}}", ""

    return form


def general(number: Number) -> tuple[str, str]:
    """Format a number as it is, or a range if seeds differ; adds the unit to a budget in steps."""
    text = f"{number.low:,.10g} to {number.high:,.10g}" if number.value is None else f"{number.value:,.10g}"
    return text + " steps" * number.quantity.startswith("steps"), ""


@dataclass(frozen=True)
class Column:
    """A column: its head, and how it formats numbers.

    `behind`: after the numbers come the number of trials and how they ended ("all"), their number only ("n"), or
    nothing. `staged`: the numbers of a cell belong to training stages, and are named or joined by " + ". Columns of
    `words` are aligned left. `tip` is the tooltip on the page.
    """

    head: str
    form: Form = general
    behind: Literal["all", "n", ""] = ""
    staged: Literal["named", "added", ""] = ""
    words: bool = False
    tip: str = ""

    @property
    def aligned(self) -> bool:
        """Whether each cell has one number over trials."""
        return bool(self.behind) and not self.staged

    def print(self, cell: Cell) -> Printed:
        """Format a cell of this column."""
        mark = "‡" if cell.stale and self.behind == "all" else ""
        if cell.state != "ok":
            return Printed((), frozenset(), f"{'—' if cell.state == 'missing' else cell.state} {mark}".rstrip())
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
    """Return a column of numbers over trials, with the number of trials and how they ended."""
    return Column(head, form, "all")


def count(head: str) -> Column:
    """Return a column of integers."""
    return Column(head, plain(",.0f"))


def words(head: str) -> Column:
    """Return a column of text."""
    return Column(head, words=True)


@dataclass(frozen=True)
class Table:
    """A table of one profile, and possibly of one protocol or device; a format writes it to a file called `name`.

    `more` are cells that only CSV and JSON include. `apart`: the columns can be read independently, so that a format
    may split a wide table.
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
        """Label, caption, profile and protocol in one line."""
        protocol = f", protocol {self.protocol_name}" if self.protocol_name else ""
        return f"{self.label}. {self.caption}. Profile {self.profile}{protocol}"

    @property
    def heads(self) -> list[str]:
        """The heads of the columns."""
        return [column.head for column in self.columns]

    def printed(self) -> list[list[Printed]]:
        """Return all formatted cells, line by line."""
        return [[column.print(cell) for column, cell in zip(self.columns, line, strict=True)] for line in self.lines]

    def texts(self) -> list[list[str]]:
        """Return all cells as plain text, line by line."""
        return [[str(cell) for cell in line] for line in self.printed()]

    def cells(self) -> Iterator[Cell]:
        """Yield all cells with numbers, the printed ones first."""
        yield from (cell for line in self.lines for cell in line if cell.numbers)
        yield from self.more
