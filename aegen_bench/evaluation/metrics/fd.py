"""Fréchet distance between generated and real features; FID with the Inception network of 2015."""

from __future__ import annotations

from typing import Any

from aegen_bench.evaluation.frechet import distance_to, few_images
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "READS", "SETTINGS", "SOURCE", "VALUES", "measure"]

PER = "draw"
READS = "moments"
VALUES = {"fid": Value(better="lower", unit="1"), "fd": Value(better="lower", unit="1")}
SETTINGS: dict[str, Any] = {"dtype": "float64", "ddof": 1, "root": "symmetric eigenvalues"}
SOURCE = "Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, eq. 6"


def measure(inputs: Inputs) -> Measured:
    generated = inputs.moments
    note = few_images(generated.n, len(generated.mean))
    return {inputs.distance_key: distance_to(inputs.reference, generated), "settings": note}
