"""What a table is made of, and how one entry is summed up from its trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from aegen_bench.report.published import Published

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cell", "Entry", "Layout", "Table", "collect", "overrides", "trial_counts"]

Entry = tuple[str, str]  # dataset, row
_MARKS = {"missing": "—", "no data": "no data", "diverged": "diverged", "failed": "failed", "mixed": "mixed"}


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over n trials, one number or several side by side (F8 and F1/8).

    `state` is "ok" with at least one number, otherwise missing, no data, diverged, failed or mixed (configurations).
    `counts` says how many of the entry's trials diverged, failed or collapsed.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    n: int = 0
    state: str = "missing"
    counts: Counter[str] = field(default_factory=Counter)

    def text(self, decimals: int | None = None) -> str:
        """Return the entry as printed; one trial has no spread; without `decimals`, three significant digits."""
        if not self.n:
            return _MARKS[self.state]
        digits = [_decimals(mean) if decimals is None else decimals for mean in self.mean]
        numbers = [f"{mean:,.{d}f}" for mean, d in zip(self.mean, digits, strict=True)]
        if self.n > 1:
            spreads = [f"{std:,.{d}f}" for std, d in zip(self.std, digits, strict=True)]
            numbers = [f"{mean} ± {std}" for mean, std in zip(numbers, spreads, strict=True)]
        flaws = [f"{self.counts[name]} {name}" for name in ("diverged", "failed", "collapsed") if self.counts[name]]
        return f"{', '.join(numbers)} ({self.n})" + (f" [{', '.join(flaws)}]" if flaws else "")


def _decimals(value: float) -> int:
    return max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0


@dataclass(frozen=True)
class Table:
    """A finished table, all text; a format turns it into a file called `name`."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


@dataclass(frozen=True)
class Layout:
    """Which rows and datasets the tables of a profile have, in which order, and how they are written."""

    profile: str
    published: Published
    datasets: list[str]
    rows: list[str]
    planned: frozenset[Entry]
    no_data: Collection[str]

    def blank(self, entry: Entry) -> Cell:
        return Cell(state="no data" if entry[0] in self.no_data else "missing")


def collect(frame: pd.DataFrame, metrics: Sequence[str], *, family: str = "") -> dict[Entry, Cell]:
    """Return a cell for each (dataset, row) of one profile that has a trial.

    A trial's numbers are the means over its draws; it counts when it ended well and has all of `metrics`. `family` is
    the name under which evaluation records that these metrics failed.
    """
    keys = ["dataset", "row", "seed"]
    ok = frame[(frame["status"] == "ok") & frame["metric"].isin([*metrics, family])]
    wide = ok.dropna(subset="value").pivot_table(index=keys, columns="metric", values="value", aggfunc="mean")
    wide = wide.reindex(columns=list(metrics)).dropna()
    done = {key: tuple(map(float, numbers)) for key, numbers in zip(wide.index, wide.to_numpy(), strict=True)}
    spoilt = set(ok[keys].itertuples(index=False, name=None)) - set(done)
    values: dict[Entry, list[tuple[float, ...]]] = {}
    counts: dict[Entry, Counter[str]] = {}
    trials = frame.drop_duplicates(keys)[[*keys, "status", "collapsed"]]
    for dataset, row, seed, status, collapsed in trials.itertuples(index=False, name=None):
        mine = values.setdefault((dataset, row), [])
        count = counts.setdefault((dataset, row), Counter())
        if (dataset, row, seed) in done:
            mine.append(done[dataset, row, seed])
        if status == "diverged":
            count["diverged"] += 1
        elif status != "ok" or (dataset, row, seed) in spoilt:
            count["failed"] += 1
        count["collapsed"] += int(collapsed)
    kinds = frame.groupby(keys[:2])["config"].nunique()
    mixed = {entry for entry, number in kinds.items() if number > 1}  # a mean over two configurations means nothing
    return {e: Cell(state="mixed", counts=counts[e]) if e in mixed else _cell(values[e], counts[e]) for e in values}


def _cell(values: list[tuple[float, ...]], counts: Counter[str]) -> Cell:
    if not values:
        state = next((name for name in ("diverged", "failed") if counts[name]), "missing")
        return Cell(state=state, counts=counts)
    numbers = np.array(values)
    std = numbers.std(axis=0, ddof=1) if len(values) > 1 else ()
    return Cell(tuple(map(float, numbers.mean(axis=0))), tuple(map(float, std)), len(values), "ok", counts)


def trial_counts(frame: pd.DataFrame) -> str:
    """Return one sentence: how many trials there are, and how they ended."""
    trials = frame.drop_duplicates(["dataset", "row", "seed"])
    counts = Counter(trials["status"])
    counts["collapsed"] = int(trials["collapsed"].sum())
    names = ("ok", "diverged", "failed", "timeout", "collapsed")
    return f"Trials: {len(trials)} ({', '.join(f'{counts[name]} {name}' for name in names if counts[name])})."


def overrides(frame: pd.DataFrame, layout: Layout) -> list[str]:
    """Return one sentence on how the profile departs from the paper's settings; none when it does not."""
    found = frame.attrs.get("overrides", {}).get(layout.profile, {})
    rows = set(frame["row"])
    parts = [
        text if rows <= set(where) else f"{text} ({', '.join(map(layout.published.name, where))})"
        for text, where in found.items()
    ]
    return [f"Profile {layout.profile} departs from the paper's settings: {'; '.join(parts)}."] if parts else []
