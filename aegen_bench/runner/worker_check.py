"""Checks that a worker on another machine has the same files and versions as the machine that sends it trials."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import aegen_bench
from aegen_bench import __version__, weights
from aegen_bench.data import Recipe, Split, fingerprint
from aegen_bench.errors import UserError
from aegen_bench.evaluation import extractors
from aegen_bench.files import require_folder
from aegen_bench.results import locks
from aegen_bench.study import catalog
from aegen_bench.trial.job import Job

__all__ = ["WorkerCheck"]

ABSENT, THERE = "not there", "there"
SPLITS: tuple[Split, ...] = ("train", "test")


def _code() -> str:
    """A hash of this package's code."""
    root = Path(aegen_bench.__file__).parent
    files = sorted(path for path in root.rglob("*.py") if "shipped" not in path.relative_to(root).parts)
    content = b"".join(str(path.relative_to(root)).encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()[:12]


CODE = _code()
"""Of the imported code: a worker that was started before its files changed runs the old code."""


@dataclass(frozen=True)
class WorkerCheck:
    """What the trials of a run need on a worker; `seen` has the state of each thing on the machine that started it."""

    run: str
    folders: tuple[Path, ...]
    data: Path
    entries: tuple[catalog.Method, ...]
    recipes: Mapping[str, Mapping[str, Any]]
    weights: tuple[str, ...]
    seen: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def of(cls, run: str, jobs: Sequence[Job]) -> Iterator[WorkerCheck]:
        """Context that yields the check for these jobs, and marks the folders they write to, so that workers can tell
        whether they have the same folders.
        """
        place = jobs[0].place
        check = cls(
            run=run,
            folders=(place.results, place.weights),
            data=place.data,
            entries=tuple({one.path: one for job in jobs for one in (job.entry, job.entry.trunk) if one}.values()),
            recipes={job.trial.dataset: job.trial.config["recipe"] for job in jobs},
            weights=tuple(sorted(set().union(*map(_weights, jobs)))),
        )
        with contextlib.ExitStack() as signs:
            for path in map(check._sign, check.folders):
                signs.callback(path.unlink, missing_ok=True)
                signs.enter_context(locks.claim(path, run=run))
            yield replace(check, seen=check.look())

    def check(self) -> list[str]:
        """Call on a worker: raises UserError for the first difference, and returns warnings."""
        for name, here in self.look().items():
            if here != self.seen[name]:
                raise UserError(f"{name}: {here} on {locks.HOST}, {self.seen[name]} where the run was started")
        for folder in self.folders:
            require_folder(folder)
        blind = [str(folder) for folder in self.folders if not locks.taken(self._sign(folder))]
        return [f"locks in {folder} do not work across machines: do not start a second run there" for folder in blind]

    def look(self) -> dict[str, str]:
        """Return the state of each needed thing on this machine."""
        seen = {
            "aegen-bench": f"version {__version__} with code {CODE}",
            "Python": ".".join(platform.python_version_tuple()[:2]),
            "torch": str(torch.__version__).partition("+")[0],  # without the build: +cpu, +cu130
        }
        for folder in self.folders:
            signed = locks.whose(self._sign(folder)).get("run") == self.run
            seen[f"the folder {folder}"] = THERE if signed else ABSENT
        for entry in self.entries:
            seen[f"the model {entry.path}"] = catalog.read(entry.name, entry.path, entry.base).code or ABSENT
        for dataset, recipe in self.recipes.items():
            for split in SPLITS:
                seen[f"{dataset} ({split}) in {self.data}"] = self._images(dataset, Recipe(**recipe), split)
        for name in self.weights:
            seen[f"the weights {name} in {self.data}"] = weights.missing(name, self.data) or THERE
        return seen

    def _images(self, dataset: str, recipe: Recipe, split: Split) -> str:
        try:
            return fingerprint(dataset, recipe, self.data, split)[:12]
        except UserError:
            return ABSENT

    def _sign(self, folder: Path) -> Path:
        return locks.lock_path(folder, self.run)


def _weights(job: Job) -> set[str]:
    """Return the files of weights that training and evaluating a job will load."""
    scored_by = {extractors.recipe(protocol.extractor).file(job.trial.dataset) for protocol in job.protocols}
    trained_on = job.trial.config.get("perceptual_net")
    return {name for name in {*scored_by, trained_on} if name}
