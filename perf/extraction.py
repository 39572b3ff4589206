"""The overhead of feature extraction over the network's forward pass, and the memory of an evaluation.

python perf/extraction.py [--images 2000] [--rounds 5] [--large 50000]

Time: our pass over uint8 images, in batches, into float64 moments, against the bare network on given tensors, in turn.
Memory: the peak of a separate process that scores `--large` random images of 32 px with the metrics of `lite` (and with
only fd), using the pixels extractor, and of one that accumulates as many random features with EfficientNet's width.
`base` is a process that only imports the same modules.
"""

from __future__ import annotations

import argparse
import copy
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from aegen_bench import data, environment
from aegen_bench.evaluation import Protocol, Subject, evaluate, extractors
from aegen_bench.evaluation.features import stream
from aegen_bench.evaluation.frechet import Accumulator
from aegen_bench.numerics import tuning

BATCH, SIDE = 50, 32
METRICS = ("fd", "prd", "kid", "precision_recall", "density_coverage", "fd_infinity", "memorisation")


def made_up(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(n, 3, SIDE, SIDE), dtype=np.uint8)


def times(name: str, n: int, rounds: int) -> str:
    network = extractors.build(name, data.default_folder(), "cifar10")
    plain = copy.deepcopy(network)  # our pass lays the weights of the other out anew
    images = made_up(n)
    ready = [torch.from_numpy(images[i : i + BATCH]) for i in range(0, n, BATCH)]

    def ours() -> None:
        moments = Accumulator()
        stream(images, network, lambda found: moments.add(found.numpy()), batch=BATCH, device="cpu")

    def bare() -> None:
        with torch.inference_mode():
            for x in ready:
                plain(x)

    bare()
    spent: dict[Callable[[], None], list[float]] = {ours: [], bare: []}
    for number in range(rounds):
        for run in (ours, bare) if number % 2 else (bare, ours):
            begin = time.perf_counter()
            run()
            spent[run].append(time.perf_counter() - begin)
    a, b = (statistics.median(spent[run]) for run in (ours, bare))
    each = [x / y for x, y in zip(spent[ours], spent[bare], strict=True)]
    return f"| {name} | {n / a:.0f} | {n / b:.0f} | {statistics.median(each):.3f} ({min(each):.3f}, {max(each):.3f}) |"


class MadeUp(Subject):
    def generated(self, n: int, draw: int) -> np.ndarray:
        return made_up(n, 1)

    def training_images(self) -> np.ndarray:
        return made_up(10_000, 3)

    def test_images(self) -> np.ndarray:
        return made_up(10_000, 4)


def score(n: int, names: tuple[str, ...]) -> None:
    protocol = Protocol(extractor="pixels", count=n, metrics=names)
    with tempfile.TemporaryDirectory() as folder:
        at = {"dataset": "cifar10", "fingerprint": "made up", "device": "cpu", "data_folder": Path(folder)}
        scores = evaluate(protocol, MadeUp(), real=made_up(n, 2), **at)
    if scores.failed:
        sys.exit(str(scores.failed))


def accumulate(n: int) -> None:
    accumulator, random = Accumulator(), np.random.default_rng(0)
    for _ in range(n // BATCH):
        accumulator.add(random.normal(size=(BATCH, 1280)).astype(np.float32))
    accumulator.moments()


CASES: dict[str, Callable[[int], None]] = {
    "base": lambda n: None,
    "moments of features, 1,280 wide": accumulate,
    "fd, pixels": lambda n: score(n, ("fd",)),
    "all of `lite` that needs no model, pixels": lambda n: score(n, METRICS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=50_000)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case is not None:
        begin = time.perf_counter()
        CASES[args.case](args.large)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {args.case} | {peak:.2f} | {time.perf_counter() - begin:.0f} |")
        return
    print(f"{environment.describe(torch.device('cpu'))['device']}, {torch.get_num_threads()} threads\n")
    print("| extractor | ours images/s | bare images/s | ours / bare seconds: median (min, max) |")
    print("|---|---:|---:|---:|")
    with tuning.keeping_memory():
        for name in ("efficientnet_lite0", "classifier", "pixels"):
            print(times(name, args.images, args.rounds), flush=True)
    print(f"\n| {args.large:,} images | peak GiB | s |\n|---|---:|---:|", flush=True)
    for case in CASES:
        subprocess.run([sys.executable, __file__, "--case", case, "--large", str(args.large)], check=True)


if __name__ == "__main__":
    main()
