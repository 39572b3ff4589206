"""Fréchet distance between reconstructed test images and real images. With a deterministic encoder it is roughly the
best that any prior can reach; a VAE reconstructs from its posterior mean, so its samples may do better.
"""

from __future__ import annotations

from typing import Any

from aegen_bench.evaluation.frechet import distance_to, few_images
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "measure"]

PER = "model"
VALUES = {"reconstruction_fd": Value(better="lower", unit="1")}
SETTINGS: dict[str, Any] = {"dtype": "float64", "ddof": 1}
SOURCE = (
    "rFID: the distance of Heusel et al. 2017 on reconstructions; "
    "Ghosh et al. 2020, From Variational to Deterministic Autoencoders, Table 1"
)


def measure(inputs: Inputs) -> Measured:
    """Return the distance; NotApplicable without an encoder."""
    side = inputs.reconstructed
    used = {"n_images": side.n, **few_images(side.n, side.dim)}
    return {"reconstruction_fd": distance_to(inputs.reference, side), "settings": used}
