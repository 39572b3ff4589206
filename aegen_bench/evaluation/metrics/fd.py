"""Fréchet distance between Gaussians fitted to the features of generated and real images. It is called `fid` with the
Inception weights of 2015, `fwd` with the extractor `wavelet` (where it is the mean over packets), and `fd` otherwise.
"""

from __future__ import annotations

from typing import Any

from aegen_bench.evaluation.frechet import distance_to, few_images
from aegen_bench.evaluation.metric import DISTANCES, Inputs, Measured, Value

__all__ = ["PER", "READS", "SETTINGS", "SOURCE", "VALUES", "measure"]

PER = "draw"
READS = "moments"
VALUES = {name: Value(better="lower", unit="1") for name in DISTANCES}
SETTINGS: dict[str, Any] = {"dtype": "float64", "ddof": 1, "root": "symmetric eigenvalues"}
SOURCE = (
    "Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, eq. 6; FWD, the mean over packets: "
    "Veeramacheneni et al. 2025, Fréchet Wavelet Distance, arXiv:2312.15289"
)


def measure(inputs: Inputs) -> Measured:
    """Return the distance under the name for the protocol's extractor: "fid", "fd" or "fwd"."""
    generated = inputs.moments
    note = few_images(generated.n, generated.dim)
    return {inputs.distance_key: distance_to(inputs.reference, generated), "settings": note}
