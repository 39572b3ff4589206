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

__all__ = ["Job", "Place"]

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """Where trials find their data, leave their results and weights, and compute."""

    data: Path
    results: Path
    weights: Path
    device: torch.device


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
        self, model: Baseline, protocol: Protocol, seconds: dict[str, float], only: set[str] | None = None
    ) -> tuple[evaluation.Scores, tuple[Images, Images] | None]:
        """Sample and evaluate, adding to `seconds`. Returns the scores, and (test images, reconstructions) or None."""
        seed, device = self.trial.seed, self.place.device
        real, test = self.images(protocol.split), self.images("test")
        n = protocol.images(len(real))
        begin = time.perf_counter()
        generated = [sampling.generate(model, n, seed=seed, draw=k, device=device) for k in range(self.draws)]
        sampled = time.perf_counter() - begin
        restored = sampling.reconstruct(model, test, seed=seed, device=device)
        pairs = None if restored is None else (np.asarray(test), restored)

        @cache
        def training() -> Images:
            return self.training_images()[0].cpu().numpy()

        def codes() -> tuple[NDArray[Any], NDArray[Any]] | None:
            encoded = sampling.encode(model, training()[:n], seed=seed, device=device)
            if encoded is None:
                return None
            drawn = sampling.sample_codes(model, len(encoded), seed=seed, device=device)
            return encoded.cpu().numpy(), drawn.cpu().numpy()

        scores = self._evaluate(
            protocol,
            generated,
            real,
            reconstructions=pairs,
            only=only,
            interpolations=lambda: sampling.halfway(model, test, seed=seed, device=device),
            codes=codes,
            training_images=training,
            test_images=lambda: np.asarray(test),
        )
        for kind, spent in {"sample": sampled, **scores.seconds}.items():
            seconds[kind] = seconds.get(kind, 0.0) + spent
        return scores, pairs

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
