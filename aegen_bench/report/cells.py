"""How one entry of a table is summed up from its trials, and which entries a profile has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aegen_bench.report.published import Published
from aegen_bench.report.statistics import interval
from aegen_bench.report.table import Number, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SPREADS", "Cell", "Entry", "Layout", "devices", "overrides", "trial_counts"]

Entry = tuple[str, str]  # dataset, row
_MARKS = {"missing": "—", "no data": "no data", "diverged": "diverged", "failed": "failed", "mixed": "mixed"}
SPREADS = {
    "seeds": "Mean ± sample standard deviation over seeds (trials trained anew)",
    "interval": "Mean ± half of its 95% interval by Student's t over seeds (trials trained anew)",
    "draws": "Mean over seeds ± standard deviation of the draws within a trial, pooled over trials (one draw has none)",
}
"""What stands behind ±, and the beginning of the note on it."""
_SCALARS = (
    "Deviation: where that shortens a schedule, a learned variance or beta has a learning rate larger by the same "
    "ratio, up to 0.01: it would hardly move otherwise."
)


@dataclass(frozen=True)
class Cell:
    """What the trials of an entry say: `trials` has a tuple a trial, of one number or of several that stand side by
    side (F8 and F1/8), each the mean over its draws; `within` is the pooled standard deviation over draws.

    `state` is "ok" with at least one number, otherwise missing, no data, diverged, failed or mixed (configurations).
    `counts` says how many of the entry's trials diverged, failed or collapsed.
    """

    trials: tuple[tuple[float, ...], ...] = ()
    state: str = "missing"
    counts: Counter[str] = field(default_factory=Counter)
    within: tuple[float, ...] = ()

    @property
    def n(self) -> int:
        return len(self.trials)

    @cached_property
    def mean(self) -> tuple[float, ...]:
        return tuple(map(float, np.mean(self.trials, axis=0))) if self.n else ()

    @cached_property
    def std(self) -> tuple[float, ...]:
        """Sample standard deviations over the trials; none of a single trial."""
        return tuple(map(float, np.std(self.trials, axis=0, ddof=1))) if self.n > 1 else ()

    def sample(self, place: int = 0) -> list[float]:
        """One of the numbers, trial by trial."""
        return [numbers[place] for numbers in self.trials]

    def intervals(self) -> list[tuple[float, float]]:
        """95% t intervals of the means; none of a single trial."""
        return [interval(mean, std, self.n) for mean, std in zip(self.mean, self.std, strict=False)]

    def shown(
        self, decimals: int | None = None, spread: str = "seeds", *, bold: Collection[int] = (), stale: bool = False
    ) -> str:
        """Return the entry as printed; one trial has no spread; without `decimals`, three significant digits."""
        mark = "‡" if stale else ""
        if not self.n:
            return f"{_MARKS[self.state]} {mark}".rstrip()
        digits = [_decimals(mean) if decimals is None else decimals for mean in self.mean]
        numbers = [f"{mean:,.{d}f}" for mean, d in zip(self.mean, digits, strict=True)]
        halves = [(high - low) / 2 for low, high in self.intervals()]
        if spreads := {"seeds": self.std, "interval": halves, "draws": self.within}[spread]:
            numbers = [f"{m} ± {s:,.{d}f}" for m, s, d in zip(numbers, spreads, digits, strict=True)]
        flaws = [f"{self.counts[name]} {name}" for name in ("diverged", "failed", "collapsed") if self.counts[name]]
        behind = [f"({self.n})", f"[{', '.join(flaws)}]" if flaws else "", mark]
        return Number(numbers, " ".join(filter(None, behind)), bold)

    def values(
        self, entry: Entry, quantities: Sequence[str], leading: Sequence[bool | None] = (), **about: Any
    ) -> Iterator[Value]:
        """Yield the entry's numbers at full precision, or why there is none; `leading` has a word on each."""
        known = {"n": self.n, **{name: self.counts[name] for name in ("diverged", "failed", "collapsed")}} | about
        low_high: Sequence[tuple[float | None, float | None]] = self.intervals() or [(None, None)] * len(quantities)
        for i, quantity in enumerate(quantities):
            if not self.n:
                yield Value(*entry, quantity, state=self.state, **known)
                continue
            low, high = low_high[i]
            yield Value(
                *entry,
                quantity,
                value=self.mean[i],
                std=self.std[i] if self.std else None,
                low=low,
                high=high,
                leading=leading[i] if leading else None,
                **known,
            )


def _decimals(value: float) -> int:
    return max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0


@dataclass(frozen=True)
class Layout:
    """Which rows and datasets the tables of a profile have, in which order, and how they are written."""

    profile: str
    published: Published
    datasets: list[str]
    rows: list[str]
    planned: frozenset[Entry]
    no_data: Collection[str]
    stale: frozenset[Entry] = frozenset()
    spread: str = "seeds"

    def blank(self, entry: Entry) -> Cell:
        return Cell(state="no data" if entry[0] in self.no_data else "missing")


def devices(frame: pd.DataFrame) -> list[str]:
    """The devices that are known to have trained; times of two do not compare."""
    return sorted(set(frame["device"].unique()) - {""})


def trial_counts(frame: pd.DataFrame) -> str:
    """Return one sentence: how many trials there are, and how they ended."""
    trials = frame.drop_duplicates(["dataset", "row", "seed"])
    counts = Counter(trials["status"])
    counts["collapsed"] = int(trials["collapsed"].sum())
    names = ("ok", "diverged", "failed", "timeout", "collapsed")
    return f"Trials: {len(trials)} ({', '.join(f'{counts[name]} {name}' for name in names if counts[name])})."


def overrides(frame: pd.DataFrame, layout: Layout) -> list[str]:
    """Return how the profile departs from the paper's settings; nothing when it does not."""
    found = frame.attrs.get("overrides", {}).get(layout.profile, {})
    rows = set(frame["row"].unique())
    parts = [
        text if rows <= set(where) else f"{text} ({', '.join(map(layout.published.name, where))})"
        for text, where in found.items()
    ]
    told = [f"Profile {layout.profile} departs from the paper's settings: {'; '.join(parts)}.", _SCALARS]
    return told if parts else []
