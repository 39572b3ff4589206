"""Variances of few seeds, moderated: each row borrows from the others.

Smyth 2004, Linear models and empirical Bayes methods (doi:10.2202/1544-6115.1027): the rows' true variances are taken
as draws from a scaled inverse chi-squared distribution, so that a sample variance is a scaled F. Its two parameters are
estimated by the moments of the log variances, and each row's variance is replaced by its posterior mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["BORROWED", "WILD", "Moderation", "moderate", "trigamma_inverse"]

Numbers = NDArray[np.float64]
WILD = 0.01
"""A row is wild if its variance would be this improbably large for one of the others."""
BORROWED = 2.5
"""The others' variance is worth at most this many degrees of freedom for each of a row's own.

Deviation: Smyth sets no limit, for thousands of genes. With two or three seeds a wild row often looks tame by chance,
and the nine or so rows of a table are too few to learn how rare wild rows are. More weight finds smaller gaps and errs
more often beside a wild row; `perf/inference.py` prints both rates.
"""


@dataclass(frozen=True)
class Moderation:
    """`variance` [k] and `df` [k] of the rows after borrowing; `typical` is the variance of a row of which nothing is
    known, and `prior_df` how much that is worth; `wild` [k] marks the rows that neither lend nor borrow.
    """

    variance: Numbers
    df: Numbers
    typical: float
    prior_df: float
    wild: NDArray[np.bool_]


def moderate(variance: ArrayLike, df: ArrayLike) -> Moderation:
    """Return the moderated variances of k rows.

    Args:
        variance: sample variances [k]; of a row with `df` 0 (one seed) it is ignored.
        df: degrees of freedom [k], the number of seeds minus one.

    A row whose variance is far above the others' keeps its own and does not enter their estimate, so that it cannot
    widen theirs (the aim of Phipson et al. 2016, doi:10.1214/16-AOAS920, by exclusion in place of their winsorising,
    which with nine rows would still let one in). Rows with one seed take the typical variance. Where no row has two
    seeds, all variances are NaN.
    """
    own, d = np.asarray(variance, dtype=float), np.asarray(df, dtype=float)
    known = d > 0
    wild = np.zeros(len(d), dtype=bool)
    if not known.any():
        nothing = np.full(len(d), np.nan)
        return Moderation(nothing, np.zeros(len(d)), float("nan"), 0.0, wild)
    s2, n = own[known], d[known]
    positive = s2[s2 > 0]
    if not len(positive):  # the seeds of every row agree to the last digit: there is no noise
        return Moderation(np.zeros(len(d)), np.where(known, d, 0.0), 0.0, float("inf"), wild)
    middle = float(np.median(s2 / (special.chdtri(n, 0.5) / n))) or float(np.median(positive))
    s2 = np.maximum(s2, 1e-5 * middle)  # as limma does: a variance of zero has no logarithm
    far = special.chdtrc(n, n * s2 / middle) < WILD
    typical, prior = _scaled_f(s2[~far], n[~far])
    far = _tail(s2 / typical, n, prior) < WILD
    typical, prior = _scaled_f(s2[~far], n[~far])

    lent = float(n[~far].sum())  # all that the rows know together: nobody can have more
    worth = np.minimum(prior, BORROWED * n)
    total = np.minimum(n + worth, np.maximum(lent, n))
    shrunk = (worth * typical + n * s2) / (worth + n)
    variances = np.full(len(d), typical)
    degrees = np.full(len(d), min(prior, BORROWED, lent))
    variances[known] = np.where(far, s2, shrunk)
    degrees[known] = np.where(far, n, total)
    wild[known] = far
    return Moderation(variances, degrees, typical, prior, wild)


def _scaled_f(s2: Numbers, df: Numbers) -> tuple[float, float]:
    """Fit s2 ~ s0^2 F(df, d0) by the moments of log s2 (Smyth 2004, section 6.2); return s0^2 and d0."""
    pooled = float((s2 * df).sum() / df.sum())
    if len(s2) < 2:
        return pooled, 0.0
    e = np.log(s2) - special.digamma(df / 2) + np.log(df / 2)
    excess = float(e.var(ddof=1) - special.polygamma(1, df / 2).mean())
    if excess <= 0:  # the rows differ no more than chance makes them: one variance for all
        return pooled, float("inf")
    d0 = 2 * trigamma_inverse(excess)
    return float(np.exp(e.mean() + special.digamma(d0 / 2) - np.log(d0 / 2))), d0


def _tail(ratio: Numbers, df: Numbers, prior: float) -> Numbers:
    """How probable a variance is that exceeds the typical one by this ratio, or more."""
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
