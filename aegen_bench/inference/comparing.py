"""Comparing two rows: the difference and its uncertainty.

Seeds are not pairs: seed 0 initialises different networks in two methods, so what it fixes in one has no counterpart in
the other. Rows that share a trained trunk are an exception, see `paired.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import stats

from aegen_bench.inference.moderation import Moderation, moderate
from aegen_bench.inference.scales import Scale

__all__ = ["ALPHA", "Difference", "Row", "difference", "interval", "moderated"]

ALPHA = 0.05
"""The error rate of every test, and 1 minus the coverage of every interval."""


def interval(mean: float, std: float, n: int) -> tuple[float, float]:
    """Return Student's 95% t interval of a mean, given the sample standard deviation of n >= 2 numbers."""
    half = _quantile(1 - ALPHA / 2, n - 1) * std / n**0.5
    return mean - half, mean + half


@cache
def _quantile(p: float, df: float) -> float:
    """The quantile of Student's t."""
    return float(stats.t.ppf(p, df))


@dataclass(frozen=True)
class Row:
    """The mean of `n` seeds on a scale, and the moderated `variance` of one seed with `df` degrees of freedom."""

    mean: float
    n: int
    variance: float
    df: float

    @property
    def error(self) -> float:
        """The squared standard error of the mean."""
        return self.variance / self.n


@dataclass(frozen=True)
class Difference:
    """The mean of one row minus that of another (or a known number), with its standard error and degrees of freedom.

    The error is zero if seeds agree to the last digit, and NaN if no row has two seeds.
    """

    gap: float
    error: float
    df: float

    @cached_property
    def tested(self) -> bool:
        """Whether there is an error to test with."""
        return bool(np.isfinite(self.gap) and np.isfinite(self.error) and (self.df > 0 or self.error == 0))

    def t(self, bound: float = 0.0) -> float:
        """Return how many standard errors the gap is above `bound`; with an error of 0, +-infinity or 0."""
        above = self.gap - bound
        return above / self.error if self.error else float(np.copysign(np.inf, above)) if above else 0.0

    def p_below(self, bound: float = 0.0) -> float:
        """Return the p-value of the hypothesis that the gap is at least `bound`; NaN if it cannot be tested."""
        return float(stats.t.cdf(self.t(bound), max(self.df, 1e-3))) if self.tested else float("nan")

    def p_above(self, bound: float = 0.0) -> float:
        """Return the p-value of the hypothesis that the gap is at most `bound`; NaN if it cannot be tested."""
        return float(stats.t.sf(self.t(bound), max(self.df, 1e-3))) if self.tested else float("nan")

    def interval(self) -> tuple[float, float]:
        """Return Student's 95% t interval of the gap; NaNs if it cannot be tested."""
        if not self.tested:
            return float("nan"), float("nan")
        half = _quantile(1 - ALPHA / 2, self.df) * self.error if self.error else 0.0
        return self.gap - half, self.gap + half


def moderated(samples: Mapping[str, Sequence[float]], scale: Scale) -> tuple[dict[str, Row], Moderation]:
    """Return rows with moderated variances, and the moderation; rows without a number on the scale are left out."""
    found = {name: taken for name, values in samples.items() if (taken := scale.of(values))}
    df = [len(values) - 1 for values in found.values()]
    noise = moderate([_variance(values) for values in found.values()], df)
    each = zip(found.items(), noise.variance, noise.df, strict=True)
    return {name: Row(_mean(x), len(x), float(v), float(d)) for (name, x), v, d in each}, noise


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _variance(values: Sequence[float]) -> float:
    """Return the sample variance; exactly 0 for equal numbers, whose mean may be off in the last digit."""
    return float(np.var(values, ddof=1)) if len(values) > 1 and min(values) < max(values) else 0.0


def difference(a: Row, b: Row | float) -> Difference:
    """Compare two rows, or a row with a known number.

    The degrees of freedom are an average of the two rows', weighted by their contributions to the error, and not
    Welch's sum of both, since both may be borrowed largely from the same other rows.
    """
    if not isinstance(b, Row):
        return Difference(a.mean - b, a.error**0.5, a.df)
    error = a.error + b.error
    weights = (a.error / a.df if a.df else np.inf) + (b.error / b.df if b.df else np.inf) if error else 0.0
    return Difference(a.mean - b.mean, error**0.5, error / weights if weights else min(a.df, b.df))
