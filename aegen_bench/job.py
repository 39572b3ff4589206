"""What a trial works with: its images, and the way from a trained model to scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aegen_bench import catalog, data, evaluation, sampling, seeding
from aegen_bench.baseline import Baseline
from aegen_bench.evaluation import Protocol
from aegen_bench.progress import Progress
from aegen_bench.study import Trial
from aegen_bench.training import Probe

__all__ = ["Job", "Place", "Samples"]

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """Where trials find their data, leave their results and weights, and compute."""

    data: Path
    results: Path
    weights: Path
    device: torch.device


class Samples:
    """What a trained model makes to be scored: each part when it is first asked for, and once for all protocols.

    `generated(n)` gives a set a draw; `reconstructions()` the pair (test images, reconstructions), `interpolations()`
    and `codes(n)`, of training images and sampled ones, are None where the model has them not.
    """

    def __init__(self, job: Job, model: Baseline) -> None:
        seed, device = job.trial.seed, job.place.device

        def reconstructions() -> tuple[Images, Images] | None:
            restored = sampling.reconstruct(model, self.test(), seed=seed, device=device)
            return None if restored is None else (self.test(), restored)

        def codes(n: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
            encoded = sampling.encode(model, self.training()[:n], seed=seed, device=device)
            if encoded is None:
                return None
            drawn = sampling.sample_codes(model, len(encoded), seed=seed, device=device)
            return encoded.cpu().numpy(), drawn.cpu().numpy()

        def generated(n: int) -> list[Images]:
            return [sampling.generate(model, n, seed=seed, draw=k, device=device) for k in range(job.draws)]

        self.test = cache(lambda: np.asarray(job.images("test")))
        self.training = cache(lambda: job.training_images()[0].cpu().numpy())
        self.generated, self.reconstructions, self.codes = cache(generated), cache(reconstructions), cache(codes)
        self.interpolations = cache(lambda: sampling.halfway(model, self.test(), seed=seed, device=device))


@dataclass(frozen=True)
class Job:
    """A trial, the source of its baseline, how it is scored, and where."""

    trial: Trial
    entry: catalog.Entry
    protocols: Sequence[Protocol]
    draws: int
    place: Place
    show: Progress

    @property
    def folder(self) -> Path:
        return self.trial.folder(self.place.results)

    def images(self, split: data.Split) -> Images:
        """A whole split, uint8 NCHW, memory-mapped."""
        told = partial(self.show.count, f"preparing {self.trial.dataset}, {split}")
        return data.load(self.trial.dataset, self._recipe, self.place.data, split, progress=told)

    def fingerprint(self, split: data.Split) -> str:
        return data.fingerprint(self.trial.dataset, self._recipe, self.place.data, split)

    def training_images(self) -> tuple[torch.Tensor, int]:
        """The training set on the device, uint8 NCHW, and the size of the whole of it.

        A profile's `train_images` is a fixed random subset: the same for every row and seed.
        """
        images = self.images("train")
        count = self.trial.config.get("train_images") or len(images)
        order = torch.randperm(len(images), generator=seeding.stream(0, "subset"))
        chosen = order[:count].sort().values.numpy() if count < len(images) else slice(None)
        return torch.from_numpy(np.array(images[chosen])).to(self.place.device), len(images)

    def score(
        self, samples: Samples, protocol: Protocol, seconds: dict[str, float], only: set[str] | None = None
    ) -> evaluation.Scores:
        """Evaluate what a model makes under a protocol, adding to `seconds`."""
        real = self.images(protocol.split)
        n = protocol.images(len(real))
        begin = time.perf_counter()
        generated = samples.generated(n)
        sampled = time.perf_counter() - begin
        scores = self._evaluate(
            protocol,
            generated,
            real,
            reconstructions=samples.reconstructions(),
            only=only,
            interpolations=samples.interpolations,
            codes=lambda: samples.codes(n),
            training_images=samples.training,
            test_images=samples.test,
        )
        for kind, spent in {"sample": sampled, **scores.seconds}.items():
            seconds[kind] = seconds.get(kind, 0.0) + spent
        return scores

    def probe(self, images: torch.Tensor) -> Probe | None:
        """What a row's `probe` asks for while it trains on `images`: the first protocol's distance, on fewer images."""
        settings = self.trial.config.get("probe")
        if settings is None:
            return None
        small = self.protocols[0].model_copy(update={"count": settings["images"], "metrics": ("fd",)})
        real = self.images(small.split)
        test = torch.from_numpy(np.array(self.images("test")[: settings["images"]])).to(self.place.device)

        def measure(model: Baseline) -> dict[str, float]:
            n = small.images(len(real))
            generated = sampling.generate(model, n, seed=self.trial.seed, draw=0, device=self.place.device)
            return self._evaluate(small, [generated], real, reconstructions=None).draws[0]

        return Probe(settings["every"], images[: settings["images"]], test, measure)

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
