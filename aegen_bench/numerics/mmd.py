"""Maximum mean discrepancy from kernel matrices; numpy arrays and torch tensors alike."""

from __future__ import annotations

from typing import Any

__all__ = ["mmd2", "mmd2_variance"]


def mmd2(within_a: Any, within_b: Any, across: Any) -> Any:
    """The unbiased estimate of MMD^2 from three kernel matrices [n, n]; it may be negative.

    Pairs of a point with itself are left out within a set, nothing is left out across (Gretton et al. 2012, A Kernel
    Two-Sample Test, eq. 3).
    """
    n = len(across)
    within = sum(k.sum() - k.trace() for k in (within_a, within_b)) / (n * (n - 1))
    return within - 2 * across.mean()


def mmd2_variance(within_a: Any, within_b: Any, across: Any, *, n_a: int, n_b: int) -> float:
    """Return the first-order variance of `mmd2` of sets of n_a and n_b points, from kernel matrices [n, n] of subsets.

    Four times the variance of each point's own part of the statistic, over the number of points: the leading term of a
    U-statistic's variance (Hoeffding 1948). The parts are estimated from n points, so it does not vanish for equal
    distributions, where the true leading term does.
    """
    n = len(across)
    total = 0.0
    for within, toward, size in ((within_a, across, n_a), (within_b, across.T, n_b)):
        own = (within.sum(1) - within.diagonal()) / (n - 1) - toward.sum(1) / n
        total += 4 * float(((own - own.mean()) ** 2).sum()) / (n - 1) / size
    return total
