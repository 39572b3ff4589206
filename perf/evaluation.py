"""Seconds of FD and PRD from ready features: ours against pytorch_fid and the published PRD, in one run.

python perf/evaluation.py [--quick] [--images 10000] [--features 2048]
python perf/evaluation.py --spread 400 --images 2000 --features 64      PRD over that many seeds, ours and theirs
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import kurtosis

from aegen_bench import environment
from aegen_bench.evaluation.frechet import Reference, distance_to, moments
from aegen_bench.evaluation.metrics.prd import KMEANS, SETTINGS, max_f_beta, prd_curve
from aegen_bench.numerics import tuning


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


def reference_prd(generated: np.ndarray, real: np.ndarray, *, seed: int = 0, **batches: int) -> tuple[float, float]:
    """The published algorithm: scikit-learn as it stands, in float64, ten times; seeded here. Its `batches` have the
    sizes that are scikit-learn's defaults today, 1,024 rows, where not told otherwise.
    """
    from sklearn.cluster import MiniBatchKMeans

    union, n, k = np.concatenate([generated, real]).astype(np.float64), len(generated), KMEANS["n_clusters"]
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, SETTINGS["angles"]))
    curves = []
    for run in range(SETTINGS["runs"]):
        labels = MiniBatchKMeans(k, n_init=10, **batches, random_state=seed + run).fit(union).labels_
        p, q = (np.bincount(part, minlength=k) / n for part in (labels[:n], labels[n:]))
        precision = np.minimum(slopes[:, None] * q, p).sum(axis=1)
        curves.append((precision.clip(0, 1), (precision / slopes).clip(0, 1)))
    return max_f_beta(*np.mean(curves, axis=0))


def ours_prd(generated: np.ndarray, real: np.ndarray, seed: int = 0) -> tuple[float, float]:
    return max_f_beta(*prd_curve(generated=generated, real=real, seed=seed))


def spread(generated: np.ndarray, real: np.ndarray, seeds: int) -> None:
    batches = {name: KMEANS[name] for name in ("batch_size", "init_size")}
    ours = [ours_prd(generated, real, seed) for seed in range(seeds)]
    theirs = [reference_prd(generated, real, seed=10 * seed, **batches) for seed in range(seeds)]
    sets = {"ours": np.array(ours), "reference": np.array(theirs)}
    print("| mean ± std over seeds | F8 | F1/8 |\n|---|---:|---:|")
    for name, numbers in sets.items():
        cells = [f"{x.mean():.5f} ± {x.std(ddof=1):.5f}" for x in numbers.T]
        print(f"| {name} | {' | '.join(cells)} |")
    ratios = np.divide(*(numbers.std(axis=0, ddof=1) for numbers in sets.values()))
    # The standard error of the logarithm of a standard deviation, with the kurtosis of what it is of.
    errors = [
        sum((2 + kurtosis(x)) / (4 * seeds) for x in pair) ** 0.5
        for pair in zip(*(s.T for s in sets.values()), strict=True)
    ]
    cells = [f"{ratio:.2f} ± {ratio * error:.2f}" for ratio, error in zip(ratios, errors, strict=True)]
    print(f"| ratio of the stds | {' | '.join(cells)} |")


def timed(compute: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = compute()
    return time.perf_counter() - begin, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--quick", action="store_true", help="1,000 images, 256 features")
    parser.add_argument("--spread", type=int, metavar="SEEDS")
    args = parser.parse_args()
    n, d = (1000, 256) if args.quick else (args.images, args.features)
    generated, real = features(1, n, d), features(0, n, d)
    if args.spread:
        spread(generated, real, args.spread)
        return
    ours_prd(generated[:100, :8], real[:100, :8])  # imports are not measured
    print(f"{environment.describe(torch.device('cpu'))['device']}; {n:,} x {d:,} features a set")
    side, reference = timed(lambda: Reference.of(moments(real)))
    fd, distance = timed(lambda: distance_to(reference, moments(generated)))
    prd, shares = timed(partial(ours_prd, generated, real))
    print(f"real side of FD, once a protocol: {side:.2f} s; ours: FD {distance:.4f}, F8 and F1/8 {said(shares)}\n")
    print("| | ours s | reference s | ratio | reference |\n|---|---:|---:|---:|---:|")
    try:
        their_fd, number = timed(partial(reference_fd, generated, real))
    except TypeError:  # SciPy 1.18 took away the argument that pytorch_fid passes
        raise SystemExit("pytorch_fid's distance fails with this SciPy: install one below 1.18") from None
    print(line("FD", fd, their_fd, f"{number:.4f}"))
    then = {name: KMEANS[name] for name in ("batch_size", "init_size")}
    for when, batches in (("today's batches of 1,024", {}), (f"batches of {then['batch_size']}, as published", then)):
        seconds, numbers = timed(partial(reference_prd, generated, real, **batches))
        print(line(f"PRD, {when}", prd, seconds, said(numbers)))
        print(line("FD and this PRD", fd + prd, their_fd + seconds, ""))


def line(what: str, ours: float, theirs: float, number: str) -> str:
    return f"| {what} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} | {number} |"


def said(numbers: tuple[float, float]) -> str:
    return ", ".join(f"{number:.4f}" for number in numbers)


if __name__ == "__main__":
    with tuning.keeping_memory():  # as a trial does
        main()
