"""Exact membership in balls around points, and their radii, by float32 matrix products in bounded memory.

If rounding could change a decision, the distance is recomputed from differences, in float64 on the CPU. The result is
therefore that of exact arithmetic, including ties and identical points, and the same on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aegen_bench.numerics.tuning import linear

__all__ = ["in_balls", "in_each_others_balls", "neighbour_distances"]

BLOCK = 2**24  # distances held at a time, 64 MiB
FEW = 2**18  # numbers per block, which fit into a core's cache
ROUNDING = 1e-5  # relative to the squared norms; measured errors of products of 2,048 terms are below a tenth of it

Features = NDArray[np.float32]
Array = NDArray[np.float64]
Inside = NDArray[np.bool_]


def neighbour_distances(points: Features, k: int, *, device: str = "cpu") -> Array:
    """Return squared Euclidean distances [n, k] of points [n, d] to their k nearest others, ascending; k < n."""
    candidates = min(2 * k + 4, len(points) - 1)
    found = np.empty((len(points), k))
    for pairs in _pairs(points, points, device):
        index = torch.arange(len(pairs.squared), device=device)
        pairs.squared[index, index + pairs.begin] = torch.inf  # itself
        near = pairs.squared.topk(candidates, largest=False, sorted=False)
        where = near.indices.cpu().numpy()
        exact = pairs.exact(np.repeat(np.arange(len(where)), candidates), where.ravel())
        nearest = np.sort(exact.reshape(-1, candidates))[:, :k]
        # Where many points are closer to each other than rounding, a nearer one may not be among the candidates.
        farthest, doubt = near.values.amax(1).cpu().numpy(), pairs.doubt.cpu().numpy()
        unsure = (nearest[:, -1] > 0) & (nearest[:, -1] + doubt.max() >= farthest)
        for i in np.flatnonzero(unsure):
            others = np.flatnonzero(pairs.squared[i].cpu().numpy() <= nearest[i, -1] + doubt)
            nearest[i] = np.sort(pairs.exact(np.full(len(others), i), others))[:k]
        found[pairs.rows] = nearest
    return found


def in_balls(
    points: Features, centres: Features, radii: Array, *, closed: bool, device: str = "cpu"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of balls that contain each point, [m], and the number of points in each ball, [n].

    `points` are [m, d], `centres` [n, d], and `radii` [n] are squared. A point on the surface is in a `closed` ball.
    """
    balls, members = np.zeros(len(points), np.int64), np.zeros(len(centres), np.int64)
    for pairs in _pairs(points, centres, device):
        inside = pairs.within(radii, closed=closed)
        balls[pairs.rows] = np.count_nonzero(inside, axis=1)
        members += np.count_nonzero(inside, axis=0)
    return balls, members


def in_each_others_balls(
    a: Features, b: Features, radii_a: Array, radii_b: Array, *, closed: bool, device: str = "cpu"
) -> tuple[Inside, Inside]:
    """Return whether each point of a [m, d] is in a ball around one of b [n, d], and each of b in one around a.

    `radii_a` [m] and `radii_b` [n] are squared.
    """
    a_is, b_is = np.zeros(len(a), np.bool_), np.zeros(len(b), np.bool_)
    for pairs in _pairs(a, b, device):
        a_is[pairs.rows] = pairs.within(radii_b, closed=closed).any(axis=1)
        b_is |= pairs.within(radii_a[pairs.rows, None], closed=closed).any(axis=0)
    return a_is, b_is


class _Pairs(NamedTuple):
    """Some rows of one set of points and all of another, with their squared distances in float32."""

    a: Features  # the rows
    b: Features
    begin: int  # index of the first row in its set
    squared: Tensor  # [rows, n], on the device
    doubt: Tensor  # [n], bounds of their errors

    @property
    def rows(self) -> slice:
        return slice(self.begin, self.begin + len(self.a))

    def within(self, radii: Array, *, closed: bool) -> Inside:
        """Whether each distance is within its radius; `radii` are squared, [n] or [rows, 1]."""
        gap = self.squared - torch.from_numpy(radii).float().to(self.squared.device)
        inside: Inside = (gap < 0).cpu().numpy()
        i, j = (where.cpu().numpy() for where in (gap.abs_() <= self.doubt).nonzero(as_tuple=True))
        exact, radius = self.exact(i, j), np.broadcast_to(radii, inside.shape)[i, j]
        inside[i, j] = exact <= radius if closed else exact < radius
        return inside

    def exact(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> Array:
        """Return |a_i - b_j|^2 for pairs of indices. Each pair is summed in the same way wherever it appears."""
        squared = np.empty(len(i))
        for pairs in _blocks(len(i), self.a.shape[1], FEW):
            difference = self.a[i[pairs]].astype(np.float64) - self.b[j[pairs]]
            squared[pairs] = np.square(difference, out=difference).sum(axis=1)
        return squared


def _pairs(a: Features, b: Features, device: str) -> Iterator[_Pairs]:
    """The rows of a [m, d] block by block, with all of b [n, d]."""
    mean = b.mean(axis=0, dtype=np.float64)
    y, y_norms = _centred(b, mean, device)
    x, x_norms = (y, y_norms) if a is b else _centred(a, mean, device)
    for rows in _blocks(len(a), len(b), BLOCK):
        squared = linear(x[rows] * -2, y, y_norms).add_(x_norms[rows, None])
        yield _Pairs(a[rows], b, rows.start, squared, ROUNDING * (x_norms[rows].max() + y_norms))


def _centred(points: Features, mean: Array, device: str) -> tuple[Tensor, Tensor]:
    """Return points minus the mean, float32, and their squared norms. Centring reduces cancellation in the products."""
    x = np.empty_like(points, dtype=np.float32)
    for rows in _blocks(len(points), points.shape[1], BLOCK):
        x[rows] = points[rows] - mean
    tensor = torch.from_numpy(x).to(device)
    return tensor, tensor.square().sum(1)


def _blocks(n: int, width: int, numbers: int) -> list[slice]:
    """Split n rows of this width into slices with at most this many numbers each."""
    step = max(1, numbers // width)
    return [slice(begin, min(begin + step, n)) for begin in range(0, n, step)]
