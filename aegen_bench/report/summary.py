"""Records become cells: what the trials of a row on a dataset say about each number."""

from __future__ import annotations

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

__all__ = ["ANCHOR_NAMES", "Cells", "Layout", "Summary", "budgets", "devices", "guest", "invited", "plan"]

Key = tuple[str, str, int]  # dataset, row, seed
KEYS = ["dataset", "row", "seed"]
ANCHOR_NAMES = {(ANCHORS, "floor"): "training images (floor)", (ANCHORS, "ceiling"): "noise (ceiling)"}


@dataclass(frozen=True)
class Layout:
    """Which rows and datasets the tables of a profile have, and in which order."""

    profile: str
    published: Published
    datasets: list[str]
    rows: list[str]
    planned: frozenset[Entry] = frozenset()
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
    """Order the rows and datasets of a frame of one profile by the plan, then the paper, then the alphabet with numbers
    by their size.
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
        planned=frozenset(planned),
        no_data=frozenset(no_data),
        stale=frozenset(stale),
        spread=spread,
    )


def _ordered(planned: Iterable[str], papers: list[str], found: set[str]) -> list[str]:
    known = [*planned, *(name for name in papers if name in found)]
    return list(dict.fromkeys([*known, *sorted(found, key=_by_number)]))


def _by_number(name: str) -> list[str | float]:
    """A sort key that puts beta50 before beta400: words and numbers take turns."""
    return [float(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+(?:\.\d+)?)", name))]


class Cells(dict[Entry, Cell]):
    """A cell for each entry with a trial; any other entry gives an empty cell that says why."""

    def __init__(self, layout: Layout, quantities: Sequence[str], stage: str = "", source: str = "measured") -> None:
        self._layout, self._source = layout, source
        self._numbers = tuple(Number(name, stage=stage) for name in quantities)

    def __missing__(self, entry: Entry) -> Cell:
        state = "no data" if entry[0] in self._layout.no_data else "missing"
        return Cell(*entry, self._numbers, state=state, source=self._source)  # type: ignore[arg-type]


class Summary:
    """The trials of a frame of one profile by entry. Grouping the frame is slow: it is done once for all metrics."""

    def __init__(self, frame: pd.DataFrame, layout: Layout, source: str = "measured") -> None:
        self._frame, self._layout, self._source = frame, layout, source
        self._made: dict[tuple[Sequence[str], ...], Cells] = {}

    def metrics(self, dataset: str) -> set[str]:
        """Every metric that was tried on a dataset."""
        return set(self._frame.loc[self._frame["dataset"] == dataset, "metric"].unique())

    @cached_property
    def trials(self) -> dict[Entry, list[tuple[Key, str, bool]]]:
        """Key, status and whether it collapsed of each entry's trials."""
        found: dict[Entry, list[tuple[Key, str, bool]]] = {}
        each = self._frame.drop_duplicates(KEYS)[[*KEYS, "status", "collapsed"]]
        for dataset, row, seed, status, collapsed in each.itertuples(index=False, name=None):
            found.setdefault((dataset, row), []).append(((dataset, row, seed), status, collapsed))
        return found

    @cached_property
    def mixed(self) -> set[Entry]:
        """Entries of two configurations, over which a mean means nothing. A trial that failed may lack part of its."""
        made = self._frame[self._frame["status"] != "failed"]
        kinds = made[[*KEYS[:2], "config"]].drop_duplicates()
        return set(kinds.loc[kinds.duplicated(KEYS[:2]), KEYS[:2]].itertuples(index=False, name=None))

    @cached_property
    def numbers(self) -> dict[str, dict[Key, float]]:
        """By metric the mean over the draws of each trial that ended well; NaN where it was tried and there is none."""
        ok = self._frame[self._frame["status"] == "ok"]
        means = ok.groupby(["metric", *KEYS], sort=False)["value"].mean()
        found: dict[str, dict[Key, float]] = {}
        for (metric, *key), value in zip(means.index, means.to_numpy(), strict=True):
            found.setdefault(metric, {})[key[0], key[1], key[2]] = float(value)
        return found

    def cells(
        self, metrics: Sequence[str], *, family: str = "", quantities: Sequence[str] = (), stage: str = ""
    ) -> Cells:
        """Return a cell of these metrics for each entry that has a trial; its numbers are called `quantities`, or as
        the metrics.

        A trial's numbers are the means over its draws; it counts when it ended well and has all of them. `family` is
        the name under which evaluation records that they failed.
        """
        asked = (tuple(metrics), family, tuple(quantities), stage)
        if asked not in self._made:
            self._made[asked] = self._cells(metrics, family, quantities or metrics, stage)
        return self._made[asked]

    def _cells(self, metrics: Sequence[str], family: str, names: Sequence[str], stage: str) -> Cells:
        known = [self.numbers.get(metric, {}) for metric in metrics]
        tried = set().union(*known, self.numbers.get(family, {}))
        found = Cells(self._layout, names, stage, self._source)
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
                columns = zip(names, zip(*good, strict=True), within, strict=True)
                numbers = tuple(Number.of(name, sample, stage, inner) for name, sample, inner in columns)
            else:
                good, numbers = [], tuple(Number(name, stage=stage) for name in names)
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
        NaN where no trial has two draws.
        """
        mine = self._frame[(self._frame["metric"] == metric) & (self._frame["dataset"] == dataset)]
        mine = mine[(mine["status"] == "ok") & mine["row"].isin(rows)]
        squares, df = 0.0, 0
        for _, values in mine.groupby(["row", "seed"], sort=False)["value"]:
            if len(drawn := scale.of(values.tolist())) > 1:
                squares, df = squares + float(np.var(drawn)) * len(drawn), df + len(drawn) - 1
        return (squares / df) ** 0.5 if df else float("nan")


def budgets(costs: pd.DataFrame, prefix: str, what: str) -> dict[Entry, dict[str, Number]]:
    """For each entry the least and most of its epochs (or steps) `what` by `epochs.STAGE` or `steps.STAGE`; `prefix`
    begins the names of their metrics.
    """
    known = costs[costs["metric"].str.match(rf"{prefix}(epochs|steps)\.") & costs["value"].notna()]
    spans = known.groupby(["dataset", "row", "metric"], sort=False)["value"].agg(["min", "max"])
    found: dict[Entry, dict[str, Number]] = {}
    for (dataset, row, metric), low, high in spans.itertuples(name=None):
        unit, stage = (key := metric.removeprefix(prefix)).split(".", 1)
        number = Number(f"{unit} {what}", low if low == high else None, low=low, high=high, stage=stage)
        found.setdefault((dataset, row), {})[key] = number
    return found


def devices(frame: pd.DataFrame) -> list[str]:
    """The devices that are known to have trained; times of two do not compare."""
    return sorted(set(frame["device"].unique()) - {""})


def guest(profile: str, row: str) -> str:
    """Return how tables write an image set from elsewhere."""
    return ANCHOR_NAMES.get((profile, row), f"{row} (external)")


def invited(others: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the external image sets, then the anchors, that were compared with the same real images under the same
    protocols as a frame of one profile; named as they stand in a table.
    """
    kin = frame.loc[frame["protocol"] != "", ["dataset", "protocol", "real"]].drop_duplicates()
    guests = others.merge(kin, on=["dataset", "protocol", "real"])
    guests = guests[guests["profile"].isin([EXTERNAL, ANCHORS]) & ~guests["profile"].isin(frame["profile"])]
    names = [guest(profile, row) for profile, row in zip(guests["profile"], guests["row"], strict=True)]
    last = (guests["profile"] == ANCHORS).astype(int) + (guests["row"] == "ceiling")
    return guests.assign(row=names, last=last).sort_values(["last", "row"], kind="stable").drop(columns="last")
