"""Images of one trained model -> its numbers under one protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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

__all__ = ["Scores", "evaluate"]

Progress = Callable[[str, int, int], None]  # what is being done, images done, images in all


@dataclass
class Scores:
    """The numbers of one model under one protocol, and how they came about.

    `draws` has one {name: number} a generated set, `model` the numbers made once; `settings` an entry for
    each metric tried, `failed` the reason of each that raised. `curves` (of the first draw) and `seconds` are
    not part of the record's `entry`.
    """

    draws: list[dict[str, float]]
    model: dict[str, float] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    curves: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"features": 0.0, "metrics": 0.0})

    def entry(self) -> dict[str, Any]:
        """Return what stands in a record under the protocol's id."""
        return {"draws": self.draws, "model": self.model, "settings": self.settings, "failed": self.failed}


def evaluate(
    protocol: Protocol,
    *,
    dataset: str,
    generated: Sequence[Images],
    real: Images,
    fingerprint: str,
    seed: int,
    device: str,
    data_folder: Path,
    only: set[str] | None = None,
    progress: Progress | None = None,
    reconstructions: Callable[[], tuple[Images, Images] | None] | None = None,
    interpolations: Callable[[], Images | None] | None = None,
    codes: Callable[[], tuple[Codes, Codes] | None] | None = None,
    training_images: Callable[[], Images] | None = None,
    test_images: Callable[[], Images] | None = None,
) -> Scores:
    """Score generated sets of one model, uint8 [n, c, h, w] each.

    n is `protocol.images(len(real))`; `real` are images of `dataset`, `fingerprint` stands for their content; `only`
    restricts the protocol's metrics. The functions are called if a metric asks: (originals, reconstructions), images
    half-way between test images, (codes of training images, as many sampled codes) [m, ...], and both splits; None
    where a model has them not. A metric that raises is recorded as failed and stops no other, but for Diverged, which
    an image that is not finite raises; wrong images are a UserError.
    """
    for name in (only or set()) - set(protocol.metrics):
        raise errors.unknown("metric of the protocol", name, protocol.metrics)
    chosen = {name: metrics.load(name) for name in protocol.metrics if only is None or name in only}
    n = _check_images(protocol, generated, real)
    from aegen_bench.evaluation.features import FeatureSource, subset

    start = time.perf_counter()
    source = FeatureSource(protocol, dataset=dataset, device=device, data_folder=data_folder, progress=progress)
    scores = Scores(draws=[{} for _ in generated])

    def moments(images: Images | None, what: str) -> Moments | None:
        return None if images is None else source.moments(subset(images, n), what)

    def restored() -> Images | None:
        pairs = reconstructions and reconstructions()
        return pairs[1] if pairs else None

    inputs = Inputs(
        real_features=partial(source.real, real, fingerprint),
        real_reference=partial(source.reference, real, fingerprint),
        reconstruction_pairs=reconstructions,
        seed=seed,
        distance_key=protocol.distance_key,
        reconstruction_moments=lambda: moments(restored(), "reconstructions"),
        interpolation_moments=lambda: moments(interpolations and interpolations(), "interpolations"),
        code_sets=codes,
        training_set=training_images and cache(training_images),
        test_set=test_images and cache(test_images),
    )
    for name, metric in chosen.items():
        counts = {"n_generated": n, "n_real": n} if metric.PER == "draw" else {}
        scores.settings[name] = {**metric.SETTINGS, **counts}
        if metric.PER == "model":
            _measure(name, metric, inputs, scores.model, scores)
    of_draws = {name: metric for name, metric in chosen.items() if metric.PER == "draw"}
    light = all(getattr(metric, "READS", "features") == "moments" for metric in of_draws.values())
    for index, images in enumerate(generated):  # draw by draw: the features of one at a time are held, if at all
        told = f"draw {index + 1}"
        of_draw = replace(
            inputs,
            generated_features=cache(partial(source.generated, images, told)),
            generated_moments=cache(partial(source.moments, images, told)) if light else None,
            generated_images=images,
        )
        for name, metric in of_draws.items():
            _measure(name, metric, of_draw, scores.draws[index], scores)
    for name in scores.failed:  # the mean over draws must be over all of them
        values = chosen[name].VALUES
        scores.draws = [{k: v for k, v in draw.items() if k not in values} for draw in scores.draws]

    seconds = time.perf_counter() - start
    scores.seconds = {"features": source.seconds, "metrics": seconds - source.seconds}
    return scores


def _measure(name: str, metric: Metric, inputs: Inputs, into: dict[str, float], scores: Scores) -> None:
    """Put the metric's numbers `into` their place, or write down in `scores` why there are none."""
    if name in scores.failed:
        return
    try:
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


def _check_images(protocol: Protocol, generated: Sequence[Images], real: Images) -> int:
    """Return how many images a set has, after checking each."""
    from aegen_bench.evaluation.features import check_images

    n = protocol.images(len(check_images(real, "real images")))
    for index, images in enumerate(generated):
        what = f"generated images of draw {index + 1}"
        check_images(images, what)
        if len(images) != n or images.shape[1:] != real.shape[1:]:
            raise UserError(f"{what} have shape {images.shape}, the protocol compares {(n, *real.shape[1:])}")
    return n
