"""From a trained model to its scores: the images and codes that metrics ask for, made once for all protocols."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aegen_bench import evaluation
from aegen_bench.baseline import Baseline
from aegen_bench.errors import BrokenContract
from aegen_bench.evaluation import Protocol
from aegen_bench.evaluation.features import chosen, subset
from aegen_bench.training.probe import Probe
from aegen_bench.trial import sampling
from aegen_bench.trial.job import Job

__all__ = ["Samples", "probe"]

Images = NDArray[np.uint8]


class Samples:
    """What is scored of a trained model. Images and codes are made when a metric first asks for them.

    `seconds` is the time that generating images has taken.
    """

    def __init__(self, job: Job, model: Baseline) -> None:
        self.job, self.model, self.seconds = job, model, 0.0
        self.generated, self.codes = cache(self._generate), cache(self._codes)

    def score(self, protocol: Protocol, only: set[str], draws: int) -> evaluation.Scores:
        """Evaluate `only` these metrics of a protocol on `draws` sets of generated images."""
        real = self.job.images(protocol.split)
        n = protocol.images(len(real))
        return _evaluate(
            self.job,
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
        return {"seed": self.job.trial.seed, "device": self.job.device}

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
        if encoded.shape != drawn.shape:
            ours, theirs = (tuple(codes.shape[1:]) for codes in (encoded, drawn))
            raise BrokenContract(f"a code of encode(x) has shape {ours}, one of prior(e) {theirs}: decode takes both")
        return encoded.cpu().numpy(), drawn.cpu().numpy()


def probe(job: Job, images: torch.Tensor) -> Probe | None:
    """What a row's `probe` asks for while it trains on `images`: the first protocol's distance, on fewer images."""
    settings = job.trial.config.get("probe")
    if settings is None:
        return None
    small = job.protocols[0].model_copy(update={"count": settings["images"], "metrics": ("fd",)})
    real = job.images(small.split)
    test = torch.from_numpy(np.array(subset(job.images("test"), settings["images"]))).to(job.device)
    train = images[torch.from_numpy(chosen(len(images), settings["images"])).to(images.device)]

    def measure(model: Baseline) -> dict[str, float]:
        n = small.images(len(real))
        generated = sampling.generate(model, n, seed=job.trial.seed, draw=0, device=job.device)
        return _evaluate(job, small, [generated], real).draws[0]

    return Probe(settings["every"], train.to(job.device), test, measure)


def _evaluate(
    job: Job, protocol: Protocol, generated: Sequence[Images], real: Images, **rest: Any
) -> evaluation.Scores:
    """`evaluation.evaluate` with what every call for this job has in common."""
    return evaluation.evaluate(
        protocol,
        dataset=job.trial.dataset,
        generated=generated,
        real=real,
        fingerprint=job.fingerprint(protocol.split),
        seed=job.trial.seed,
        device=str(job.device),
        data_folder=job.place.data,
        progress=job.show.count,
        **rest,
    )
