"""Nearest-neighbour balls around images, for precision and recall, density and coverage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs

__all__ = ["radii", "real_radii"]

MOST = 5  # the largest k of any metric


def real_radii(inputs: Inputs, k: int) -> NDArray[np.float64]:
    """Return the squared distance [n] of each real image to its k-th nearest neighbour, k at most 5."""
    most = min(MOST, len(inputs.real) - 1)
    if k > most:
        raise _too_few(len(inputs.real), k)
    return inputs.once("real neighbours", lambda: _neighbours(inputs.real, most, inputs.device))[:, k - 1]


def radii(features: NDArray[np.float32], k: int, *, device: str = "cpu") -> NDArray[np.float64]:
    """Return the squared distance [n] of each row of features [n, d] to its k-th nearest neighbour.

    UserError for n <= k, and for features that are not finite.
    """
    if len(features) <= k:
        raise _too_few(len(features), k)
    return _neighbours(features, k, device)[:, k - 1]


def _neighbours(features: NDArray[np.float32], k: int, device: str) -> NDArray[np.float64]:
    from aegen_bench.numerics.balls import neighbour_distances

    if not np.isfinite(features).all():
        raise UserError("neighbours need finite features; there are NaN or infinite ones")
    return neighbour_distances(features, k, device=device)


def _too_few(n: int, k: int) -> UserError:
    return UserError(f"{k} nearest neighbours need at least {k + 1} images a set, there are {n}")
