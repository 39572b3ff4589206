"""A finished table: text for people, and the same numbers at full precision for machines."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

__all__ = ["Number", "Table", "Value"]


class Number(str):
    """A measured entry: its text, which is all that most readers need, and the parts that a format may set apart.

    `numbers` stand side by side ("0.81 ± 0.03"), those at the places in `bold` in bold; `behind` follows them: how many
    trials there were and how they ended.
    """

    numbers: tuple[str, ...]
    behind: str
    bold: frozenset[int]

    def __new__(cls, numbers: Sequence[str], behind: str = "", bold: Collection[int] = ()) -> Number:
        made = super().__new__(cls, " ".join(filter(None, (", ".join(numbers), behind))))
        made.numbers, made.behind, made.bold = tuple(numbers), behind, frozenset(bold)
        return made


@dataclass(frozen=True)
class Value:
    """One number of a table for machines (columns: docs/results-format.md); None where it does not apply."""

    dataset: str
    row: str
    quantity: str
    stage: str = ""
    against: str = ""
    state: str = "ok"
    n: int = 0
    value: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    diverged: int = 0
    failed: int = 0
    collapsed: int = 0
    leading: bool | None = None
    stale: bool = False
    source: str = "measured"
    text: str = ""


@dataclass(frozen=True)
class Table:
    """All text but `values`; a format turns it into a file called `name`. `about` are the profile and, where the table
    is of one, the protocol or device. `words` are the places of columns without numbers. `apart`: each column can be
    read without the others, so a format may set a wide table in parts.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]
    values: list[Value] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    words: tuple[int, ...] = (0,)
    apart: bool = False
