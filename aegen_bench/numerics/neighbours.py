"""Exact nearest neighbours by matrix products, in chunks of bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from aegen_bench.numerics.chunks import rows
from aegen_bench.numerics.tuning import linear

__all__ = ["nearest"]

CHUNK = 4096


def nearest(queries: Tensor, base: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return indices [m, k] into `base` and squared Euclidean distances [m, k], nearest first.

    `queries` [m, ...] and `base` [n, ...] are float or uint8 tensors, compared as flat float32 rows; uint8 images are
    scaled to [0, 1]. k is at most n. Everything is computed on the device of the queries, to which `base` is copied in
    chunks. Memory: the queries, one chunk of at most 4,096 rows of `base` (256 of 3x256x256) and m x (4,096 + k)
    distances.
    """
    q = _rows(queries)
    best = torch.full((len(q), k), torch.inf, device=q.device)
    where = torch.zeros((len(q), k), dtype=torch.long, device=q.device)
    chunk = rows(CHUNK, q.shape[1])
    for begin in range(0, len(base), chunk):
        b = _rows(base[begin : begin + chunk].to(q.device))
        distances = (q.square().sum(1, keepdim=True) - 2 * linear(q, b) + b.square().sum(1)).clamp_min(0)
        positions = torch.arange(begin, begin + len(b), device=q.device).expand_as(distances)
        best, order = torch.cat([best, distances], 1).topk(k, largest=False, sorted=True)
        where = torch.cat([where, positions], 1).gather(1, order)
    return where, best


def _rows(x: Tensor) -> Tensor:
    return (x.float() / 255 if x.dtype == torch.uint8 else x.float()).flatten(1)
