"""The trials of one profile by entry, and a metric's numbers of them as cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from aegen_bench.report.cells import Cell, Entry

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Entries", "collect"]

Key = tuple[str, str, int]  # dataset, row, seed
KEYS = ["dataset", "row", "seed"]


class Entries:
    """Every (dataset, row) of a frame of one profile. Grouping the frame is slow: it is done once for all metrics, or
    for those that are `wanted`.
    """

    def __init__(self, frame: pd.DataFrame, wanted: Collection[str] | None = None) -> None:
        self._frame = frame
        ok = frame["status"] == "ok"
        self._ok = frame[ok if wanted is None else ok & frame["metric"].isin(wanted)]

    @cached_property
    def _trials(self) -> dict[Entry, list[tuple[Key, str, bool]]]:
        found: dict[Entry, list[tuple[Key, str, bool]]] = {}
        each = self._frame.drop_duplicates(KEYS)[[*KEYS, "status", "collapsed"]]
        for dataset, row, seed, status, collapsed in each.itertuples(index=False, name=None):
            found.setdefault((dataset, row), []).append(((dataset, row, seed), status, collapsed))
        return found

    @cached_property
    def _mixed(self) -> set[Entry]:
        """Entries of two configurations, over which a mean means nothing. A trial that failed may lack part of its."""
        made = self._frame[self._frame["status"] != "failed"]
        kinds = made[[*KEYS[:2], "config"]].drop_duplicates()
        return set(kinds.loc[kinds.duplicated(KEYS[:2]), KEYS[:2]].itertuples(index=False, name=None))

    @cached_property
    def _numbers(self) -> dict[str, dict[Key, float]]:
        """By metric the mean over the draws of each trial; NaN where it was tried and there is none."""
        means = self._ok.groupby(["metric", *KEYS], sort=False)["value"].mean()
        found: dict[str, dict[Key, float]] = {}
        for (metric, *key), value in zip(means.index, means.to_numpy(), strict=True):
            found.setdefault(metric, {})[key[0], key[1], key[2]] = float(value)
        return found

    def cells(self, metrics: Sequence[str], *, family: str = "", draws: bool = False) -> dict[Entry, Cell]:
        """Return a cell for each entry that has a trial.

        A trial's numbers are the means over its draws; it counts when it ended well and has all of `metrics`. `family`
        is the name under which evaluation records that these metrics failed. With `draws` the cells know their spread
        too.
        """
        numbers = [self._numbers.get(metric, {}) for metric in metrics]
        tried = set().union(*numbers, self._numbers.get(family, {}))
        within = self._within(metrics) if draws else {}
        found = {}
        for entry, trials in self._trials.items():
            counts: Counter[str] = Counter()
            good = []
            for key, status, collapsed in trials:
                values = tuple(of.get(key, float("nan")) for of in numbers)
                if all(value == value for value in values):
                    good.append(values)
                elif status == "diverged":
                    counts["diverged"] += 1
                elif status != "ok" or key in tried:
                    counts["failed"] += 1
                counts["collapsed"] += int(collapsed)
            state = "mixed" if entry in self._mixed else "ok" if good else _ended(counts)
            found[entry] = Cell(tuple(good) if state == "ok" else (), state, counts, within.get(entry, ()))
        return found

    def _within(self, metrics: Sequence[str]) -> dict[Entry, tuple[float, ...]]:
        """For each entry whose trials have several draws, the standard deviation within a trial, pooled over trials."""
        draws = self._ok[self._ok["metric"].isin(metrics)].groupby(["dataset", "row", "metric", "seed"])["value"]
        parts = draws.agg(["var", "count"]).dropna()
        parts["df"] = parts["count"] - 1
        parts["squares"] = parts["var"] * parts["df"]
        sums = parts[["squares", "df"]].groupby(level=[0, 1, 2]).sum()
        pooled = ((sums["squares"] / sums["df"]) ** 0.5).unstack("metric").reindex(columns=list(metrics)).dropna()
        return {entry: tuple(map(float, stds)) for entry, stds in zip(pooled.index, pooled.to_numpy(), strict=True)}


def _ended(counts: Counter[str]) -> str:
    return next((name for name in ("diverged", "failed") if counts[name]), "missing")


def collect(frame: pd.DataFrame, metrics: Sequence[str], *, family: str = "", draws: bool = False) -> dict[Entry, Cell]:
    """Return the cells of a single measure; see `Entries.cells`."""
    return Entries(frame, [*metrics, family]).cells(metrics, family=family, draws=draws)
