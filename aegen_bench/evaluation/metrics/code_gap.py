"""Sliced Wasserstein distance between codes sampled from the prior and codes of encoded images, that is, between what
the decoder gets in sampling and what it saw in training. A VAE's codes are its posterior means, so unused dimensions
count as a gap; compare VAEs only with each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs, Measured, Value
from aegen_bench.numerics.sliced import sliced_wasserstein

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "code_gap", "measure"]

PER = "model"
VALUES = {"code_gap": Value(better="lower", unit="standard deviations per direction")}
SETTINGS: dict[str, Any] = {"distance": "sliced Wasserstein-2", "projections": 500, "scale": "both sets together"}
SOURCE = "Bonneel et al. 2015, Sliced and Radon Wasserstein Barycenters of Measures, between prior and encoder"


def measure(inputs: Inputs) -> Measured:
    """Return the code gap."""
    encoded, sampled = inputs.codes
    return {"code_gap": code_gap(encoded, sampled, seed=inputs.seed), "settings": {"n_codes": len(encoded)}}


def code_gap(encoded: NDArray[np.floating], sampled: NDArray[np.floating], *, seed: int) -> float:
    """Return the sliced Wasserstein-2 distance between codes [n, ...], each dimension in units of its spread.

    The spread is the standard deviation of both sets together, which remains usable if one set is constant (a
    collapsed posterior). A dimension that is constant in both contributes nothing. UserError for sets of unequal size
    and codes that are not finite.
    """
    if encoded.shape != sampled.shape or len(encoded) < 2:
        raise UserError(
            f"the code gap compares equally many codes, 2 or more: encoded {encoded.shape}, sampled {sampled.shape}"
        )
    a, b = (codes.reshape(len(codes), -1).astype(np.float64) for codes in (encoded, sampled))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UserError("the code gap needs finite codes; there are NaN or infinite ones")
    centre = (a.mean(axis=0) + b.mean(axis=0)) / 2
    spread = np.sqrt((np.square(a - centre).mean(axis=0) + np.square(b - centre).mean(axis=0)) / 2)
    spread[spread == 0] = 1
    a, b = (a - centre) / spread, (b - centre) / spread
    return sliced_wasserstein(a, b, projections=SETTINGS["projections"], seed=seed)
