"""Maximum mean discrepancy from kernel matrices, which may be numpy arrays or torch tensors."""

from __future__ import annotations

from typing import Any

__all__ = ["mmd2", "mmd2_variance"]


def mmd2(within_a: Any, within_b: Any, across: Any) -> Any:
    """Return the unbiased estimate of MMD^2 from three kernel matrices [n, n]. It may be negative.

    Within a set, pairs of a point with itself are left out (Gretton et al. 2012, A Kernel Two-Sample Test, eq. 3).
    """
    n = len(across)
    within = sum(k.sum() - k.trace() for k in (within_a, within_b)) / (n * (n - 1))
    return within - 2 * across.mean()


def mmd2_variance(within_a: Any, within_b: Any, across: Any, *, n_a: int, n_b: int) -> float:
    """Return the first-order variance of `mmd2` for sets of n_a and n_b points, from kernel matrices [n, n] of subsets.

    It is four times the variance of the points' contributions divided by the number of points, the leading term of the
    variance of a U-statistic (Hoeffding 1948). The contributions are estimated from n points, so for equal
    distributions the result does not vanish, although the true leading term does.
    """
    n = len(across)
    total = 0.0
    for within, toward, size in ((within_a, across, n_a), (within_b, across.T, n_b)):
        own = (within.sum(1) - within.diagonal()) / (n - 1) - toward.sum(1) / n
        total += 4 * float(((own - own.mean()) ** 2).sum()) / (n - 1) / size
    return total
