"""A study that takes seconds, and processes that run it, to be killed and compared with an undisturbed run."""

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
from warm import processes, server, settle

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


def command(folder: Path, *args: str, given: tuple[dict[str, str], str] | None = None) -> None:
    """The command `run` of one process, its words in `folder`/log; `given` is what `settle` takes."""
    from aegen_bench import cli

    if given is not None:
        settle(*given)
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
    """Start the trials of `row` (or several, comma separated) in a process of its own."""
    more = {"given": (dict(os.environ), server())}
    process = processes.Process(target=command, args=(folder, "--models", row, *args), kwargs=more)
    process.start()
    return process


def trial(folder: Path, row: str) -> Path:
    return folder / "results" / "kill" / "digits" / row / "seed-0"


def essence(folder: Path, row: str) -> dict[str, Any]:
    """What must be equal of a finished trial."""
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
