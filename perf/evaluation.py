"""Seconds of FD and PRD from ready features: ours against pytorch_fid and the published PRD, in one run.

python perf/evaluation.py [--quick] [--images 10000] [--features 2048]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from aegen_bench import environment
from aegen_bench.evaluation.frechet import Reference, distance_to, moments
from aegen_bench.evaluation.prd import KMEANS, SETTINGS, max_f_beta, prd_curve


def features(seed: int, n: int, d: int) -> np.ndarray:
    """Clustered, correlated and non-negative, as a network's pooled activations are."""
    law = np.random.default_rng(0)  # one for both sets
    centres, mixing = law.normal(size=(30, d)), law.normal(size=(d // 8, d)) / np.sqrt(d // 8)
    random = np.random.default_rng(seed)
    noise = random.normal(size=(n, d // 8)) @ mixing + 0.3 * random.normal(size=(n, d))
    return np.maximum(centres[random.integers(30 - 5 * seed, size=n)] + noise, 0).astype(np.float32)


def reference_fd(generated: np.ndarray, real: np.ndarray) -> float:
    from pytorch_fid.fid_score import calculate_frechet_distance

    sides = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in (generated, real)]
    return float(calculate_frechet_distance(*sides[0], *sides[1]))


def reference_prd(generated: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """The published algorithm: scikit-learn as it stands, in float64, ten times; seeded here."""
    from sklearn.cluster import MiniBatchKMeans

    union, n, k = np.concatenate([generated, real]).astype(np.float64), len(generated), KMEANS["n_clusters"]
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, SETTINGS["angles"]))
    curves = []
    for run in range(SETTINGS["runs"]):
        labels = MiniBatchKMeans(**KMEANS, random_state=run).fit(union).labels_
        p, q = (np.bincount(part, minlength=k) / n for part in (labels[:n], labels[n:]))
        precision = np.minimum(slopes[:, None] * q, p).sum(axis=1)
        curves.append((precision.clip(0, 1), (precision / slopes).clip(0, 1)))
    return max_f_beta(*np.mean(curves, axis=0))


def ours_prd(generated: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    return max_f_beta(*prd_curve(generated=generated, real=real, seed=0))


def timed(compute: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = compute()
    return time.perf_counter() - begin, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--quick", action="store_true", help="1,000 images, 256 features")
    args = parser.parse_args()
    n, d = (1000, 256) if args.quick else (args.images, args.features)
    generated, real = features(1, n, d), features(0, n, d)
    ours_prd(generated[:100, :8], real[:100, :8])  # imports are not measured
    print(f"{environment.describe(torch.device('cpu'))['device']}; {n:,} x {d:,} features a set")
    root, reference = timed(lambda: Reference.of(moments(real)))
    fd = timed(lambda: distance_to(reference, moments(generated)))
    prd = timed(partial(ours_prd, generated, real))
    their_prd = timed(partial(reference_prd, generated, real))
    print("| | ours s | reference s | ratio | ours | reference |\n|---|---:|---:|---:|---:|---:|")
    print(f"| real side of FD, once a protocol | {root:.2f} | | | | |")
    numbers = [f"{a:.4f}, {b:.4f}" for a, b in (prd[1], their_prd[1])]
    row = (
        f"| PRD (F8, F1/8) | {prd[0]:.2f} | {their_prd[0]:.2f} | {their_prd[0] / prd[0]:.1f} | {' | '.join(numbers)} |"
    )
    try:
        their_fd = timed(partial(reference_fd, generated, real))
    except TypeError:  # SciPy 1.18 took away the argument that pytorch_fid passes
        print(f"| FD | {fd[0]:.2f} | fails with this SciPy | | {fd[1]:.4f} | |\n{row}")
        return
    print(
        f"| FD | {fd[0]:.2f} | {their_fd[0]:.2f} | {their_fd[0] / fd[0]:.1f} | {fd[1]:.4f} | {their_fd[1]:.4f} |\n{row}"
    )
    ours, theirs = fd[0] + prd[0], their_fd[0] + their_prd[0]
    print(f"| together | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} | | |")
    print(f"| together, real side in ours | {ours + root:.2f} | {theirs:.2f} | {theirs / (ours + root):.1f} | | |")


if __name__ == "__main__":
    main()
