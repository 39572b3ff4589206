"""Sliced Wasserstein distance of two sets of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["sliced_wasserstein"]


def sliced_wasserstein(a: NDArray[Any], b: NDArray[Any], *, projections: int, seed: int) -> float:
    """Return the sliced Wasserstein-2 distance of a and b, both [n, d], in float64.

    Its square is the mean squared distance of the sorted projections, over seeded directions that are uniform on the
    sphere (Bonneel et al. 2015, Sliced and Radon Wasserstein Barycenters, eq. 9). Memory: 64 projections.
    """
    directions = np.random.default_rng(seed).standard_normal((a.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares = [
        np.square(np.sort(a @ part, axis=0) - np.sort(b @ part, axis=0)).mean(axis=0)
        for part in np.array_split(directions, -(-projections // 64), axis=1)
    ]
    return float(np.sqrt(np.concatenate(squares).mean()))
