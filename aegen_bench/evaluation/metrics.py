"""What a metric is, and which there are: one file of this folder each, found by file name.

A metric's file defines `measure(inputs) -> {name: number}` and declares `PER` ("draw": run on each generated
set; "model": run once), `VALUES` (unit and better direction of each number), `SETTINGS` (stored with the
numbers) and `SOURCE`. An array among the returned values is a curve, kept of the first draw. A new metric is
one file and one word in a protocol. Reports import these files too: torch, scipy and sklearn inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from aegen_bench import errors

__all__ = ["Inputs", "Measured", "Metric", "NotApplicable", "Value", "load", "names"]

Measured = dict[str, float | NDArray[np.float64]]


class NotApplicable(Exception):
    """The model has not what the metric measures; no failure, and not tried again."""


class Value(NamedTuple):
    """How to read one number of a metric."""

    better: Literal["lower", "higher"]
    unit: str


@dataclass(frozen=True)
class Inputs:
    """What a metric may ask for. Features, float32 [n, dim], are extracted when first asked for."""

    real_features: Callable[[], NDArray[np.float32]]
    reconstruction_pairs: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None
    seed: int
    distance_key: Literal["fid", "fd"]
    generated_features: Callable[[], NDArray[np.float32]] | None = None  # None for a metric of the model

    @property
    def generated(self) -> NDArray[np.float32]:
        if self.generated_features is None:
            raise TypeError('a metric with PER = "model" sees no generated set')
        return self.generated_features()

    @property
    def real(self) -> NDArray[np.float32]:
        return self.real_features()

    @property
    def reconstructions(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Originals and their reconstructions, uint8 [n, c, h, w]."""
        if self.reconstruction_pairs is None:
            raise NotApplicable("no reconstructions: the model has no encoder")
        return self.reconstruction_pairs


class Metric(Protocol):
    PER: Literal["draw", "model"]
    VALUES: dict[str, Value]
    SETTINGS: dict[str, Any]
    SOURCE: str

    def measure(self, inputs: Inputs) -> Measured: ...


def names() -> list[str]:
    """Return the metrics there are. The files are read and not imported."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(file.stem for file in files if "\ndef measure(" in file.read_text(encoding="utf-8"))


def load(name: str) -> Metric:
    """Return the metric `name`."""
    if name not in names():
        raise errors.unknown("metric", name, names())
    return cast(Metric, import_module(f"{__package__}.{name}"))
