"""Moderated variances for few seeds: rows borrow strength from each other.

Smyth 2004, Linear models and empirical Bayes methods (doi:10.2202/1544-6115.1027): the true variances of rows are
modelled as draws from a scaled inverse chi-squared distribution, whose degrees of freedom are estimated from how much
the log variances differ. Each row's variance is replaced by a mean of its own and the typical one, weighted by their
degrees of freedom.

Deviation: the typical variance is the pooled one, not Smyth's, which comes from the mean of the log variances. In a
table of about nine rows with few seeds it errs less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["WILD", "Moderation", "borrowed", "moderate", "trigamma_inverse"]

Numbers = NDArray[np.float64]
WILD = 0.01
"""A row is wild if a variance as large as its own has at most this probability for one of the others."""


def borrowed(df: ArrayLike) -> Numbers:
    """Return the largest numbers of degrees of freedom that rows with `df` of their own may borrow from the others.

    Deviation: Smyth, with thousands of genes, sets no limit. A table of about nine rows is too small to learn how rare
    wild rows are, and with two or three seeds a wild row often looks like the others by chance. The limits are about
    the largest with which, beside a wild row, all equal rows of two or three seeds stay in the leading group in 94% of
    tables (`perf/inference.py`). A row of one or two seeds may borrow hardly anything: two values are close together in
    one of six tables even if their spread is twelve times the others'.
    """
    own = np.asarray(df, dtype=float)
    return np.select([own > 1, own > 0], [3.5 * own, 0.9 * own], 1.9)


@dataclass(frozen=True)
class Moderation:
    """Moderated variances of k rows.

    Attributes:
        variance: The moderated variances [k].
        df: Their degrees of freedom [k].
        typical: The variance of a row about which nothing is known.
        prior_df: The degrees of freedom of `typical`.
        wild: Which rows are excluded from the pool, [k].
    """

    variance: Numbers
    df: Numbers
    typical: float
    prior_df: float
    wild: NDArray[np.bool_]


def moderate(variance: ArrayLike, df: ArrayLike) -> Moderation:
    """Return the moderated variances of k rows.

    A row with a variance far above the others' keeps it and is excluded from their estimate, so that it cannot widen
    theirs. This is the aim of Phipson et al. 2016, doi:10.1214/16-AOAS920, whose winsorising would still be affected
    by one of nine rows. Rows with one seed get the typical variance. If no row has two seeds, all variances are NaN.

    Args:
        variance: Sample variances [k]; ignored for rows with `df` 0 (one seed).
        df: Degrees of freedom [k], the number of seeds minus one.
    """
    own, d = np.asarray(variance, dtype=float), np.asarray(df, dtype=float)
    known = d > 0
    wild = np.zeros(len(d), dtype=bool)
    if not known.any():
        nothing = np.full(len(d), np.nan)
        return Moderation(nothing, np.zeros(len(d)), float("nan"), 0.0, wild)
    s2, n = own[known], d[known]
    positive = s2[s2 > 0]
    if not len(positive):  # the seeds of every row agree to the last digit, so there is no noise
        return Moderation(np.zeros(len(d)), np.where(known, d, 0.0), 0.0, float("inf"), wild)
    middle = float(np.median(s2 / (special.chdtri(n, 0.5) / n))) or float(np.median(positive))
    s2 = np.maximum(s2, 1e-5 * middle)  # as in limma, because zero has no logarithm
    far = special.chdtrc(n, n * s2 / middle) < WILD
    typical, prior = _pooled(s2[~far], n[~far])
    far = _tail(s2 / typical, n, prior) < WILD
    typical, prior = _pooled(s2[~far], n[~far])

    lent = float(n[~far].sum())  # the degrees of freedom of all pooled rows: an upper limit for each
    limits = np.minimum(prior, borrowed(d))
    variances, degrees = np.full(len(d), typical), np.minimum(limits, lent)
    variances[known] = np.where(far, s2, typical + n / (n + prior) * (s2 - typical))
    degrees[known] = np.where(far, n, np.minimum(n + limits[known], np.maximum(lent, n)))
    wild[known] = far
    return Moderation(variances, degrees, typical, prior, wild)


def _pooled(s2: Numbers, df: Numbers) -> tuple[float, float]:
    """Return the pooled variance, and its degrees of freedom as a prior: the d0 with which s2 ~ s0^2 F(df, d0) explains
    how much log s2 varies (Smyth 2004, section 6.2).
    """
    pooled = float((s2 * df).sum() / df.sum())
    if len(s2) < 2:
        return pooled, 0.0
    centred = np.log(s2) - special.digamma(df / 2) + np.log(df / 2)
    excess = float(centred.var(ddof=1) - special.polygamma(1, df / 2).mean())
    # Without an excess, the variances differ no more than by chance: one variance for all.
    return pooled, 2 * trigamma_inverse(excess) if excess > 0 else float("inf")


def _tail(ratio: Numbers, df: Numbers, prior: float) -> Numbers:
    """The probability of a variance at least this many times the typical one."""
    if np.isinf(prior):
        return np.asarray(special.chdtrc(df, df * ratio))
    return np.asarray(special.fdtrc(df, prior, ratio)) if prior > 0 else np.ones_like(ratio)


def trigamma_inverse(x: float) -> float:
    """Solve trigamma(y) = x for y by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    if x > 1e7:
        return float(x**-0.5)
    if x < 1e-6:
        return 1 / x
    y = 0.5 + 1 / x
    for _ in range(50):
        here = float(special.polygamma(1, y))
        step = here * (1 - here / x) / float(special.polygamma(2, y))
        y += step
        if -step / y < 1e-8:
            break
    return y
