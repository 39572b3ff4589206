"""Imported by the server of `warm.py`: imports what a command imports late, and reads the package files it needs."""

from __future__ import annotations

import gc
import importlib
from pathlib import Path

import PIL.Image

from aegen_bench.data import sources
from aegen_bench.data.recipe import Recipe
from aegen_bench.evaluation import metrics
from aegen_bench.report import published
from aegen_bench.study import Study

gc.disable()  # while modules are imported; collecting garbage would make that take a third longer
for name in (
    "aegen_bench.cli",
    "aegen_bench.commands.request",
    "aegen_bench.runner.cluster",
    "aegen_bench.runner.workers",
    "distributed.cli.dask_worker",
    "safetensors.torch",
    "sklearn.datasets",
    "sklearn.mixture",
    # Imported by torch's optimizers at their first step; the import takes longer than a small trial.
    "torch._dynamo",
):
    importlib.import_module(name)
for name in metrics.names():
    metrics.load(name)
PIL.Image.init()
published.load(published.default())
sources.read("digits", Recipe(source="digits"), Path("no such folder"), "train")
Study("smoke", local=Path("no such folder"), data=Path("no such folder"))
# The garbage collectors of forked processes skip what has been imported, so its memory pages stay shared.
gc.freeze()
gc.enable()
