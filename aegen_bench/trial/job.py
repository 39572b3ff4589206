"""A planned trial: what is to be done, and everything that a process needs to do it.

Planning creates jobs without importing torch, so methods that need torch import it when they are called.
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
    """The folders of data, results and weights, and the device (as torch spells it) of trials.

    `graphs` allows training steps on a GPU to be replayed as CUDA graphs, which changes no number; `at_once` is the
    number of trials that share the device.
    """

    data: Path
    results: Path
    weights: Path
    device: str = "cpu"
    graphs: bool = True
    at_once: int = 1

    def absolute(self) -> Place:
        """Return the same place with absolute paths, for a process with another working directory."""
        return replace(
            self, data=self.data.absolute(), results=self.results.absolute(), weights=self.weights.absolute()
        )


@dataclass(frozen=True)
class Job:
    """A trial, the source of its baseline, its protocols and place, and what is to be done with it.

    Attributes:
        state: What the plan found, such as "run" or "done"; `detail` is the reason.
        stamp: That of the trial's record at the time of planning (`results.stamp`).
        label: The name of the job in messages.
        run: Name of a run that may give a job to a second worker if it believes the first one dead, as dask does.
        trunk: For a pair, the job of the trial that trains its auto-encoder.
        aliases: For a pair, other rows with the same trial.
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
    aliases: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """The folder of the trial."""
        return self.trial.folder(self.place.results)

    @property
    def record(self) -> Path:
        """The path of the trial's record."""
        return self.folder / "record.json"

    @property
    def device(self) -> torch.device:
        """The torch device."""
        import torch

        return torch.device(self.place.device)

    def environment(self) -> dict[str, object]:
        """Return the `environment` of the trial's record."""
        from aegen_bench import environment

        return environment.describe(self.device, at_once=self.place.at_once, graphs=self.place.graphs)

    def checkpoints(self) -> Checkpoints:
        """Return its checkpoints, whose identity has all that another process must share to continue the training."""
        import torch

        from aegen_bench.numerics import tuning

        identity = {
            "key": self.trial.key,
            "code": self.entry.code,
            "aegen_bench": __version__,
            "torch": str(torch.__version__),  # as plain text, because checkpoints contain only plain data
            "data": self.fingerprint("train"),
            "device": self.device.type,
        }
        if self.device.type == "cpu":
            identity["library of products"] = tuning.library()
        if self.device.type == "cuda":
            identity["model of GPU"] = torch.cuda.get_device_name(self.device)
        return Checkpoints(self.folder, identity, self.interrupts, self.show.note)

    def images(self, split: data.Split) -> Images:
        """Return a complete split, uint8 NCHW, memory-mapped."""
        told = partial(self.show.count, f"preparing {self.trial.dataset}, {split}")
        return data.load(self.trial.dataset, self._recipe, self.place.data, split, progress=told)

    def fingerprint(self, split: data.Split) -> str:
        """Return the sha256 of the images of a split."""
        return data.fingerprint(self.trial.dataset, self._recipe, self.place.data, split)

    @cached_property
    def training_set(self) -> Images:
        """The training set, uint8 NCHW. It is the only copy in memory, since it can take 6 GB at 256 px.

        With `train_images` it is a fixed random subset, the same for every row and seed.
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
        """Return the training set, on the host if it does not fit on the device, and the size of the full split."""
        import torch

        from aegen_bench.training.batches import placed

        return placed(torch.from_numpy(self.training_set), self.device), len(self.images("train"))

    @property
    def _recipe(self) -> data.Recipe:
        return data.Recipe(**self.trial.config["recipe"])
