"""Fréchet distance between images decoded half-way between two encoded test images, and the real images."""

from __future__ import annotations

from typing import Any

from aegen_bench.evaluation.frechet import distance_to, few_images, moments
from aegen_bench.evaluation.metrics import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "measure"]

PER = "model"
VALUES = {"interpolation_fd": Value(better="lower", unit="1")}
SETTINGS: dict[str, Any] = {"dtype": "float64", "ddof": 1}
SOURCE = (
    "the distance of Heusel et al. 2017 on interpolations; "
    "Ghosh et al. 2020, From Variational to Deterministic Autoencoders, Table 1"
)


def measure(inputs: Inputs) -> Measured:
    features = inputs.interpolated
    distance = distance_to(inputs.reference, *moments(features))
    return {"interpolation_fd": distance, "settings": {"n_images": len(features), **few_images(*features.shape)}}
