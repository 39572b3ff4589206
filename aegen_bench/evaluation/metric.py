"""The interface of a metric. Each metric is one file of `metrics/`, found by its name.

The file defines `measure(inputs) -> {name: number}` and declares `PER` ("draw": run on each generated set; "model":
run once per model), `VALUES` (unit of each number, and whether lower or higher is better), `SETTINGS` (stored with the
numbers) and `SOURCE`. It sets `READS = "moments"` if it needs only the mean and covariance of the generated features.
If a returned value is an array, it is a curve, and that of the first draw is stored. Settings that depend on the inputs
are returned as a dictionary called "settings", which is merged into `SETTINGS`. To add a metric, add its file and name
it in a protocol. Reports import these files too, so import torch, scipy and sklearn inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from aegen_bench import errors
from aegen_bench.evaluation.frechet import Moments, Reference, moments, placed

__all__ = [
    "DISTANCES",
    "Codes",
    "Distance",
    "Features",
    "Images",
    "Inputs",
    "Measured",
    "Metric",
    "NotApplicable",
    "Value",
    "described",
    "distance_name",
    "distance_of",
    "load",
    "names",
]

FOLDER = Path(__file__).parent / "metrics"

Features = NDArray[np.float32]
Images = NDArray[np.uint8]
Codes = NDArray[np.floating]
Measured = dict[str, Any]
T = TypeVar("T")

Distance = Literal["fid", "fd", "fwd"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def distance_name(extractor: str) -> Distance:
    """Return the name of the Fréchet distance of this extractor's features: "fid" with the Inception weights of 2015
    only, "fwd" for wavelet packets, otherwise "fd".
    """
    return "fid" if extractor == "inception" else "fwd" if extractor == "wavelet" else "fd"


def distance_of(numbers: Mapping[str, float | None]) -> float | None:
    """Return the Fréchet distance of a draw, under whichever of its names it was stored; None if there is none."""
    return next((value for name in DISTANCES if (value := numbers.get(name)) is not None), None)


class NotApplicable(Exception):
    """Raised when the model lacks what a metric measures. Not a failure, and not retried."""


NO_RECONSTRUCTIONS = "no reconstructions: the model has no encoder"
NO_HALF_WAY = "no interpolations: the model has no encoder, or its codes have no half-way"
NO_CODES = "no codes: the model has no encoder, or its codes are not numbers"


class Value(NamedTuple):
    """How to read one number of a metric."""

    better: Literal["lower", "higher"]
    unit: str


@dataclass(frozen=True)
class Inputs:
    """What a metric can read. Features, float32 [n, dim], and images are computed on first use.

    Features in packets, [n, packets, dim], have moments only: no metrics but Fréchet distances apply to them. A field
    is None if the model or the caller cannot provide it; its property then raises NotApplicable.
    """

    real_features: Callable[[], Features]
    seed: int
    distance_key: Distance
    device: str = "cpu"  # for large computations; the results on "cpu" are the reference
    generated_features: Callable[[], Features] | None = None  # None for metrics with PER = "model"
    generated_moments: Callable[[], Moments] | None = None  # set if no metric of the draw reads the features
    generated_images: Images | None = None  # None for metrics with PER = "model"
    real_reference: Callable[[], Reference] | None = None
    reconstruction_pairs: Callable[[], tuple[Images, Images] | None] | None = None
    reconstruction_moments: Callable[[], Moments | None] | None = None
    interpolation_moments: Callable[[], Moments | None] | None = None
    neighbour_moments: Callable[[], Moments | None] | None = None
    code_sets: Callable[[], tuple[Codes, Codes] | None] | None = None
    test_code_sets: Callable[[], tuple[Codes, Codes] | None] | None = None
    code_densities: Callable[[], tuple[NDArray[np.floating], int] | None] | None = None
    training_features: Callable[[], Features | None] | None = None
    training_set: Callable[[], Images | None] | None = None
    test_set: Callable[[], Images | None] | None = None
    memory: dict[str, Any] = field(default_factory=dict)  # shared by the draws of one model

    def once(self, key: str, compute: Callable[[], T]) -> T:
        """Return `compute()`, computed once for all draws and metrics; it must not depend on the draw."""
        if key not in self.memory:
            self.memory[key] = compute()
        return cast(T, self.memory[key])

    @property
    def generated(self) -> Features:
        """Features of the generated images, float32 [n, dim]."""
        return _flat(self._generated())

    def _generated(self) -> Features:
        if self.generated_features is None:
            raise TypeError('a metric with PER = "model" sees no generated set')
        return self.generated_features()

    @property
    def moments(self) -> Moments:
        """Mean and covariance of the generated features; the features are not held if no other metric reads them."""
        return (
            self.generated_moments()
            if self.generated_moments is not None
            else moments(self.on_device(self._generated()))
        )

    @property
    def real(self) -> Features:
        """Features of the real images, float32 [n, dim]."""
        return _flat(self.real_features())

    @property
    def reference(self) -> Reference:
        """The real side of a Fréchet distance, on the device."""
        compute = self.real_reference or (lambda: Reference.of(moments(self.real_features())))
        return self.once("reference", lambda: compute().on(self.device))

    def on_device(self, features: Features) -> Any:
        """Return features in the form that `frechet` takes: a tensor on a GPU, the array itself on the CPU."""
        return placed(features, self.device)

    @property
    def reconstructions(self) -> tuple[Images, Images]:
        """Test images and their reconstructions, uint8 [n, c, h, w] each."""
        return _given(self.reconstruction_pairs, NO_RECONSTRUCTIONS)

    @property
    def reconstructed(self) -> Moments:
        """Moments of the features of the reconstructions."""
        return _given(self.reconstruction_moments, NO_RECONSTRUCTIONS)

    @property
    def interpolated(self) -> Moments:
        """Moments of the features of images decoded half-way between the codes of two random test images."""
        return _given(self.interpolation_moments, NO_HALF_WAY)

    @property
    def interpolated_nearest(self) -> Moments:
        """Moments of the features of images decoded half-way between the code of a test image and its nearest
        neighbour.
        """
        return _given(self.neighbour_moments, NO_HALF_WAY)

    @property
    def training(self) -> Features:
        """Features of the generator's training images, float32 [m, dim], if the real images are other ones."""
        lacking = "no training images beside the real ones: the generator was not trained here"
        return _flat(_given(self.training_features, lacking))

    @property
    def test_codes(self) -> tuple[Codes, Codes]:
        """Codes of test images and as many sampled codes, one row per code."""
        return _given(self.test_code_sets, NO_CODES)

    @property
    def code_log_prior(self) -> tuple[NDArray[np.floating], int]:
        """The prior's log density at the codes of test images, in nats [n], and the number of dimensions of a code."""
        return _given(self.code_densities, "no density of codes: the method has no encoder, or no `log_prior`")

    @property
    def codes(self) -> tuple[Codes, Codes]:
        """Codes of training images and as many sampled codes, one row per code."""
        return _given(self.code_sets, NO_CODES)

    @property
    def images(self) -> tuple[Images, Images, Images]:
        """Generated, training and test images, uint8 [n, c, h, w]."""
        if self.generated_images is None:
            raise TypeError('a metric with PER = "model" sees no generated set')
        lacking = "no training images: the generator was not trained here"
        return self.generated_images, _given(self.training_set, lacking), _given(self.test_set, lacking)


def _given(compute: Callable[[], T | None] | None, otherwise: str) -> T:
    """Return what the model or caller can provide; NotApplicable with this reason if it cannot."""
    found = compute() if compute is not None else None
    if found is None:
        raise NotApplicable(otherwise)
    return found


def _flat(features: Features) -> Features:
    if features.ndim > 2:
        raise NotApplicable("the features come in packets, which only Fréchet distances compare")
    return features


class Metric(Protocol):
    """The interface that a metric's file implements."""

    PER: Literal["draw", "model"]
    VALUES: dict[str, Value]
    SETTINGS: dict[str, Any]
    SOURCE: str

    def measure(self, inputs: Inputs) -> Measured:
        """Return {name: finite number} for the names of `VALUES`; also curves and "settings" if it has any.

        Raise NotApplicable if the metric does not apply to the model. Any other exception is recorded as a failure of
        this metric, except BrokenContract and Diverged, which stop the evaluation.
        """
        ...


def names() -> list[str]:
    """Return the names of all metrics, without importing them."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__")


def load(name: str) -> Metric:
    """Return the metric `name`; UserError for an unknown one."""
    if name not in (known := names()):
        raise errors.unknown("metric", name, known)
    return cast(Metric, import_module(f"{__package__}.metrics.{name}"))


def described() -> Iterator[str]:
    """Yield the lines of a Markdown table of the metrics, from what their files declare."""
    yield "| metric | numbers | meaning | source |"
    yield "|---|---|---|---|"
    for name in names():
        metric = load(name)
        numbers = [
            f"`{number}` {'↓' if value.better == 'lower' else '↑'}" + (f" ({value.unit})" if value.unit != "1" else "")
            for number, value in metric.VALUES.items()
        ]
        meaning = " ".join((metric.__doc__ or "").partition("\n\n")[0].split())
        yield f"| `{name}` | {', '.join(numbers)} | {meaning} | {metric.SOURCE} |"
