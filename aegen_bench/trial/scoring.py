"""The scores of a trained model: makes the images and codes that metrics need, once for all protocols."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from aegen_bench import data, results
from aegen_bench.baseline import Baseline
from aegen_bench.errors import BrokenContract, UserError
from aegen_bench.evaluation import Protocol, Subject, metrics
from aegen_bench.evaluation.features import chosen, subset
from aegen_bench.evaluation.scorer import GivenImages, Scorer
from aegen_bench.numerics.pixels import at_once
from aegen_bench.prior import Pair
from aegen_bench.results.record import TrunkUsed
from aegen_bench.training.probe import Probe
from aegen_bench.trial import artefacts, sampling, trunk_codes
from aegen_bench.trial.job import Job

__all__ = ["Samples", "probe", "scorer"]

OF_THE_TRUNK = ("reconstruction", "reconstruction_fd", "interpolation_fd")
"""Metrics that depend on encoder and decoder, but not on the prior."""

Images = NDArray[np.uint8]
Codes = NDArray[np.floating]


class Samples(Subject):
    """A trained model as the subject of scoring. Images and codes are made when a metric first needs them.

    `trunk` names the weights of a pair's trunk. `seconds` is the time spent generating images, and `facts` has what the
    model logged meanwhile.
    """

    def __init__(self, job: Job, model: Baseline, trunk: TrunkUsed | None) -> None:
        self.job, self.model, self.trunk, self.seed = job, model, trunk, job.trial.seed
        self.seconds, self.facts = 0.0, dict[str, float]()
        self._generated, self._both_codes = cache(self._generate), cache(self._codes)

    def generated(self, n: int, draw: int) -> Images:
        return self._generated(n, draw)

    def known(self, protocol: Protocol) -> dict[str, tuple[dict[str, float], dict[str, Any]]]:
        """Return, for a pair, the metrics of its trunk that do not depend on the prior, if the trunk's record is there
        and is that of the weights which the pair uses.
        """
        if not isinstance(self.model, Pair) or self.job.trunk is None or self.trunk is None:
            return {}
        try:
            trunk = results.read_record(self.job.trunk.record)
        except UserError:
            return {}
        if trunk.weights_sha256 != self.trunk.weights_sha256:
            return {}
        there = trunk.metrics.get(protocol.id)
        if there is None or there.about.get("real_sha256") != self.job.fingerprint(protocol.split):
            return {}
        found = {}
        for name in (name for name in OF_THE_TRUNK if name in there.settings and name not in there.failed):
            measured = {key: there.model.get(key) for key in metrics.load(name).VALUES}
            numbers = {key: float(value) for key, value in measured.items() if value is not None}
            found[name] = numbers, {**there.settings[name], "measured_of": trunk.key}
        return found

    def codes(self, n: int) -> tuple[Codes, Codes] | None:
        return self._both_codes(n)

    def reconstructions(self) -> tuple[Images, Images] | None:
        return self._pairs

    def interpolations(self) -> Images | None:
        return self._halfway

    def neighbour_interpolations(self) -> Images | None:
        return self._near

    def test_codes(self, n: int) -> tuple[Codes, Codes] | None:
        z = self._float_test_codes
        if z is None:
            return None
        chosen_z = z[torch.from_numpy(chosen(len(z), n)).to(z.device)]
        drawn = sampling.sample_codes(self.model, len(chosen_z), **self._at)
        return chosen_z.cpu().numpy(), drawn.cpu().numpy()

    def log_prior(self, n: int) -> tuple[NDArray[np.floating], int] | None:
        z = self._float_test_codes
        if z is None or not self.model.has_density:
            return None
        found = []
        with torch.no_grad():
            for codes in torch.split(z[:n], at_once(self.model.nets.shape)):
                found.append(self.model.eval().log_prior(codes))
                if found[-1].shape != codes.shape[:1]:
                    shape = tuple(found[-1].shape)
                    raise BrokenContract(f"log_prior returns shape {shape} for {len(codes)} codes, but needs [n]")
        return torch.cat(found).double().cpu().numpy(), z[0].numel()

    def training_images(self) -> Images:
        return self.job.training_set

    def test_images(self) -> Images:
        return self._test

    def begins(self, protocol: Protocol) -> None:
        self.job.show.phase(f"scoring with protocol {protocol.name}")

    def about(self, seconds: dict[str, float]) -> dict[str, dict[str, float]]:
        return {"facts": self.facts, "seconds": {"sample": self.seconds, **seconds}}

    def keep(self, curves: dict[str, NDArray[np.float64]]) -> None:
        artefacts.add_curves(self.job.folder, curves)

    def fact(self, name: str, value: torch.Tensor) -> None:
        """Store a value that the model logged while sampling."""
        self.facts[name] = float(value)

    def _generate(self, n: int, draw: int) -> Images:
        begin = time.perf_counter()
        made = sampling.generate(self.model, n, draw=draw, **self._at)
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
        z = self._float_test_codes
        return None if z is None else sampling.halfway(self.model, z, seed=self.seed)

    @cached_property
    def _near(self) -> Images | None:
        z = self._float_test_codes
        return None if z is None else sampling.halfway_to_nearest(self.model, z)

    @property
    def _float_test_codes(self) -> torch.Tensor | None:
        z = self._test_codes
        return z if z is not None and z.is_floating_point() else None

    @cached_property
    def _test_codes(self) -> torch.Tensor | None:
        encode = partial(sampling.encode, self.model, self._test, **self._at)
        if self.trunk is None:
            return encode()
        images, always = self.job.fingerprint("test"), cast(Callable[[], torch.Tensor], encode)
        return trunk_codes.kept("test", self.trunk, images, len(self._test), self.job.device, always)

    def _codes(self, n: int) -> tuple[Codes, Codes] | None:
        """Return the codes of n training images, and as many sampled codes."""
        encoded = sampling.encode(self.model, subset(self.job.training_set, n), **self._at)
        if encoded is None or not encoded.is_floating_point():
            return None
        drawn = sampling.sample_codes(self.model, len(encoded), **self._at)
        if encoded.shape != drawn.shape:
            ours, theirs = (tuple(codes.shape[1:]) for codes in (encoded, drawn))
            raise BrokenContract(f"encode(x) returns codes of shape {ours}, but prior(e) of shape {theirs}")
        return encoded.cpu().numpy(), drawn.cpu().numpy()


def probe(job: Job, images: torch.Tensor) -> Probe | None:
    """Return the row's probe for training on `images`, if it has one: the first protocol's distance on fewer images."""
    settings = job.trial.config.get("probe")
    if settings is None:
        return None
    small = job.protocols[0].model_copy(update={"count": settings["images"], "metrics": ("fd",)})
    compare = scorer(job, [small])
    test = torch.from_numpy(np.array(subset(job.images("test"), settings["images"]))).to(job.device)
    positions = torch.from_numpy(chosen(len(images), settings["images"])).to(images.device)

    def measure(model: Baseline) -> dict[str, float]:
        seed = job.trial.seed
        made = partial(sampling.generate, model, seed=seed, draw=0, device=job.device)
        scores = compare.score(small, GivenImages(made, seed))
        for why in scores.failed.values():
            job.show.note(f"a probe has no distance: {why}")
        return scores.draws[0]

    train = images[positions].to(job.device)
    return Probe(settings["every"], train, test, measure, positions.to(job.device))


def scorer(job: Job, protocols: Sequence[Protocol]) -> Scorer:
    """Return the scorer of a job's model under these protocols."""

    def real(split: data.Split) -> tuple[Images, str]:
        return job.images(split), job.fingerprint(split)

    return Scorer(job.trial.dataset, real, protocols, job.place.data, job.device, job.show)
