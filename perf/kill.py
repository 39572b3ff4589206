"""Kills trials with SIGKILL at random moments, lets the next run finish each, and compares it with one left alone.

python perf/kill.py [--kills 30] [--seed 0] [--quick]

Equal means: weights, loss terms, logs, facts, metrics and every array of artefacts.npz, bit for bit. Each row of the
table is one kill; the rows of the study take turns. --quick kills six times, once a row. Exit code 1 where one differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROWS = ("vae", "rae_gmm", "two_stage_vae", "glann", "wae_gan", "vqvae_ar")
STUDY = {
    "protocols": {"tiny": {"extractor": "random_conv", "count": 32, "metrics": ["fd", "prd", "reconstruction"]}},
    "profiles": {
        "kill": {
            "models": list(ROWS),
            "datasets": ["digits"],
            "seeds": 1,
            "protocols": ["tiny"],
            "train_images": 128,
            "stages": {"*": {"epochs": 3, "batch": 32, "lr_at": {}}},
        }
    },
}
TIMES = ("seconds", "peak_memory", "environment", "stages")
RESUMED = re.compile(r"goes on after (.*) from its checkpoint")

# A new process begins with the imports done, in a server that has computed nothing: it starts in a moment.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["aegen_bench.trial", "aegen_bench.runner", "aegen_bench.request", "sklearn.mixture"])


def command(folder: Path, *args: str) -> None:
    """The command `run` of one process, its words in `folder`/log."""
    from aegen_bench import cli

    os.chdir(folder)
    os.environ["AEGEN_BENCH_DATA"] = str(folder.parent / "data")
    sys.argv = ["aegen-bench", "run", "--profile", "kill", "--weights", "weights", *args]
    with open("log", "a", buffering=1) as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        cli.main()


def prepare(folder: Path) -> Path:
    """A new working folder with the study in it."""
    folder.mkdir(parents=True)
    (folder / "benchmarks.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return folder


def begin(folder: Path, row: str, *args: str) -> Any:
    """Start the trial of `row` in a process of its own."""
    process = processes.Process(target=command, args=(folder, "--models", row, *args))
    process.start()
    return process


def essence(folder: Path, row: str) -> dict[str, Any]:
    """What must be equal of a finished trial."""
    trial = folder / "results" / "kill" / "digits" / row / "seed-0"
    record, history = (json.loads((trial / f"{name}.json").read_text()) for name in ("record", "history"))
    for entry in record["metrics"].values():
        for settings in entry["settings"].values():
            settings.pop("by", None)
    kept = {name: value for name, value in record.items() if name not in TIMES}
    rows = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in history["epochs"]]
    with np.load(trial / "artefacts.npz") as arrays:
        images = {name: arrays[name].tobytes() for name in arrays.files}
    left = sorted(path.name for path in trial.iterdir() if path.name.startswith("checkpoint"))
    return kept | {"epochs": rows, "images": images, "left": left}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    kills, moments, unequal = len(ROWS) if args.quick else args.kills, random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as place:
        alone = prepare(Path(place, "alone"))
        lasted, expected = {}, {}
        for row in ROWS[:kills]:
            start = time.monotonic()
            begin(alone, row).join()
            lasted[row], expected[row] = time.monotonic() - start, essence(alone, row)
        print("| row | killed after (s) | of (s) | went on after | equal |\n|---|---:|---:|---|---|", flush=True)
        for number in range(kills):
            row, folder = ROWS[number % len(ROWS)], prepare(Path(place, f"kill-{number}"))
            moment = moments.uniform(0.0, lasted[row])
            process = begin(folder, row, "--checkpoint-every", "0.01")
            process.join(moment)
            over = process.exitcode is not None
            process.kill()
            process.join()
            trained = (folder / "results" / "kill" / "digits" / row / "seed-0" / "record.json").is_file()
            begin(folder, row).join()
            found = RESUMED.findall((folder / "log").read_text())
            where = found[0] if found else "its end" if over else "training" if trained else "nothing: from its start"
            equal = essence(folder, row) == expected[row]
            unequal += not equal
            print(f"| {row} | {moment:.2f} | {lasted[row]:.2f} | {where} | {'yes' if equal else 'NO'} |", flush=True)
    print(f"{kills - unequal} of {kills} equal")
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
