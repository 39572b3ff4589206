"""Mini-batch k-means (Sculley 2010), following scikit-learn's `MiniBatchKMeans` step by step: greedy k-means++,
reassignment of rare clusters, and early stopping when the smoothed inertia no longer falls.

Several independent clusterings of the same rows run at once: on a CPU one per thread, on a GPU in the same products,
since a single one would not keep it busy. Every random choice is made on the CPU, so it is the same on all devices.
Everything is computed in the type of the rows, float32 or float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

__all__ = ["minibatch_kmeans", "nearest_centre"]

EPOCHS = 100  # at most
PATIENCE = 10  # steps without a new minimum of the smoothed inertia
REASSIGN_BELOW = 0.01  # of the largest count

Rows = NDArray[np.floating]


def minibatch_kmeans(
    x: Rows,
    *,
    n_clusters: int,
    n_init: int,
    batch_size: int,
    init_size: int,
    randoms: Sequence[np.random.Generator],
    device: str = "cpu",
) -> Rows:
    """Return the centres [runs, n_clusters, d] of independent clusterings of finite rows x [n, d], in the type of x.

    There is one clustering for each generator of `randoms`; n_clusters is at most half a batch.
    """

    def begin(random: np.random.Generator) -> Rows:
        return _start(x, n_clusters, n_init, init_size, random)

    def run(random: np.random.Generator) -> Rows:
        return _one_by_one(x, begin(random), batch_size, random)

    with (
        _one_thread_each() as threads,
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        if device == "cpu":
            return np.stack(list(pool.map(run, randoms)))
        starts = list(pool.map(begin, randoms))
    return _at_once(torch.from_numpy(x).to(device), np.stack(starts), batch_size, randoms)


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """Use one thread per product: a batch of 100 rows is too small for two. Yield the number of threads until then."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield threads
    finally:
        torch.set_num_threads(threads)


def _one_by_one(x: Rows, centres: Rows, batch_size: int, random: np.random.Generator) -> Rows:
    """Return the centres of a clustering of x [n, d] that begins with `centres` [k, d]. In numpy, whose small products
    and sums cost less than torch's.
    """
    n, n_clusters, batch_size = len(x), len(centres), min(batch_size, len(x))
    sums, counts = np.zeros_like(centres), np.zeros(n_clusters, x.dtype)  # of all rows ever assigned to a cluster
    total = torch.from_numpy(sums)  # shares the memory, because numpy has no fast sum by label
    decay = min(2 * batch_size / (n + 1), 1)
    smoothed = lowest = np.inf
    idle = since_reassigned = 0
    batch = np.empty((batch_size, x.shape[1]), x.dtype)  # reused, because new memory would cost as much as gathering
    for step in range(EPOCHS * n // batch_size):
        np.take(x, random.integers(n, size=batch_size), axis=0, out=batch, mode="clip")
        scores = np.einsum("kd,kd->k", centres, centres) - 2 * (batch @ centres.T)
        inertia = float(scores.min(axis=1).sum() + np.vdot(batch, batch)) / batch_size
        labels = scores.argmin(axis=1)
        total.index_add_(0, torch.from_numpy(labels), torch.from_numpy(batch))
        counts += np.bincount(labels, minlength=n_clusters)
        since_reassigned += batch_size
        if since_reassigned >= 10 * n_clusters or not counts.all():
            since_reassigned = 0
            _reassign_rare(torch.from_numpy(batch), total, counts, random)
        np.divide(sums, counts[:, None], out=centres)  # an empty cluster has just been given a row
        if step == 0:  # its inertia is that of the initial centres
            continue
        smoothed = inertia if step == 1 else smoothed * (1 - decay) + inertia * decay
        idle = 0 if smoothed < lowest else idle + 1
        lowest = min(lowest, smoothed)
        if idle >= PATIENCE:
            break
    return centres


def _at_once(x: Tensor, starts: Rows, batch_size: int, randoms: Sequence[np.random.Generator]) -> Rows:
    """Return the centres of clusterings of x [n, d] that begin with `starts` [runs, k, d] and run at once: the steps of
    `_one_by_one` on a device, which needs many rows at a time.

    Those that have ended are computed further until all have, and the result is thrown away.
    """
    n, size = len(x), min(batch_size, len(x))
    decay = min(2 * size / (n + 1), 1)
    found, running, k = np.empty_like(starts), np.ones(len(starts), np.bool_), starts.shape[1]
    first = torch.arange(len(starts), device=x.device)[:, None] * k  # each run's first row in all sums
    centres = torch.from_numpy(starts).to(x.device)
    sums, counts = torch.zeros_like(centres), np.zeros((len(starts), k))  # of all rows ever assigned to a cluster
    batch = x.new_empty(len(starts), size, x.shape[1])  # reused: new memory would cost as much as gathering the rows
    rows = batch.flatten(0, 1)
    smoothed, lowest = np.full((2, len(starts)), np.inf)
    idle, since_reassigned = np.zeros((2, len(starts)), np.int64)
    for step in range(EPOCHS * n // size):
        picked = np.stack([random.integers(n, size=size) for random in randoms])
        torch.index_select(x, 0, torch.from_numpy(picked.ravel()).to(x.device), out=rows)
        squared, labels = _scores(batch, centres).min(dim=2)
        norms = (batch.view(len(starts), 1, -1) @ batch.view(len(starts), -1, 1)).flatten()
        inertia = (squared.sum(1) + norms).div_(size).cpu().numpy().astype(np.float64)
        labels += first
        with _in_order():
            sums.flatten(0, 1).index_add_(0, labels.flatten(), rows)
        counts += np.bincount(labels.cpu().numpy().ravel(), minlength=counts.size).reshape(counts.shape)
        since_reassigned += size
        for i in np.flatnonzero((since_reassigned >= 10 * k) | ~counts.all(axis=1)).tolist():
            since_reassigned[i] = 0
            _reassign_rare(batch[i], sums[i], counts[i], randoms[i])
        centres = sums / torch.from_numpy(counts).to(sums)[:, :, None]
        if step == 0:  # its inertia is that of the initial centres
            continue
        smoothed = inertia if step == 1 else smoothed * (1 - decay) + inertia * decay
        idle = np.where(smoothed < lowest, 0, idle + 1)
        lowest = np.minimum(lowest, smoothed)
        if (ended := running & (idle >= PATIENCE)).any():
            found[ended] = centres.cpu().numpy()[ended]
            running &= ~ended
            if not running.any():
                break
    found[running] = centres.cpu().numpy()[running]
    return found


@contextmanager
def _in_order() -> Iterator[None]:
    """Add rows in their order, as a CPU does. By default a GPU adds them in any order, which rounds differently."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def nearest_centre(x: Rows, centres: Rows, *, device: str = "cpu") -> NDArray[np.int64]:
    """Return the index [runs, n] of the nearest of centres [runs, k, d] to each row of x [n, d]."""
    runs, k, d = centres.shape
    rows, flat = (torch.from_numpy(one).to(device) for one in (x, centres.reshape(-1, d)))
    parts = (_scores(rows[i : i + 2048], flat) for i in range(0, len(x), 2048))
    labels = [part.view(len(part), runs, k).argmin(dim=2).cpu() for part in parts]
    return torch.cat(labels).T.numpy()


def _scores(x: Tensor, centres: Tensor) -> Tensor:
    """Return squared distances [..., n, k] of rows [..., n, d] to centres [..., k, d], less the rows' squared norms."""
    squares: Tensor = torch.linalg.vecdot(centres, centres)
    return squares.unsqueeze(-2) - 2 * (x @ centres.mT)


def _reassign_rare(x: Tensor, sums: Tensor, counts: Rows, random: np.random.Generator) -> None:
    """Move clusters with few rows to rows of the batch, with the smallest count of the other clusters."""
    rare = counts < REASSIGN_BELOW * counts.max()
    if rare.any():
        counts[rare] = least = counts[~rare].min()
        chosen = random.choice(len(x), rare.sum(), replace=False)
        sums[torch.from_numpy(rare).to(x.device)] = x[torch.from_numpy(chosen).to(x.device)] * least


def _start(x: Rows, n_clusters: int, n_init: int, size: int, random: np.random.Generator) -> Rows:
    """Return the best of `n_init` initialisations [n_clusters, d] for rows x [n, d], each made from `size` rows and all
    compared on `size` others.
    """
    size = min(size, len(x))
    held_out = x[random.integers(len(x), size=size)]
    starts = []
    for _ in range(n_init):
        rows = x[random.integers(len(x), size=size)]
        starts.append(rows[_plus_plus(rows, n_clusters, random)])
    scores = held_out @ np.concatenate(starts).T * -2 + np.concatenate([np.einsum("kd,kd->k", s, s) for s in starts])
    best: Rows = starts[scores.reshape(size, n_init, n_clusters).min(axis=2).sum(axis=0).argmin()]
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
