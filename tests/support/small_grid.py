"""A study that takes seconds, and processes that run it, which tests kill and compare with an undisturbed run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from warm import Process

ROWS = ("vae", "rae_gmm", "two_stage_vae", "glann", "wae_gan", "vqvae_ar")
STUDY = {
    "protocols": {"tiny": {"extractor": "random_conv", "count": 32, "metrics": ["fd", "prd", "reconstruction"]}},
    "profiles": {
        "kill": {
            "models": list(ROWS),
            "datasets": ["digits"],
            "seeds": 1,
            "protocols": ["tiny"],
            "draws": 2,
            "train_images": 128,
            "stages": {"*": {"epochs": 3, "batch": 32, "lr_at": {}}},
        }
    },
}
TIMES = ("seconds", "peak_memory", "environment", "stages")
RESUMED = re.compile(r"resumes after (.*) from its checkpoint")


def command(folder: Path, *args: str) -> None:
    """Run the command `run` in this process, with its output in `folder`/log."""
    from aegen_bench import cli

    os.chdir(folder)
    os.environ["AEGEN_BENCH_DATA"] = str(folder.parent / "data")
    sys.argv = ["aegen-bench", "run", "--profile", "kill", "--weights", "weights", *args]
    with open("log", "a", buffering=1) as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        cli.main()


def prepare(folder: Path) -> Path:
    """Create a working folder with the study in it, and return it."""
    folder.mkdir(parents=True)
    (folder / "benchmarks.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return folder


def begin(folder: Path, row: str, *args: str) -> Any:
    """Start the trials of `row` (or of several, separated by commas) in a new process."""
    process = Process(target=command, args=(folder, "--models", row, *args))
    process.start()
    return process


def trial(folder: Path, row: str) -> Path:
    return folder / "results" / "kill" / "digits" / row / "seed-0"


def essence(folder: Path, row: str) -> dict[str, Any]:
    """Return what a finished trial must have in common with an undisturbed one."""
    place = trial(folder, row)
    record, history = (json.loads((place / f"{name}.json").read_text()) for name in ("record", "history"))
    for entry in record["metrics"].values():
        for settings in entry["settings"].values():
            settings.pop("by", None)
    kept = {name: value for name, value in record.items() if name not in TIMES}
    rows = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in history["epochs"]]
    with np.load(place / "artefacts.npz") as arrays:
        images = {name: arrays[name].tobytes() for name in arrays.files}
    left = sorted(path.name for path in place.iterdir() if path.name.startswith("checkpoint"))
    return kept | {"epochs": rows, "images": images, "left": left}
