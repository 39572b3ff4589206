"""Shared by the scripts in this folder: options, a line on the machine, running contenders in turn, and their ratio."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from aegen_bench import environment, results, seeding
from aegen_bench.baseline import Baseline
from aegen_bench.blocks.nets import Nets
from aegen_bench.numerics import tuning
from aegen_bench.study import catalog

ROOT = Path(__file__).parent.parent
SIZES = {8: (1, 8, 32), 28: (1, 20, 64), 32: (3, 64, 256), 64: (3, 64, 256)}  # side: channels, d, width of the flow


def options(text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the short form: seconds, to see that it works")
    return parser


def machine(device: str = "cpu") -> str:
    return f"{environment.describe(torch.device(device))['device']}; torch {torch.__version__}, {platform.system()}"


def nets(side: int, n: int) -> Nets:
    """Return the networks for a dataset of n images with this side."""
    channels, d, width = SIZES[side]
    return Nets((channels, side, side), d, width, n)


def made_up(made: Nets) -> torch.Tensor:
    """Return a training set of noise for these networks, uint8 NCHW."""
    return torch.randint(256, (made.n_train, *made.shape), dtype=torch.uint8, generator=seeding.stream(0, "images"))


def build(row: str, made: Nets) -> Baseline:
    with seeding.initialising(0):
        return catalog.import_class(catalog.find(ROOT)[row])(made)


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def in_turn(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each contender reports, by round. The order is reversed after each round; the first round
    is a warm-up.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            spent = contenders[name]()
            if number:
                taken[name].append(spent)
    return taken


def ratio(over: list[float], under: list[float]) -> str:
    """Format the median of the rounds' ratios, with the smallest and the largest."""
    each = sorted(a / b for a, b in zip(over, under, strict=True))
    return f"{statistics.median(each):.3f} ({each[0]:.3f}, {each[-1]:.3f})"


def peak(device: torch.device, side: int = 2048, times: int = 8) -> float:
    """Return the FLOP/s of the fastest of some float32 products of square matrices, by the library of linear layers."""
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    ours = device.type == "cpu" and tuning.library() == "oneDNN"
    multiply = tuning.product if ours else torch.matmul
    best = min(seconds(lambda: multiply(a, b)[0, 0].item()) for _ in range(times))
    return 2 * side**3 / best


def study(folder: Path, dataset: str, rows: tuple[str, ...], epochs: int, images: int) -> None:
    """Write a study into a working folder. Its only profile, `perf`, has trials that are scored quickly."""
    protocol = {"extractor": "random_conv", "count": 100, "metrics": ["fd"]}
    profile = {
        **{"models": list(rows), "datasets": [dataset], "seeds": 1, "protocols": ["moment"], "train_images": images},
        "stages": {"*": {"epochs": epochs, "batch": 64, "lr_at": {}}},
    }
    text = yaml.safe_dump({"protocols": {"moment": protocol}, "profiles": {"perf": profile}})
    (folder / "benchmarks.yaml").write_text(text)


def bench(folder: Path, *args: str) -> float:
    """Return the seconds of an `aegen-bench` command in a new process; weights are kept in the folder."""
    call = [sys.executable, "-m", "aegen_bench", *args, "--weights", "weights", "--device", "cpu"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    begin = time.perf_counter()
    ended = subprocess.run(call, cwd=folder, env=env, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stderr)
    return time.perf_counter() - begin


def records(folder: Path, profile: str = "perf") -> list[dict[str, Any]]:
    """Return the records of the trials in the folder."""
    return [record.content() for _, record in results.records(folder / "results", profile=profile)]
