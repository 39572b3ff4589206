"""Mini-batch k-means (Sculley 2010), following scikit-learn's `MiniBatchKMeans` step by step: greedy k-means++,
reassignment of rare clusters, and early stopping when the smoothed inertia no longer falls.

It computes in the type of the rows, float32 or float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["minibatch_kmeans", "nearest_centre"]

EPOCHS = 100  # at most
PATIENCE = 10  # steps without a new minimum of the smoothed inertia
REASSIGN_BELOW = 0.01  # of the largest count

Rows = NDArray[np.floating]


def minibatch_kmeans(
    x: Rows, *, n_clusters: int, n_init: int, batch_size: int, init_size: int, random: np.random.Generator
) -> Rows:
    """Return centres [n_clusters, d] of finite rows x [n, d], in the type of x; n_clusters is at most half a batch."""
    import torch

    n, batch_size, init_size = len(x), min(batch_size, len(x)), min(init_size, len(x))
    centres = _start(x, n_clusters, n_init, init_size, random)
    sums, counts = np.zeros_like(centres), np.zeros(n_clusters)  # of all rows ever assigned to a cluster
    total = torch.from_numpy(sums)  # shares the memory, because numpy has no fast sum by label
    decay = min(2 * batch_size / (n + 1), 1)
    smoothed = lowest = np.inf
    idle = since_reassigned = 0
    batch = np.empty((batch_size, x.shape[1]), x.dtype)  # reused, because new memory would cost as much as gathering
    for step in range(EPOCHS * n // batch_size):
        np.take(x, random.integers(n, size=batch_size), axis=0, out=batch, mode="clip")
        scores = _scores(batch, centres)
        inertia = float(scores.min(axis=1).sum() + np.vdot(batch, batch)) / batch_size
        labels = scores.argmin(axis=1)
        total.index_add_(0, torch.from_numpy(labels), torch.from_numpy(batch))
        counts += np.bincount(labels, minlength=n_clusters)
        since_reassigned += batch_size
        if since_reassigned >= 10 * n_clusters or not counts.all():
            since_reassigned = 0
            _reassign_rare(batch, sums, counts, random)
        np.divide(sums, counts[:, None], out=centres, where=counts[:, None] > 0)
        if step == 0:  # its inertia is that of the initial centres
            continue
        smoothed = inertia if step == 1 else smoothed * (1 - decay) + inertia * decay
        idle = 0 if smoothed < lowest else idle + 1
        lowest = min(lowest, smoothed)
        if idle >= PATIENCE:
            break
    return centres


def nearest_centre(x: Rows, centres: Rows) -> NDArray[np.intp]:
    """Return the index [..., n] of the nearest of centres [..., k, d] to each row of x [n, d]."""
    *several, k, d = centres.shape
    blocks = (_scores(x[i : i + 2048], centres.reshape(-1, d)) for i in range(0, len(x), 2048))
    labels = [block.reshape(len(block), *several, k).argmin(axis=-1) for block in blocks]
    return np.moveaxis(np.concatenate(labels), 0, -1)


def _scores(x: Rows, centres: Rows) -> Rows:
    """Return squared distances [n, k] of rows [n, d] to centres [k, d], minus each row's squared norm."""
    scores: Rows = np.einsum("kd,kd->k", centres, centres) - 2 * (x @ centres.T)
    return scores


def _reassign_rare(x: Rows, sums: Rows, counts: Rows, random: np.random.Generator) -> None:
    """Move clusters with few rows to rows of the batch, with the smallest count of the other clusters."""
    rare = counts < REASSIGN_BELOW * counts.max()
    if rare.any():
        counts[rare] = counts[~rare].min()
        sums[rare] = x[random.choice(len(x), rare.sum(), replace=False)] * counts[rare, None]


def _start(x: Rows, n_clusters: int, n_init: int, size: int, random: np.random.Generator) -> Rows:
    """Return the best of `n_init` initialisations, each made from `size` rows and all compared on `size` others."""
    held_out = x[random.integers(len(x), size=size)]
    starts = []
    for _ in range(n_init):
        rows = x[random.integers(len(x), size=size)]
        starts.append(rows[_plus_plus(rows, n_clusters, random)])
    best: Rows = min(starts, key=lambda start: _scores(held_out, start).min(axis=1).sum())
    return best


def _plus_plus(rows: Rows, n_clusters: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Return the row indices [n_clusters] chosen by greedy k-means++ (Arthur and Vassilvitskii 2007)."""
    gram = rows @ rows.T
    norms = gram.diagonal()
    distances = (norms[:, None] + norms - 2 * gram).clip(min=0)
    chosen = [random.integers(len(rows))]
    closest = distances[chosen[0]]
    for _ in range(1, n_clusters):
        mass = closest.cumsum()
        draws = random.random(2 + int(np.log(n_clusters))) * mass[-1]
        tried = mass.searchsorted(draws).clip(max=len(rows) - 1)
        would_be = np.minimum(closest, distances[tried])  # [tries, rows]
        best = would_be.sum(axis=1).argmin()
        chosen.append(tried[best])
        closest = would_be[best]
    return np.array(chosen)
