"""Mini-batch k-means (Sculley 2010), many clusterings of the same rows at once.

As scikit-learn's `MiniBatchKMeans` does it: greedy k-means++, rare clusters set anew, an end when the inertia no longer
falls. In the type of the rows, and with one product a batch for all clusterings.

Deviation: the clusterings see the same batches and end together; what differs is where they start.
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
    x: Rows, *, runs: int, n_clusters: int, n_init: int, batch_size: int, init_size: int, random: np.random.Generator
) -> Rows:
    """Return centres [runs, n_clusters, d] of finite rows x [n, d], in the type of x; n_clusters is at most half a
    batch.
    """
    n, batch_size, init_size = len(x), min(batch_size, len(x)), min(init_size, len(x))
    centres = _starts(x, runs, n_clusters, n_init, init_size, random)
    sums, counts = np.zeros_like(centres), np.zeros((runs, n_clusters), x.dtype)  # of all rows a cluster was ever given
    decay = min(2 * batch_size / (n + 1), 1)
    smoothed = lowest = np.inf
    idle = since_reassigned = 0
    for step in range(EPOCHS * n // batch_size):
        batch = x[random.integers(n, size=batch_size)]
        labels, inertia = _assign(batch, centres)
        _absorb(batch, labels, sums, counts)
        since_reassigned += batch_size
        if since_reassigned >= 10 * n_clusters or not counts.all():
            since_reassigned = 0
            _reassign_rare(batch, sums, counts, random)
        np.divide(sums, counts[..., None], out=centres, where=counts[..., None] > 0)
        if step == 0:  # its inertia is that of the starts
            continue
        smoothed = inertia if step == 1 else smoothed * (1 - decay) + inertia * decay
        idle = 0 if smoothed < lowest else idle + 1
        lowest = min(lowest, smoothed)
        if idle >= PATIENCE:
            break
    return centres


def nearest_centre(x: Rows, centres: Rows) -> NDArray[np.intp]:
    """Return the index [runs, n] of the nearest of centres [runs, k, d] to each row of x [n, d]."""
    return np.concatenate([_scores(x[i : i + 2048], centres).argmin(axis=-1) for i in range(0, len(x), 2048)], axis=1)


def _scores(x: Rows, centres: Rows) -> Rows:
    """Squared distances [runs, n, k] of rows to centres, less each row's own square."""
    overlaps = (x @ centres.reshape(-1, x.shape[1]).T).reshape(len(x), *centres.shape[:2])
    squares: Rows = np.einsum("rkd,rkd->rk", centres, centres)
    return squares[:, None] - 2 * overlaps.transpose(1, 0, 2)


def _assign(x: Rows, centres: Rows) -> tuple[NDArray[np.intp], float]:
    """The nearest centre [runs, n] of each row, and the mean squared distance to it over rows and clusterings."""
    scores = _scores(x, centres)
    return scores.argmin(axis=-1), float(scores.min(axis=-1).mean() + np.vdot(x, x) / len(x))


def _absorb(x: Rows, labels: NDArray[np.intp], sums: Rows, counts: Rows) -> None:
    members = (labels[:, None] == np.arange(counts.shape[1])[:, None]).astype(x.dtype)  # [runs, k, n]
    sums += (members.reshape(-1, len(x)) @ x).reshape(sums.shape)
    counts += members.sum(axis=-1)


def _reassign_rare(x: Rows, sums: Rows, counts: Rows, random: np.random.Generator) -> None:
    """Put clusters that got few rows on rows of the batch, as heavy as the lightest of the others."""
    rare = counts < REASSIGN_BELOW * counts.max(axis=1, keepdims=True)
    for run in np.flatnonzero(rare.any(axis=1)):
        mine = rare[run]
        counts[run, mine] = counts[run, ~mine].min()
        sums[run, mine] = x[random.choice(len(x), mine.sum(), replace=False)] * counts[run, mine, None]


def _starts(x: Rows, runs: int, n_clusters: int, n_init: int, size: int, random: np.random.Generator) -> Rows:
    """For each clustering the best of `n_init` starts, chosen on `size` rows each and compared on as many others."""
    held_out = x[random.integers(len(x), size=size)]
    best, least = np.zeros((runs, n_clusters, x.shape[1]), x.dtype), np.full(runs, np.inf)
    for _ in range(n_init):
        rows = x[random.integers(len(x), size=size)]
        start = rows[_plus_plus(rows, runs, n_clusters, random)]
        cost = _scores(held_out, start).min(axis=-1).sum(axis=-1)
        better = cost < least
        best[better], least[better] = start[better], cost[better]
    return best


def _plus_plus(rows: Rows, runs: int, n_clusters: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): indices [runs, n_clusters] of rows."""
    gram = rows @ rows.T
    norms = gram.diagonal()
    distances = (norms[:, None] + norms - 2 * gram).clip(min=0)
    chosen = [random.integers(len(rows), size=runs)]
    closest = distances[chosen[0]]  # [runs, rows]
    for _ in range(1, n_clusters):
        mass = closest.cumsum(axis=1)
        draws = random.random((runs, 2 + int(np.log(n_clusters)))) * mass[:, -1:]
        tried = (mass[:, None] < draws[..., None]).sum(axis=-1).clip(max=len(rows) - 1)
        would_be = np.minimum(closest[:, None], distances[tried])  # [runs, tries, rows]
        best = would_be.sum(axis=-1).argmin(axis=-1)
        chosen.append(tried[np.arange(runs), best])
        closest = would_be[np.arange(runs), best]
    return np.stack(chosen, axis=1)
