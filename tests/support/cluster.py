"""Measure how many seconds six equal trials take on one and on two dask workers of one thread each on this machine.

python tests/support/cluster.py [--trials 6] [--images 1200] [--epochs 10]

Each measurement has new results, a new scheduler and new workers, which are ready when the clock starts. Their trial
processes are forked with their imports done. The numbers mean something only if two cores are free, so the load of the
machine is printed with them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from loopback import scheduler


def study(trials: int, images: int, epochs: int) -> dict[str, object]:
    """Return a study of one row, whose trials differ only in their seeds."""
    stages = {"*": {"epochs": epochs, "batch": 64, "lr_at": {}}}
    protocol = {"extractor": "random_conv", "count": 256, "metrics": ["fd"]}
    profile = {"models": ["vae"], "datasets": ["digits"], "seeds": trials, "protocols": ["few"], "stages": stages}
    return {"protocols": {"few": protocol}, "profiles": {"six": profile | {"train_images": images}}}


def measure(workers: int, content: dict[str, object]) -> tuple[float, float]:
    """Return the seconds that the command takes, and the sum of the seconds that its trials take."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "work")
        folder.mkdir()
        (folder / "benchmarks.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        Path(root, "dask").mkdir()
        with scheduler(Path(root, "dask")) as dask:
            dask.workers(workers)
            words = [sys.executable, "-m", "aegen_bench", "run", "--profile", "six", "--cluster", dask.address]
            env = {**os.environ, "AEGEN_BENCH_DATA": str(Path(root, "data")), "OMP_NUM_THREADS": "1"}
            begin = time.perf_counter()
            subprocess.run(words, cwd=folder, env=env, check=True, capture_output=True)
            wall = time.perf_counter() - begin
        records = [json.loads(path.read_text()) for path in (folder / "results" / "six").rglob("record.json")]
        return wall, sum(sum(record["seconds"].values()) for record in records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} processors, load {load} (1, 5, 15 minutes)\n")
    print("| workers | s for the command | s of the trials, added up |\n|---:|---:|---:|")
    walls = {}
    for workers in (1, 2):
        walls[workers], trials = measure(workers, study(args.trials, args.images, args.epochs))
        print(f"| {workers} | {walls[workers]:.1f} | {trials:.1f} |", flush=True)
    print(f"\none worker / two workers: {walls[1] / walls[2]:.2f}")


if __name__ == "__main__":
    main()
