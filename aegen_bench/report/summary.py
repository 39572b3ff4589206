"""Summarises trials: turns the numbers of each row on each dataset into cells."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from aegen_bench.inference import RAW, Scale
from aegen_bench.report.cells import Cell, Entry, Number, Spread
from aegen_bench.report.published import Published
from aegen_bench.results import ANCHORS, EXTERNAL

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ANCHOR_NAMES", "Cells", "Layout", "Summary", "budgets", "guest", "invited", "plan"]

Key = tuple[str, str, int]  # dataset, row, seed
KEYS = ["dataset", "row", "seed"]
ANCHOR_NAMES = {(ANCHORS, "floor"): "training images (floor)", (ANCHORS, "ceiling"): "noise (ceiling)"}


@dataclass(frozen=True)
class Layout:
    """The rows and datasets of a profile's tables, in order."""

    profile: str
    published: Published
    datasets: list[str]
    rows: list[str]
    no_data: frozenset[str] = frozenset()
    stale: frozenset[Entry] = frozenset()
    spread: Spread = "seeds"


def plan(
    frame: pd.DataFrame,
    published: Published,
    *,
    planned: Sequence[Entry] = (),
    no_data: Collection[str] = (),
    stale: Collection[Entry] = (),
    spread: Spread = "seeds",
) -> Layout:
    """Return the layout of one profile's results: rows and datasets in the order of the plan, then of the paper, then
    alphabetically, with embedded numbers by size.
    """
    [profile] = frame["profile"].unique()
    datasets = [*(dataset for dataset, _ in planned), *sorted(no_data)]
    return Layout(
        profile=profile,
        published=published,
        datasets=_ordered(datasets, published.datasets, set(frame["dataset"].unique())),
        rows=_ordered(
            [row for _, row in planned], [*published.rows(1), *published.rows(5)], set(frame["row"].unique())
        ),
        no_data=frozenset(no_data),
        stale=frozenset(stale),
        spread=spread,
    )


def _ordered(planned: Iterable[str], papers: list[str], found: set[str]) -> list[str]:
    known = [*planned, *(name for name in papers if name in found)]
    return list(dict.fromkeys([*known, *sorted(found, key=_by_number)]))


def _by_number(name: str) -> list[str | float]:
    """Return a sort key that puts beta50 before beta400, by splitting names into text and numbers."""
    return [float(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+(?:\.\d+)?)", name))]


class Cells(dict[Entry, Cell]):
    """A cell for each entry with a trial; other entries give an empty cell with the reason as its state."""

    def __init__(self, layout: Layout, quantities: Sequence[str], source: str = "measured") -> None:
        self._layout, self._source = layout, source
        self._numbers = tuple(map(Number, quantities))

    def __missing__(self, entry: Entry) -> Cell:
        state = "no data" if entry[0] in self._layout.no_data else "missing"
        return Cell(*entry, self._numbers, state=state, source=self._source)  # type: ignore[arg-type]


class Summary:
    """The trials of one profile by entry. Grouping the frame is slow, so it is done once for all metrics."""

    def __init__(self, frame: pd.DataFrame, layout: Layout, source: str = "measured") -> None:
        self._frame, self._layout, self._source = frame, layout, source
        self._made: dict[tuple[str, ...], Cells] = {}

    def metrics(self, dataset: str) -> set[str]:
        """Return all metrics that were tried on a dataset."""
        return set(self._frame.loc[self._frame["dataset"] == dataset, "metric"].unique())

    @cached_property
    def trials(self) -> dict[Entry, list[tuple[Key, str, bool]]]:
        """The trials of each entry: key, status, and whether it collapsed."""
        found: dict[Entry, list[tuple[Key, str, bool]]] = {}
        each = self._frame.drop_duplicates(KEYS)[[*KEYS, "status", "collapsed"]]
        for dataset, row, seed, status, collapsed in each.itertuples(index=False, name=None):
            found.setdefault((dataset, row), []).append(((dataset, row, seed), status, collapsed))
        return found

    @cached_property
    def mixed(self) -> set[Entry]:
        """Entries with more than one configuration, whose mean is meaningless. Failed trials, whose configuration may
        be incomplete, are ignored.
        """
        made = self._frame[self._frame["status"] != "failed"]
        kinds = made[[*KEYS[:2], "config"]].drop_duplicates()
        return set(kinds.loc[kinds.duplicated(KEYS[:2]), KEYS[:2]].itertuples(index=False, name=None))

    @cached_property
    def numbers(self) -> dict[str, dict[Key, float]]:
        """The mean over draws by metric and trial, of trials with status ok; NaN if the metric was tried and failed."""
        ok = self._frame[self._frame["status"] == "ok"]
        means = ok.groupby(["metric", *KEYS], sort=False)["value"].mean()
        found: dict[str, dict[Key, float]] = {}
        for (metric, *key), value in zip(means.index, means.to_numpy(), strict=True):
            found.setdefault(metric, {})[key[0], key[1], key[2]] = float(value)
        return found

    def cells(self, metrics: Sequence[str], *, family: str = "") -> Cells:
        """Return a cell with these metrics for each entry that has a trial.

        The numbers of a trial are means over its draws; it counts if its status is ok and it has all of them. `family`
        is the name under which evaluation records a failure of the metrics.
        """
        asked = (*metrics, family)
        if asked not in self._made:
            self._made[asked] = self._cells(metrics, family)
        return self._made[asked]

    def _cells(self, metrics: Sequence[str], family: str) -> Cells:
        known = [self.numbers.get(metric, {}) for metric in metrics]
        # A family may also be the name of a number; only its missing values say that the metric failed.
        failed = (key for key, value in self.numbers.get(family, {}).items() if math.isnan(value))
        tried = set().union(*known, failed)
        found = Cells(self._layout, metrics, self._source)
        for entry, trials in self.trials.items():
            ended: Counter[str] = Counter()
            good = []
            for key, status, collapsed in trials:
                values = tuple(of.get(key, float("nan")) for of in known)
                if all(value == value for value in values):
                    good.append(values)
                elif status == "diverged":
                    ended["diverged"] += 1
                elif status != "ok" or key in tried:
                    ended["failed"] += 1
                ended["collapsed"] += int(collapsed)
            fallback = next((name for name in ("diverged", "failed") if ended[name]), "missing")
            state = "mixed" if entry in self.mixed else "ok" if good else fallback
            if state == "ok":
                within = [self._draws(entry, metric) for metric in metrics]
                columns = zip(metrics, zip(*good, strict=True), within, strict=True)
                numbers = tuple(Number.of(name, sample, within=inner) for name, sample, inner in columns)
            else:
                good, numbers = [], tuple(map(Number, metrics))
            stale = entry in self._layout.stale
            found[entry] = Cell(*entry, numbers, len(good), state, ended, stale, self._source)  # type: ignore[arg-type]
        return found

    def _draws(self, entry: Entry, metric: str) -> float | None:
        """The spread of the draws of an entry's trials, where it is asked for and known."""
        asked = self._layout.spread == "draws"
        spread = self.draw_spread(entry[0], metric, [entry[1]], RAW) if asked else float("nan")
        return None if np.isnan(spread) else spread

    def draw_spread(self, dataset: str, metric: str, rows: Sequence[str], scale: Scale) -> float:
        """Return the standard deviation over the draws of a trial, on a scale, pooled over the trials of these rows;
        NaN if no trial has two draws.
        """
        mine = self._frame[(self._frame["metric"] == metric) & (self._frame["dataset"] == dataset)]
        mine = mine[(mine["status"] == "ok") & mine["row"].isin(rows)]
        squares, df = 0.0, 0
        for _, values in mine.groupby(["row", "seed"], sort=False)["value"]:
            if len(drawn := scale.of(values.tolist())) > 1:
                squares, df = squares + float(np.var(drawn)) * len(drawn), df + len(drawn) - 1
        return (squares / df) ** 0.5 if df else float("nan")


def budgets(costs: pd.DataFrame, prefix: str, what: str) -> dict[Entry, dict[str, Number]]:
    """Return, for each entry, the range of its epochs (or steps) by `epochs.STAGE` or `steps.STAGE`. The numbers are
    named after the unit and `what`; the names of their metrics begin with `prefix`.
    """
    known = costs[costs["metric"].str.match(rf"{prefix}(epochs|steps)\.") & costs["value"].notna()]
    spans = known.groupby(["dataset", "row", "metric"], sort=False)["value"].agg(["min", "max"])
    found: dict[Entry, dict[str, Number]] = {}
    for (dataset, row, metric), low, high in spans.itertuples(name=None):
        unit, stage = (key := metric.removeprefix(prefix)).split(".", 1)
        number = Number(f"{unit} {what}", low if low == high else None, low=low, high=high, stage=stage)
        found.setdefault((dataset, row), {})[key] = number
    return found


def guest(profile: str, row: str) -> str:
    """Return the display name of an external image set or anchor."""
    return ANCHOR_NAMES.get((profile, row), f"{row} (external)")


def invited(others: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the results of external image sets, then anchors, that are comparable with those of one profile: same
    protocol, same real images. Rows have their display names.
    """
    kin = frame.loc[frame["protocol"] != "", ["dataset", "protocol", "real"]].drop_duplicates()
    guests = others.merge(kin, on=["dataset", "protocol", "real"])
    guests = guests[guests["profile"].isin([EXTERNAL, ANCHORS]) & ~guests["profile"].isin(frame["profile"])]
    names = [guest(profile, row) for profile, row in zip(guests["profile"], guests["row"], strict=True)]
    last = (guests["profile"] == ANCHORS).astype(int) + (guests["row"] == "ceiling")
    return guests.assign(row=names, last=last).sort_values(["last", "row"], kind="stable").drop(columns="last")
