"""Fréchet distance of images decoded from the midpoint between the codes of two test images: of random pairs, or of
each code and its nearest neighbour (`interpolation_fd_nearest`).

The latter is reported to predict the quality of generated images where the distance of reconstructions does not.
"""

from __future__ import annotations

from typing import Any

from aegen_bench.evaluation.frechet import distance_to, few_images
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "measure"]

PER = "model"
VALUES = {
    "interpolation_fd": Value(better="lower", unit="1"),
    "interpolation_fd_nearest": Value(better="lower", unit="1"),
}
SETTINGS: dict[str, Any] = {"dtype": "float64", "ddof": 1}
SOURCE = (
    "the distance of Heusel et al. 2017 on interpolations; "
    "Ghosh et al. 2020, From Variational to Deterministic Autoencoders, Table 1; of nearest neighbours: iFID, "
    "arXiv:2603.05630"
)


def measure(inputs: Inputs) -> Measured:
    """Return the distances of both kinds of interpolation; NotApplicable for models that cannot interpolate."""
    side = inputs.interpolated
    used = {"n_images": side.n, **few_images(side.n, side.dim)}
    return {
        "interpolation_fd": distance_to(inputs.reference, side),
        "interpolation_fd_nearest": distance_to(inputs.reference, inputs.interpolated_nearest),
        "settings": used,
    }
