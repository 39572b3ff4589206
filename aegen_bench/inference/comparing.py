"""Two rows compared: by how much they differ, how surely, and whether they are as good as equal.

Seeds are no pairs: seed 0 starts different networks in two methods, so what it fixes in one has no counterpart in the
other. Rows that share a trained trunk are an exception; `paired.py` compares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import stats

from aegen_bench.inference.moderation import Moderation, moderate
from aegen_bench.inference.scales import Scale

__all__ = ["ALPHA", "Difference", "Row", "difference", "equivalent", "interval", "moderated"]

ALPHA = 0.05


def interval(mean: float, std: float, n: int, level: float = 1 - ALPHA) -> tuple[float, float]:
    """Return Student's t interval of a mean from the sample standard deviation of n >= 2 numbers."""
    half = _quantile((1 + level) / 2, n - 1) * std / n**0.5
    return mean - half, mean + half


@cache
def _quantile(p: float, df: float) -> float:
    """Of Student's t."""
    return float(stats.t.ppf(p, df))


@dataclass(frozen=True)
class Row:
    """The mean of `n` seeds on a scale; `variance` of one seed, moderated, known with `df` degrees of freedom."""

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
    """The mean of one row minus that of another (or minus a known number), with its standard error and degrees of
    freedom; an error of zero where seeds agree to the last digit, NaN where no row has two seeds.
    """

    gap: float
    error: float
    df: float

    @cached_property
    def tested(self) -> bool:
        return bool(np.isfinite(self.gap) and np.isfinite(self.error) and (self.df > 0 or self.error == 0))

    def t(self, bound: float = 0.0) -> float:
        """How many standard errors the gap lies above `bound`; without any error, plus or minus infinity, or 0."""
        above = self.gap - bound
        return above / self.error if self.error else float(np.copysign(np.inf, above)) if above else 0.0

    def p_below(self, bound: float = 0.0) -> float:
        """Return the p-value against the gap's being `bound` or more; NaN where nothing is tested."""
        return float(stats.t.cdf(self.t(bound), max(self.df, 1e-3))) if self.tested else float("nan")

    def p_above(self, bound: float = 0.0) -> float:
        """Return the p-value against the gap's being `bound` or less; NaN where nothing is tested."""
        return float(stats.t.sf(self.t(bound), max(self.df, 1e-3))) if self.tested else float("nan")

    def interval(self, level: float = 1 - ALPHA) -> tuple[float, float]:
        """Return Student's t interval of the gap; NaN ends where nothing is tested."""
        if not self.tested:
            return float("nan"), float("nan")
        half = _quantile((1 + level) / 2, self.df) * self.error if self.error else 0.0
        return self.gap - half, self.gap + half


def moderated(samples: Mapping[str, Sequence[float]], scale: Scale) -> tuple[dict[str, Row], Moderation]:
    """Return each row with its variance moderated by the others', and the moderation; rows without any number that the
    scale can take are left out.
    """
    found = {name: taken for name, values in samples.items() if (taken := scale.of(values))}
    df = [len(values) - 1 for values in found.values()]
    noise = moderate([_variance(values) for values in found.values()], df)
    each = zip(found.items(), noise.variance, noise.df, strict=True)
    return {name: Row(_mean(x), len(x), float(v), float(d)) for (name, x), v, d in each}, noise


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _variance(values: Sequence[float]) -> float:
    """The sample variance; exactly 0 of equal numbers, whose mean may differ from them in its last digit."""
    return float(np.var(values, ddof=1)) if len(values) > 1 and min(values) < max(values) else 0.0


def difference(a: Row, b: Row | float) -> Difference:
    """Compare two rows, or a row with a number that counts as known.

    The degrees of freedom are the two rows', weighted by what each adds to the error: not Welch's sum of both, since
    most of either may be borrowed from the same other rows.
    """
    if not isinstance(b, Row):
        return Difference(a.mean - b, a.error**0.5, a.df)
    error = a.error + b.error
    weights = (a.error / a.df if a.df else np.inf) + (b.error / b.df if b.df else np.inf) if error else 0.0
    return Difference(a.mean - b.mean, error**0.5, error / weights if weights else min(a.df, b.df))


def equivalent(compared: Difference, low: float, high: float) -> float:
    """Return the p-value against the gap's lying outside of `low` to `high`: the larger of two one-sided tests
    (Schuirmann 1987). NaN where nothing is tested.
    """
    return max(compared.p_above(low), compared.p_below(high)) if compared.tested else float("nan")
