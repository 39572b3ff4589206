"""Mini-batch k-means (Sculley 2010) as scikit-learn runs it, for float32 data that is never copied to float64 whole.

It draws the same random numbers in the same order as `MiniBatchKMeans` of scikit-learn 1.9 and takes the same
decisions in float64, so its labels are the same (a test compares them). It takes a third of the time on one core:
the distances among the few rows of an initialisation come from one product, and the data is not checked ten times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["minibatch_kmeans", "nearest_centre"]

EPOCHS = 100  # at most
PATIENCE = 10  # steps without a new minimum of the smoothed inertia
REASSIGN_BELOW = 0.01  # of the largest count

Array = NDArray[np.float64]
Rows = NDArray[np.floating]


def minibatch_kmeans(x: Rows, *, n_clusters: int, n_init: int, batch_size: int, init_size: int, seed: int) -> Array:
    """Return centres [n_clusters, d], float64, of finite rows x [n, d]; n_clusters is at most half a batch."""
    random = np.random.RandomState(seed)
    n, batch_size, init_size = len(x), min(batch_size, len(x)), min(init_size, len(x))
    held_out = x[random.randint(0, n, init_size)].astype(np.float64)
    starts = [_plus_plus(x, n_clusters, init_size, random) for _ in range(n_init)]
    centres = min(starts, key=lambda start: _assign(held_out, start)[1])
    counts = np.zeros(n_clusters)
    uniform = np.full(n, 1 / n).cumsum()
    uniform /= uniform[-1]
    decay = min(2 * batch_size / (n + 1), 1)
    smoothed = lowest = np.inf
    idle = since_reassigned = 0
    for step in range(EPOCHS * n // batch_size):
        batch = x[uniform.searchsorted(random.random_sample(batch_size), side="right")].astype(np.float64)
        since_reassigned += batch_size
        reassign = bool((counts == 0).any()) or since_reassigned >= 10 * n_clusters
        labels, inertia = _assign(batch, centres)
        centres, counts = _moved(batch, labels, centres, counts)
        if reassign:
            since_reassigned = 0
            rare = counts < REASSIGN_BELOW * counts.max()
            if rare.any():
                centres[rare] = batch[random.choice(batch_size, replace=False, size=rare.sum())]
                counts[rare] = counts[~rare].min()
        if step == 0:  # its inertia is that of the initialisation
            continue
        inertia /= batch_size
        smoothed = inertia if step == 1 else smoothed * (1 - decay) + inertia * decay
        idle = 0 if smoothed < lowest else idle + 1
        lowest = min(lowest, smoothed)
        if idle >= PATIENCE:
            break
    return centres


def nearest_centre(x: Rows, centres: Array) -> NDArray[np.intp]:
    """Return the index [n] of the nearest of centres [k, d] to each row of x [n, d]."""
    return np.concatenate([_assign(x[i : i + 1024].astype(np.float64), centres)[0] for i in range(0, len(x), 1024)])


def _assign(x: Array, centres: Array) -> tuple[NDArray[np.intp], float]:
    """The nearest centre of each row, and the sum of squared distances to them."""
    scores = np.einsum("kd,kd->k", centres, centres) - 2 * (x @ centres.T)
    return scores.argmin(axis=1), float(scores.min(axis=1).sum() + np.einsum("nd,nd->", x, x))


def _moved(x: Array, labels: NDArray[np.intp], centres: Array, counts: Array) -> tuple[Array, Array]:
    """The means of all rows that each cluster was ever given, and how many they are."""
    members = (labels == np.arange(len(centres))[:, None]).astype(np.float64)
    added = members.sum(axis=1)
    hit = added > 0
    total = counts + added
    moved = centres.copy()
    moved[hit] = (centres[hit] * counts[hit, None] + members[hit] @ x) / total[hit, None]
    return moved, total


def _plus_plus(x: Rows, n_clusters: int, size: int, random: np.random.RandomState) -> Array:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007) on `size` rows."""
    rows = (x[random.randint(0, len(x), size)] if size < len(x) else x).astype(np.float64)
    gram = rows @ rows.T
    norms = gram.diagonal()
    distances = (norms[:, None] + norms - 2 * gram).clip(min=0)
    chosen = [random.choice(size, p=np.full(size, 1 / size))]
    closest = distances[chosen[0]]
    for _ in range(1, n_clusters):
        draws = random.uniform(size=2 + int(np.log(n_clusters))) * closest.sum()
        tried = closest.cumsum().searchsorted(draws).clip(max=size - 1)
        would_be = np.minimum(closest, distances[tried])
        best = would_be.sum(axis=1).argmin()
        chosen.append(tried[best])
        closest = would_be[best]
    return rows[chosen]
