"""Exact membership in balls around points, and their radii, by float32 matrix products in bounded memory.

Where the rounding of the product could decide, the distance is computed anew from differences, in float64: the
answer is that of exact arithmetic, ties and identical points included.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["in_balls", "neighbour_distances"]

BLOCK = 2**25  # distances held at a time, 128 MiB
ROUNDING = 1e-5  # of the squared norms; the products of 2,048 terms measured err by less than a tenth of it

Features = NDArray[np.float32]
Array = NDArray[np.float64]


def neighbour_distances(points: Features, k: int) -> Array:
    """Return squared Euclidean distances [n, k] of points [n, d] to their k nearest others, ascending; k < n."""
    x, norms = _centred(points, points.mean(axis=0, dtype=np.float64))
    candidates = min(2 * k + 4, len(points) - 1)
    found = np.empty((len(points), k))
    for rows in _blocks(len(points), len(points)):
        squared = torch.addmm(norms, x[rows], x.T, alpha=-2)  # |x|^2 of the row would not change its order
        index = torch.arange(rows.start, rows.stop)
        squared[index - rows.start, index] = torch.inf  # itself
        where = squared.topk(candidates, largest=False, sorted=False).indices
        exact = _exact(points, index.repeat_interleave(candidates).numpy(), points, where.flatten().numpy())
        found[rows] = np.sort(exact.reshape(-1, candidates))[:, :k]
    return found


def in_balls(
    points: Features, centres: Features, radii: Array, *, closed: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return in how many balls each point is [m], and how many points are in each ball [n].

    `points` [m, d] and `centres` [n, d]; `radii` [n] are squared. A point on the surface is in a `closed` ball.
    """
    mean = centres.mean(axis=0, dtype=np.float64)
    (x, x_norms), (c, c_norms) = _centred(points, mean), _centred(centres, mean)
    shifted = c_norms - torch.from_numpy(radii).float()
    balls, members = np.zeros(len(points), np.int64), np.zeros(len(centres), np.int64)
    for rows in _blocks(len(points), len(centres)):
        gap = torch.addmm(shifted, x[rows], c.T, alpha=-2).add_(x_norms[rows, None])  # |x - c|^2 - radius^2
        doubt = ROUNDING * (x_norms[rows].max() + c_norms)
        inside = gap < 0
        point, ball = (where.numpy() for where in (gap.abs_() <= doubt).nonzero(as_tuple=True))
        squared = _exact(points[rows], point, centres, ball)
        verdict = squared <= radii[ball] if closed else squared < radii[ball]
        inside.numpy()[point, ball] = verdict
        balls[rows] = inside.sum(dim=1).numpy()
        members += inside.sum(dim=0).numpy()
    return balls, members


def _centred(points: Features, mean: Array) -> tuple[Tensor, Tensor]:
    """Points less the mean, float32, and their squared norms: the products cancel least around the mean."""
    x = np.empty_like(points, dtype=np.float32)
    for rows in _blocks(len(points), points.shape[1]):
        x[rows] = points[rows] - mean
    tensor = torch.from_numpy(x)
    return tensor, tensor.square().sum(1)


def _blocks(n: int, width: int) -> list[slice]:
    step = max(1, BLOCK // width)
    return [slice(begin, min(begin + step, n)) for begin in range(0, n, step)]


def _exact(a: Features, i: NDArray[np.int64], b: Features, j: NDArray[np.int64]) -> Array:
    """|a_i - b_j|^2 for pairs of indices, each pair by the same sum wherever it stands."""
    squared = np.empty(len(i))
    for pairs in _blocks(len(i), a.shape[1]):
        squared[pairs] = np.square(a[i[pairs]].astype(np.float64) - b[j[pairs]]).sum(axis=1)
    return squared
