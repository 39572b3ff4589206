"""Scores of rows over all datasets of a profile."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aegen_bench.inference.comparing import ALPHA
from aegen_bench.inference.moderation import moderate

__all__ = ["Standing", "overall"]

Numbers = NDArray[np.float64]
RESAMPLES = 2000
Ratios = Mapping[str, Sequence[float]]  # by dataset, the ratio of FD to the floor's FD, one per seed


@dataclass(frozen=True)
class Standing:
    """A row's geometric mean ratio and its rank (1 is best), each with its 95% interval.

    Intervals are None if no row has two seeds on a dataset, so that the spread there is unknown.
    """

    ratio: float
    interval: tuple[float, float] | None
    rank: int
    ranks: tuple[int, int] | None


def overall(samples: Mapping[str, Ratios]) -> dict[str, Standing]:
    """Average rows over datasets.

    All datasets have equal weight, however many trials they have: the score is exp(mean over datasets of mean over
    seeds of the log ratio). Rows that lack a dataset, or have a ratio there that is not positive and finite, are left
    out.

    The intervals come from a bootstrap over seeds within datasets. Deviations are widened by sqrt(n / (n - 1)), because
    n resampled seeds vary too little (Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 5.3). A
    single seed cannot be resampled; it gets normal noise with the typical spread of the other rows on the dataset.

    Args:
        samples: For each row and dataset, the ratios of its seeds' distances to the distance of real training images
            (the floor); with several networks, their geometric means.
    """
    datasets = sorted({dataset for row in samples.values() for dataset in row})
    logs = {
        row: [np.log(np.asarray(mine[dataset], dtype=float)) for dataset in datasets]
        for row, mine in samples.items()
        if all(mine.get(dataset) and all(math.isfinite(x) and x > 0 for x in mine[dataset]) for dataset in datasets)
    }
    if not logs:
        return {}
    typical = [_typical([mine[i] for mine in logs.values()]) for i in range(len(datasets))]
    known = all(math.isfinite(spread) for spread in typical)
    points = {row: float(np.mean([x.mean() for x in mine])) for row, mine in logs.items()}
    order = sorted(points, key=lambda row: points[row])
    generator = np.random.default_rng(0)
    drawn = np.stack(
        [
            np.mean([_resampled(x, spread, generator) for x, spread in zip(logs[row], typical, strict=True)], axis=0)
            for row in order
        ]
    )
    ranks = 1 + (drawn[:, None, :] > drawn[None, :, :]).sum(axis=1)
    tails = [ALPHA / 2, 1 - ALPHA / 2]
    found = {}
    for place, row in enumerate(order):
        low, high = np.exp(np.quantile(drawn[place], tails))
        first, last = np.quantile(ranks[place], tails, method="inverted_cdf")
        ends = ((float(low), float(high)), (int(first), int(last))) if known else (None, None)
        found[row] = Standing(math.exp(points[row]), ends[0], place + 1, ends[1])
    return found


def _typical(rows: Sequence[Numbers]) -> float:
    """Return the typical spread of rows over seeds; NaN if none has two."""
    variances = [float(x.var(ddof=1)) if len(x) > 1 else 0.0 for x in rows]
    return math.sqrt(moderate(variances, [len(x) - 1 for x in rows]).typical)


def _resampled(logs: Numbers, typical: float, generator: np.random.Generator) -> Numbers:
    """Return the means of resampled seeds, [RESAMPLES]."""
    n = len(logs)
    if n == 1:
        return np.asarray(logs[0] + typical * generator.standard_normal(RESAMPLES))
    means = logs[generator.integers(n, size=(RESAMPLES, n))].mean(axis=1)
    return np.asarray(logs.mean() + (means - logs.mean()) * (n / (n - 1)) ** 0.5)
