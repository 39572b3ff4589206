"""The statistics of the report: numbers in, numbers out.

Seeds are the samples. They are no pairs: what a seed fixes in one method has no counterpart in another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = [
    "ALPHA",
    "Contest",
    "Numbers",
    "bootstrap",
    "difference",
    "hedges_g",
    "holm",
    "interval",
    "iqm",
    "pooled_std",
    "probability_of_improvement",
    "welch",
]

Numbers = NDArray[np.float64]
ALPHA = 0.05
RESAMPLES = 2000


def interval(mean: float, std: float, n: int, level: float = 1 - ALPHA) -> tuple[float, float]:
    """Return Student's t interval of a mean from the sample standard deviation of n >= 2 numbers."""
    half = _quantile((1 + level) / 2, n - 1) * std / n**0.5
    return mean - half, mean + half


@cache
def _quantile(p: float, df: float) -> float:
    """Of Student's t."""
    return float(stats.t.ppf(p, df))


def difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of a minus that of b and Welch's 95% interval of it; NaN ends where one has a single number."""
    between = float(np.mean(a) - np.mean(b))
    if min(len(a), len(b)) < 2:
        return between, float("nan"), float("nan")
    parts = [_std(x) ** 2 / len(x) for x in (a, b)]
    if not (variance := sum(parts)):
        return between, between, between
    df = variance**2 / sum(part**2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True))
    half = _quantile(1 - ALPHA / 2, df) * variance**0.5
    return between, between - half, between + half


def holm(p: ArrayLike) -> Numbers:
    """Return Holm's adjusted p-values of one family of tests (Holm 1979), in the order given."""
    raw = np.asarray(p, dtype=float)
    order = np.argsort(raw)
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def welch(samples: Sequence[Sequence[float]]) -> Numbers:
    """Return the Holm-adjusted two-sided p-values of Welch's t-test between all pairs, [k, k]; 1 on the diagonal.

    Every sample has at least two numbers. Two constant samples are told apart by their means alone.
    """
    mean, std, n = (np.array([f(x) for x in samples]) for f in (np.mean, _std, len))
    i, j = np.triu_indices(len(samples), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        test = stats.ttest_ind_from_stats(mean[i], std[i], n[i], mean[j], std[j], n[j], equal_var=False)
    constant = (std[i] == 0) & (std[j] == 0)
    p = np.where(constant, (mean[i] == mean[j]).astype(float), test.pvalue)
    matrix = np.ones((len(samples), len(samples)))
    matrix[i, j] = matrix[j, i] = holm(p)
    return matrix


@dataclass(frozen=True)
class Contest:
    """Tests between the rows of a column, best mean first, each with its trials' numbers; `p` [k, k] are Holm-adjusted
    p-values of Welch's test. Empty where there are fewer than two rows.
    """

    samples: dict[str, Sequence[float]]
    p: Numbers

    @staticmethod
    def of(samples: Mapping[str, Sequence[float]], sign: int = 1) -> Contest:
        """Compare samples of two numbers or more; of sign 1 lower is better, of -1 higher."""
        order = sorted(samples, key=lambda row: sign * np.mean(samples[row])) if len(samples) > 1 else []
        return Contest({row: samples[row] for row in order}, welch([samples[row] for row in order]))

    def leads(self, row: str) -> bool | None:
        """Whether a row is not told apart from the best one, as the best one is; None of a row that is not tested."""
        return self.to_best()[row] >= ALPHA if row in self.samples else None

    def to_best(self) -> dict[str, float]:
        """Return the p-value of each tested row against the best one, whose own is 1."""
        return {row: float(self.p[0, i]) for i, row in enumerate(self.samples)}


def hedges_g(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the difference of the means of a and b in pooled standard deviations, corrected for few samples (Hedges
    1981, with the usual J = 1 - 3 / (4 df - 1)); NaN where nothing varies.
    """
    df = len(a) + len(b) - 2
    pooled = (((len(a) - 1) * _std(a) ** 2 + (len(b) - 1) * _std(b) ** 2) / df) ** 0.5
    if not pooled:
        return float("nan")
    return float((1 - 3 / (4 * df - 1)) * (np.mean(a) - np.mean(b)) / pooled)


def pooled_std(groups: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation within groups, pooled over them; NaN where no group has two numbers."""
    inner = [(len(g) - 1, _std(g) ** 2) for g in groups if len(g) > 1]
    df = sum(weight for weight, _ in inner)
    return float((sum(weight * variance for weight, variance in inner) / df) ** 0.5) if df else float("nan")


def _std(x: Sequence[float]) -> float:
    return float(np.std(x, ddof=1))


def iqm(scores: ArrayLike, axis: int = -1) -> Any:
    """Return the interquartile mean: the mean without the lowest and the highest quarter (Agarwal et al. 2021)."""
    return stats.trim_mean(np.asarray(scores, dtype=float), 0.25, axis=axis)


def bootstrap(strata: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Return the interquartile mean of all strata's scores together and its 95% percentile interval.

    The bootstrap is stratified: within each stratum (the seeds of one dataset) as many are drawn, with replacement, as
    there are (Agarwal et al. 2021, section 4.1).
    """
    generator = np.random.default_rng(0)
    places = [generator.integers(len(stratum), size=(RESAMPLES, len(stratum))) for stratum in strata]
    drawn = [np.asarray(stratum, dtype=float)[place] for stratum, place in zip(strata, places, strict=True)]
    low, high = np.quantile(iqm(np.concatenate(drawn, axis=1), axis=1), [ALPHA / 2, 1 - ALPHA / 2])
    return float(iqm(np.concatenate([np.asarray(s, dtype=float) for s in strata]))), float(low), float(high)


def probability_of_improvement(
    a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]
) -> tuple[float, float, float]:
    """Return how probably a trial of `a` has a lower score than one of `b` on the same dataset, ties as half, mean over
    the datasets, and its 95% percentile interval of the stratified bootstrap (Agarwal et al. 2021, section 4.3).

    `a` and `b` are scores of which lower is better, a list for each dataset, the datasets in the same order.
    """
    generator = np.random.default_rng(0)
    wins = [_wins(x, y) for x, y in zip(a, b, strict=True)]
    drawn = np.zeros(RESAMPLES)
    for won in wins:
        # How often each trial is drawn weighs its wins: [resamples, m], [m, n], [resamples, n].
        mine, theirs = (generator.multinomial(k, np.full(k, 1 / k), RESAMPLES) / k for k in won.shape)
        drawn += ((mine @ won) * theirs).sum(axis=1) / len(wins)
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2])
    return float(np.mean([won.mean() for won in wins])), float(low), float(high)


def _wins(a: Sequence[float], b: Sequence[float]) -> Numbers:
    """1 where a number of a is lower than one of b, 1/2 where they are equal, else 0: [m, n]."""
    gaps = np.subtract.outer(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    return np.asarray(np.heaviside(-gaps, 0.5))
