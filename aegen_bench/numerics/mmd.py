"""Maximum mean discrepancy from kernel matrices; numpy arrays and torch tensors alike."""

from __future__ import annotations

from typing import Any

__all__ = ["mmd2"]


def mmd2(within_a: Any, within_b: Any, across: Any) -> Any:
    """The unbiased estimate of MMD^2 from three kernel matrices [n, n]; it may be negative.

    Pairs of a point with itself are left out within a set, nothing is left out across (Gretton et al. 2012, A Kernel
    Two-Sample Test, eq. 3).
    """
    n = len(across)
    within = sum(k.sum() - k.trace() for k in (within_a, within_b)) / (n * (n - 1))
    return within - 2 * across.mean()
