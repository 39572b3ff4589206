"""Evaluates one generator under one protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench import errors
from aegen_bench.errors import BrokenContract, Diverged, UserError
from aegen_bench.evaluation import metrics
from aegen_bench.evaluation.frechet import Moments
from aegen_bench.evaluation.metric import Codes, Images, Inputs, Metric, NotApplicable
from aegen_bench.evaluation.protocol import Protocol

__all__ = ["Scores", "Subject", "evaluate"]

Progress = Callable[[str, int, int], None]  # current step, images done, images in total


@dataclass
class Scores:
    """The numbers of one model under one protocol.

    `draws` has one {name: number} per generated set, `model` the numbers measured once per model. `settings` has an
    entry for each metric that was tried, `failed` the reason for each that raised. `curves` (of the first draw) and
    `seconds` are not part of the record's `entry`.
    """

    draws: list[dict[str, float]]
    model: dict[str, float] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    curves: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"features": 0.0, "metrics": 0.0})

    def entry(self) -> dict[str, Any]:
        """Return the part that a record stores under the protocol's id."""
        return {"draws": self.draws, "model": self.model, "settings": self.settings, "failed": self.failed}


class Subject:
    """What is scored: generated images and, for a model, everything else that a metric can read.

    Everything is computed on first use. A method returns None for what the subject lacks, and the metrics that need it
    do not apply. A subclass defines at least `generated`; this class returns None for the rest.
    """

    seed = 0
    """Seed of the metrics that draw random subsets."""

    def generated(self, n: int, draw: int) -> Images:
        """Return the n images of a draw, uint8 [n, c, h, w]."""
        raise NotImplementedError

    def reconstructions(self) -> tuple[Images, Images] | None:
        """Return test images and their reconstructions, uint8 [m, c, h, w] each."""
        return None

    def interpolations(self) -> Images | None:
        """Return images decoded half-way between the codes of two test images, uint8 [m, c, h, w]."""
        return None

    def neighbour_interpolations(self) -> Images | None:
        """Return images decoded half-way between the code of a test image and its nearest neighbour, uint8
        [m, c, h, w].
        """
        return None

    def codes(self, n: int) -> tuple[Codes, Codes] | None:
        """Return the codes of (at most n) training images and as many sampled codes, [m, ...] each."""
        return None

    def test_codes(self, n: int) -> tuple[Codes, Codes] | None:
        """Return the codes of (at most n) test images and as many sampled codes, [m, ...] each."""
        return None

    def log_prior(self, n: int) -> tuple[NDArray[np.floating], int] | None:
        """Return the prior's log density [m] at the codes of (at most n) test images, and the dimensions of a code."""
        return None

    def training_images(self) -> Images | None:
        """Return the images that the generator was trained on, uint8 [m, c, h, w]."""
        return None

    def test_images(self) -> Images | None:
        """Return the test images of the dataset, uint8 [m, c, h, w]."""
        return None

    def known(self, protocol: Protocol) -> dict[str, tuple[dict[str, float], dict[str, Any]]]:
        """Return the metrics already known under a protocol, from another subject with the same values: the numbers and
        settings of each.
        """
        return {}

    def begins(self, protocol: Protocol) -> None:
        """Called before the metrics of a protocol are measured."""

    def about(self, seconds: dict[str, float]) -> dict[str, dict[str, float]]:
        """Return what the first evaluation adds to a record besides the scores; `seconds` is the time they took."""
        return {}

    def keep(self, curves: dict[str, NDArray[np.float64]]) -> None:
        """Called with the curves of an evaluation, to store them."""


def evaluate(
    protocol: Protocol,
    subject: Subject,
    *,
    dataset: str,
    real: Images,
    fingerprint: str,
    device: str,
    data_folder: Path,
    draws: int = 1,
    only: set[str] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score a subject on `draws` generated sets, each of `protocol.images(len(real))` images.

    `real` are images of `dataset`, uint8 [n, c, h, w], and `fingerprint` identifies their content. `only` restricts the
    protocol's metrics. A metric that raises is recorded as failed, and the others are still measured; Diverged and
    BrokenContract, however, are the model's fault and are raised. UserError for images of a wrong shape or type.
    """
    for name in (only or set()) - set(protocol.metrics):
        raise errors.unknown("metric of the protocol", name, protocol.metrics)
    chosen = {name: metrics.load(name) for name in protocol.metrics if only is None or name in only}
    of_draws = {name: metric for name, metric in chosen.items() if metric.PER == "draw"}
    from aegen_bench.evaluation.features import FeatureSource, check_images, subset

    n = protocol.images(len(check_images(real, "real images")))
    wanted = draws if of_draws else 0  # a model's own metrics need no samples
    generated = [_checked(subject.generated(n, draw), draw, (n, *real.shape[1:])) for draw in range(wanted)]
    start = time.perf_counter()
    source = FeatureSource(protocol, dataset=dataset, device=device, data_folder=data_folder, progress=progress)
    scores = Scores(draws=[{} for _ in range(draws)])

    def moments(images: Images | None, what: str) -> Moments | None:
        return None if images is None else source.moments(subset(images, n), what)

    inputs = Inputs(
        real_features=partial(source.real, real, fingerprint),
        real_reference=partial(source.reference, real, fingerprint),
        seed=subject.seed,
        distance_key=protocol.distance_key,
        device=device,
        reconstruction_pairs=subject.reconstructions,
        reconstruction_moments=lambda: moments((subject.reconstructions() or (None, None))[1], "reconstructions"),
        interpolation_moments=lambda: moments(subject.interpolations(), "interpolations"),
        neighbour_moments=lambda: moments(subject.neighbour_interpolations(), "interpolations of neighbours"),
        code_sets=partial(subject.codes, n),
        test_code_sets=partial(subject.test_codes, n),
        code_densities=partial(subject.log_prior, n),
        training_features=lambda: None if protocol.split == "train" else source.training(subject.training_images()),
        training_set=subject.training_images,
        test_set=subject.test_images,
    )
    for name, metric in chosen.items():
        counts = {"n_generated": n, "n_real": n} if metric.PER == "draw" else {}
        scores.settings[name] = {**metric.SETTINGS, **counts}
        if metric.PER == "model":
            _measure(name, metric, inputs, scores.model, scores)
    light = all(getattr(metric, "READS", "features") == "moments" for metric in of_draws.values())
    for index, images in enumerate(generated):  # one draw at a time, so that only its features are in memory
        told = f"draw {index + 1}"
        of_draw = replace(
            inputs,
            generated_features=cache(partial(source.generated, images, told)),
            generated_moments=cache(partial(source.moments, images, told)) if light else None,
            generated_images=images,
        )
        for name, metric in of_draws.items():
            _measure(name, metric, of_draw, scores.draws[index], scores)
    not_applicable = [name for name, settings in scores.settings.items() if "not_applicable" in settings]
    for name in (*scores.failed, *not_applicable):  # a mean over some of the draws would be misleading
        values = chosen[name].VALUES
        scores.draws = [{k: v for k, v in draw.items() if k not in values} for draw in scores.draws]

    seconds = time.perf_counter() - start
    scores.seconds = {"features": source.seconds, "metrics": seconds - source.seconds}
    return scores


def _measure(name: str, metric: Metric, inputs: Inputs, into: dict[str, float], scores: Scores) -> None:
    """Add the metric's numbers to `into`, or to `scores` the reason why there are none."""
    from aegen_bench.evaluation.features import full_float32

    if name in scores.failed:
        return
    try:
        with full_float32():
            measured = dict(metric.measure(inputs))
        settings = measured.pop("settings", {})
        numbers = {key: float(value) for key, value in measured.items() if np.ndim(value) == 0}
        if not np.isfinite([*numbers.values()]).all():
            raise ValueError(f"not finite: {numbers}")
    except NotApplicable as reason:
        scores.settings[name]["not_applicable"] = str(reason)
    except (BrokenContract, Diverged):
        raise
    except UserError as error:
        scores.failed[name] = str(error)
    except Exception as error:
        scores.failed[name] = f"{type(error).__name__}: {error}"
    else:
        into.update(numbers)
        scores.settings[name].update(settings)
        for key, value in measured.items():
            if np.ndim(value) > 0:
                scores.curves.setdefault(key, np.asarray(value))


def _checked(images: Images, draw: int, shape: tuple[int, ...]) -> Images:
    from aegen_bench.evaluation.features import check_images

    what = f"generated images of draw {draw + 1}"
    check_images(images, what)
    if images.shape != shape:
        raise UserError(f"{what} have shape {images.shape}, the protocol compares {shape}")
    return images
