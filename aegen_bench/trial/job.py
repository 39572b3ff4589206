"""A planned trial: what is to be done with it and all that a process needs to do it.

Planning makes jobs and imports no torch; what trains or scores imports it when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from aegen_bench import __version__, data
from aegen_bench.evaluation.protocol import Protocol
from aegen_bench.progress import Progress
from aegen_bench.study import Trial, catalog
from aegen_bench.training.checkpoint import Checkpoints
from aegen_bench.training.stopping import Interrupts

if TYPE_CHECKING:
    import torch

__all__ = ["Job", "Place", "State"]

Images = NDArray[np.uint8]
State = Literal[
    "done",
    "run",
    "resume",
    "retry",
    "evaluate",
    "retrain",
    "stale",
    "diverged",
    "timeout",
    "weights gone",
    "corrupt",
    "no data",
    "blocked",
]


@dataclass(frozen=True)
class Place:
    """Where trials find their data, leave their results and weights, and compute (`device` as torch spells it).

    `graphs` lets training steps on a GPU be replayed as CUDA graphs, which changes no number; `at_once` is how many
    trials share the device.
    """

    data: Path
    results: Path
    weights: Path
    device: str = "cpu"
    graphs: bool = True
    at_once: int = 1

    def absolute(self) -> Place:
        """The same place for a process with another working folder."""
        return replace(
            self, data=self.data.absolute(), results=self.results.absolute(), weights=self.weights.absolute()
        )


@dataclass(frozen=True)
class Job:
    """A trial, the source of its baseline, how and where it is scored, and what the plan says is to be done with it.

    `state` is what the plan found and `detail` why; `stamp` is that of the trial's record when it was planned. `label`
    names the job in messages. `run` names a run whose engine may give a job to a second worker when it believes the
    first one dead (a dask scheduler does). `trunk` is, of a pair, the job of the trial that trains its auto-encoder.
    """

    trial: Trial
    entry: catalog.Method
    protocols: Sequence[Protocol]
    draws: int
    place: Place
    state: State = "run"
    detail: str = ""
    stamp: int | None = None
    label: str = ""
    show: Progress = field(default_factory=Progress)
    interrupts: Interrupts = field(default_factory=Interrupts)
    run: str = ""
    trunk: Job | None = None

    @property
    def folder(self) -> Path:
        return self.trial.folder(self.place.results)

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    @property
    def device(self) -> torch.device:
        import torch

        return torch.device(self.place.device)

    def environment(self) -> dict[str, object]:
        """What its record says of the place it runs in."""
        from aegen_bench import environment

        return environment.describe(self.device, at_once=self.place.at_once, graphs=self.place.graphs)

    def checkpoints(self) -> Checkpoints:
        """Where its training is saved, and what another process must share with this one to continue it."""
        import torch

        from aegen_bench.numerics import tuning

        identity = {
            "key": self.trial.key,
            "code": self.entry.code,
            "aegen_bench": __version__,
            "torch": str(torch.__version__),  # its own class is nothing that a data file may hold
            "data": self.fingerprint("train"),
            "device": self.device.type,
        }
        if self.device.type == "cpu":
            identity["library of products"] = tuning.library()
        if self.device.type == "cuda":
            identity["model of GPU"] = torch.cuda.get_device_name(self.device)
        return Checkpoints(self.folder, identity, self.interrupts, self.show.note)

    def images(self, split: data.Split) -> Images:
        """A whole split, uint8 NCHW, memory-mapped."""
        told = partial(self.show.count, f"preparing {self.trial.dataset}, {split}")
        return data.load(self.trial.dataset, self._recipe, self.place.data, split, progress=told)

    def fingerprint(self, split: data.Split) -> str:
        """What stands for the content of a split: the sha256 of its images."""
        return data.fingerprint(self.trial.dataset, self._recipe, self.place.data, split)

    @cached_property
    def training_set(self) -> Images:
        """What the trial trains on, uint8 NCHW: the only copy in memory, since at 256 px it can take 6 GB.

        A profile's `train_images` is a fixed random subset: the same for every row and seed.
        """
        import torch

        from aegen_bench import seeding

        images = self.images("train")
        count = self.trial.config.get("train_images") or len(images)
        if count >= len(images):
            return np.array(images)
        order = torch.randperm(len(images), generator=seeding.stream(0, "subset"))
        chosen: Images = images[order[:count].sort().values.numpy()]
        return chosen

    def training_images(self) -> tuple[torch.Tensor, int]:
        """The training set on the device, or on the host where it has no room; and the size of the whole split."""
        import torch

        from aegen_bench.training.batches import placed

        return placed(torch.from_numpy(self.training_set), self.device), len(self.images("train"))

    @property
    def _recipe(self) -> data.Recipe:
        return data.Recipe(**self.trial.config["recipe"])
