"""What a trial works with: its images, and the way from a trained model to scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aegen_bench import __version__, data, evaluation, seeding
from aegen_bench.baseline import Baseline
from aegen_bench.evaluation import Protocol
from aegen_bench.evaluation.features import chosen, subset
from aegen_bench.numerics import products
from aegen_bench.progress import Progress
from aegen_bench.study import Trial, catalog
from aegen_bench.training.batches import placed
from aegen_bench.training.checkpoint import Checkpoints
from aegen_bench.training.probe import Probe
from aegen_bench.training.stopping import Pace
from aegen_bench.trial import sampling

__all__ = ["Job", "Place", "Samples"]

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """Where trials find their data, leave their results and weights, and compute."""

    data: Path
    results: Path
    weights: Path
    device: torch.device

    def absolute(self) -> Place:
        """The same place for a process with another working folder."""
        return replace(
            self, data=self.data.absolute(), results=self.results.absolute(), weights=self.weights.absolute()
        )


@dataclass(frozen=True)
class Job:
    """A trial, the source of its baseline, how it is scored, and where."""

    trial: Trial
    entry: catalog.Method
    protocols: Sequence[Protocol]
    draws: int
    place: Place
    show: Progress
    pace: Pace = field(default_factory=Pace)

    @property
    def folder(self) -> Path:
        return self.trial.folder(self.place.results)

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    def checkpoints(self) -> Checkpoints:
        """Where its training is saved, and what another process must share with this one to go on with it."""
        identity = {
            "key": self.trial.key,
            "code": self.entry.code,
            "aegen_bench": __version__,
            "torch": str(torch.__version__),  # it is of a class of its own, which no data file may hold
            "data": self.fingerprint("train"),
            "device": self.place.device.type,
        }
        if self.place.device.type == "cpu":
            identity["library of products"] = products.library()
        return Checkpoints(self.folder, identity, self.pace, self.show.note)

    def images(self, split: data.Split) -> Images:
        """A whole split, uint8 NCHW, memory-mapped."""
        told = partial(self.show.count, f"preparing {self.trial.dataset}, {split}")
        return data.load(self.trial.dataset, self._recipe, self.place.data, split, progress=told)

    def fingerprint(self, split: data.Split) -> str:
        return data.fingerprint(self.trial.dataset, self._recipe, self.place.data, split)

    @cached_property
    def training_set(self) -> Images:
        """What the trial trains on, uint8 NCHW: the only copy in memory, for at 256 px it can be 6 GB.

        A profile's `train_images` is a fixed random subset: the same for every row and seed.
        """
        images = self.images("train")
        count = self.trial.config.get("train_images") or len(images)
        if count >= len(images):
            return np.array(images)
        order = torch.randperm(len(images), generator=seeding.stream(0, "subset"))
        chosen: Images = images[order[:count].sort().values.numpy()]
        return chosen

    def training_images(self) -> tuple[torch.Tensor, int]:
        """The training set on the device, or on the host if it has no room there; and the size of the whole of it."""
        return placed(torch.from_numpy(self.training_set), self.place.device), len(self.images("train"))

    def samples(self, model: Baseline) -> Samples:
        return Samples(self, model)

    def probe(self, images: torch.Tensor) -> Probe | None:
        """What a row's `probe` asks for while it trains on `images`: the first protocol's distance, on fewer images."""
        settings = self.trial.config.get("probe")
        if settings is None:
            return None
        small = self.protocols[0].model_copy(update={"count": settings["images"], "metrics": ("fd",)})
        real = self.images(small.split)
        test = torch.from_numpy(np.array(subset(self.images("test"), settings["images"]))).to(self.place.device)
        train = images[torch.from_numpy(chosen(len(images), settings["images"])).to(images.device)]

        def measure(model: Baseline) -> dict[str, float]:
            n = small.images(len(real))
            generated = sampling.generate(model, n, seed=self.trial.seed, draw=0, device=self.place.device)
            return self._evaluate(small, [generated], real).draws[0]

        return Probe(settings["every"], train.to(self.place.device), test, measure)

    @property
    def _recipe(self) -> data.Recipe:
        return data.Recipe(**self.trial.config["recipe"])

    def _evaluate(
        self, protocol: Protocol, generated: Sequence[Images], real: Images, **rest: Any
    ) -> evaluation.Scores:
        """`evaluation.evaluate` with what every call of this job has in common."""
        return evaluation.evaluate(
            protocol,
            dataset=self.trial.dataset,
            generated=generated,
            real=real,
            fingerprint=self.fingerprint(protocol.split),
            seed=self.trial.seed,
            device=str(self.place.device),
            data_folder=self.place.data,
            progress=self.show.count,
            **rest,
        )


class Samples:
    """What is scored of a trained model. Images and codes are made when first asked for, once for all protocols.

    `seconds` is the time that the generated images took.
    """

    def __init__(self, job: Job, model: Baseline) -> None:
        self.job, self.model, self.seconds = job, model, 0.0
        self.generated, self.codes = cache(self._generate), cache(self._codes)

    def score(self, protocol: Protocol, only: set[str], draws: int) -> evaluation.Scores:
        """Evaluate `only` these metrics of a protocol, of so many sets of generated images."""
        real = self.job.images(protocol.split)
        n = protocol.images(len(real))
        return self.job._evaluate(
            protocol,
            self.generated(n, draws),
            real,
            only=only,
            reconstructions=lambda: self._pairs,
            interpolations=lambda: self._halfway,
            codes=lambda: self.codes(n),
            training_images=lambda: self.job.training_set,
            test_images=lambda: self._test,
        )

    def _generate(self, n: int, draws: int) -> list[Images]:
        begin = time.perf_counter()
        made = [sampling.generate(self.model, n, draw=draw, **self._at) for draw in range(draws)]
        self.seconds += time.perf_counter() - begin
        return made

    @property
    def _at(self) -> dict[str, Any]:
        return {"seed": self.job.trial.seed, "device": self.job.place.device}

    @cached_property
    def _test(self) -> Images:
        return np.asarray(self.job.images("test"))

    @cached_property
    def _pairs(self) -> tuple[Images, Images] | None:
        """Test images and their reconstructions."""
        z = self._test_codes
        return None if z is None else (self._test, sampling.decode(self.model, z))

    @cached_property
    def _halfway(self) -> Images | None:
        z = self._test_codes
        if z is None or not z.is_floating_point():
            return None
        return sampling.halfway(self.model, z, seed=self.job.trial.seed)

    @cached_property
    def _test_codes(self) -> torch.Tensor | None:
        return sampling.encode(self.model, self._test, **self._at)

    def _codes(self, n: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Codes of training images, any n of them, and as many sampled ones."""
        encoded = sampling.encode(self.model, subset(self.job.training_set, n), **self._at)
        if encoded is None or not encoded.is_floating_point():
            return None
        drawn = sampling.sample_codes(self.model, len(encoded), **self._at)
        return encoded.cpu().numpy(), drawn.cpu().numpy()
