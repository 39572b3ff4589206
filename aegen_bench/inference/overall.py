"""Rows over all datasets and networks of a profile."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Standing", "overall"]

RESAMPLES = 2000
Ratios = Mapping[str, Sequence[float]]  # stratum: FD over the floor's FD, one a seed


@dataclass(frozen=True)
class Standing:
    """A row's geometric mean ratio with its 95% interval, None where a stratum of it has one seed; and its rank (1 is
    best) with the interval of that, None where a stratum of any row has one seed.
    """

    ratio: float
    interval: tuple[float, float] | None
    rank: int
    ranks: tuple[int, int] | None


def overall(samples: Mapping[str, Ratios], *, level: float = 0.95) -> dict[str, Standing]:
    """Average rows over strata, a stratum being one network on one dataset.

    Args:
        samples: of each row, by stratum, its seeds' distances over the distance of real training images (the floor).

    Each stratum counts the same however many trials it has: the score is exp(mean over strata of mean over seeds of the
    log ratio). Rows that lack a stratum, or have a ratio there that is not positive and finite, are left out. Seeds are
    resampled within strata; a stratum's deviations are widened by sqrt(n / (n - 1)), without which n resampled seeds
    vary too little (Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 5.3).
    """
    strata = sorted({stratum for row in samples.values() for stratum in row})
    logs = {
        row: [np.log(np.asarray(mine[stratum], dtype=float)) for stratum in strata]
        for row, mine in samples.items()
        if all(mine.get(stratum) and all(math.isfinite(x) and x > 0 for x in mine[stratum]) for stratum in strata)
    }
    if not logs:
        return {}
    points = {row: float(np.mean([x.mean() for x in mine])) for row, mine in logs.items()}
    order = sorted(points, key=lambda row: points[row])
    spread = {row: min(map(len, mine)) > 1 for row, mine in logs.items()}
    generator = np.random.default_rng(0)
    drawn = np.stack([np.mean([_resampled(x, generator) for x in logs[row]], axis=0) for row in order])
    ranks = 1 + (drawn[:, None, :] > drawn[None, :, :]).sum(axis=1)
    tails = [(1 - level) / 2, (1 + level) / 2]
    found = {}
    for place, row in enumerate(order):
        low, high = np.quantile(drawn[place], tails)
        first, last = np.quantile(ranks[place], tails, method="inverted_cdf")
        ends = (math.exp(low), math.exp(high)) if spread[row] else None
        ranked = (int(first), int(last)) if all(spread.values()) else None
        found[row] = Standing(math.exp(points[row]), ends, place + 1, ranked)
    return found


def _resampled(logs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Means of resampled seeds, [RESAMPLES]."""
    n = len(logs)
    means = logs[generator.integers(n, size=(RESAMPLES, n))].mean(axis=1)
    return np.asarray(logs.mean() + (means - logs.mean()) * (n / max(n - 1, 1)) ** 0.5)
