"""The Fréchet distance as a function of the training budget: the distance of a row after a share of its images.

It comes from the probes of a trial (`probe` in benchmarks.yaml), which score samples every few epochs. Rows are
compared with the one that ends best at equal numbers of images seen, so that longer schedules are no advantage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.report.cells import Cell, Number

__all__ = ["SHARES", "Curve", "crossing", "mean_curve", "reached", "read"]

SHARES = (0.01, 0.05, 0.25, 1.0)
"""Shares of the images that a row sees in all of its training."""
STEPS = 200  # number of points at which mean curves are compared


@dataclass(frozen=True)
class Curve:
    """The probes of one trial: images seen and optimizer steps taken until each, over all stages, and the distance.

    `images` and `steps` are the totals of the training; the arrays have one entry per probe, in order.
    """

    images: float
    steps: float
    seen: NDArray[np.float64]
    taken: NDArray[np.float64]
    distance: NDArray[np.float64]

    def at(self, share: float) -> float:
        """Return the distance at the last probe within a share of the images; NaN before the first probe."""
        within = np.flatnonzero(self.seen <= share * self.images * (1 + 1e-9))
        return float(self.distance[within[-1]]) if len(within) else math.nan

    @property
    def area(self) -> float:
        """Return the geometric mean of the distance over log(images), from the first probe to the last."""
        if len(self.seen) < 2:
            return math.nan
        x = np.log(self.seen)
        return float(np.exp(np.trapezoid(np.log(self.distance), x) / (x[-1] - x[0])))


def read(probes: Sequence[tuple[Mapping[str, Any], float]], stages: Mapping[str, Mapping[str, Any]]) -> Curve | None:
    """Return the curve of a trial, given its probes with their distances, and the `stages` of its record in order.

    None if it has no probe with a distance above 0, or its record lacks the length of training.
    """
    before, images, steps = dict[str, tuple[float, float]](), 0.0, 0.0
    for name, stage in stages.items():
        before[name] = images, steps
        images, steps = images + (stage.get("images") or 0), steps + (stage.get("steps") or 0)
    points = []
    for probe, distance in probes:
        stage = stages.get(probe["stage"], {})
        if stage.get("images") and distance > 0:
            share = probe["images"] / stage["images"]
            begun, done = before[probe["stage"]]
            points.append((begun + probe["images"], done + share * (stage.get("steps") or 0), distance))
    return Curve(images, steps, *np.array(points, dtype=np.float64).T) if points and images else None


def mean_curve(curves: Sequence[Curve], axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of log distance over trials at each number of images; NaN where a trial has no probe yet, or no
    more.
    """
    each = [np.interp(np.log(axis), np.log(c.seen), np.log(c.distance), np.nan, np.nan) for c in curves]
    return np.asarray(np.mean(each, axis=0))


def crossing(row: Sequence[Curve], best: Sequence[Curve]) -> float:
    """Return the number of images after which `best` stays better than `row`; NaN if it is better all along, if `row`
    is still better where the curves stop overlapping, or if they do not overlap.
    """
    low = max(curve.seen[0] for curve in (*row, *best))
    high = min(curve.seen[-1] for curve in (*row, *best))
    if low >= high:
        return math.nan
    axis = np.geomspace(low * (1 + 1e-9), high * (1 - 1e-9), STEPS)
    ahead = np.flatnonzero(mean_curve(row, axis) < mean_curve(best, axis))
    return float(axis[ahead[-1]]) if len(ahead) and ahead[-1] < STEPS - 1 else math.nan


def reached(dataset: str, row: str, curves: Sequence[Curve]) -> list[Cell]:
    """Return the cells of a row: images and steps of the budget, the distance after each of `SHARES`, and the area."""
    cells = [Cell(dataset, row, (Number("images", curves[0].images),))]
    cells.append(Cell(dataset, row, (Number("steps", curves[0].steps),)))
    values = {f"at {share:.0%} of the budget": [curve.at(share) for curve in curves] for share in SHARES}
    values["mean over the budget"] = [curve.area for curve in curves]
    for name, sample in values.items():
        known = [value for value in sample if math.isfinite(value)]
        cells.append(Cell(dataset, row, (Number.of(name, known),), len(known)) if known else Cell(state="missing"))
    return cells
