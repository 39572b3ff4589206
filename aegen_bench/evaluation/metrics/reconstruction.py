"""How near a reconstruction is to its image, pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "measure", "reconstruction_mse", "reconstruction_psnr"]

PER = "model"
VALUES = {
    "reconstruction_mse": Value(better="lower", unit="[0, 1]^2 a pixel"),
    "reconstruction_psnr": Value(better="higher", unit="dB"),
}
SETTINGS: dict[str, Any] = {"rounding": "uint8", "psnr": "mean over images"}
SOURCE = "mean squared error, and 10 log10(1 / MSE) of each image"

Images = NDArray[np.uint8]


def measure(inputs: Inputs) -> Measured:
    x, x_hat = inputs.reconstructions
    return {
        "reconstruction_mse": reconstruction_mse(x, x_hat),
        "reconstruction_psnr": reconstruction_psnr(x, x_hat),
        "settings": {"n_pairs": len(x)},
    }


def reconstruction_mse(x: Images, x_hat: Images) -> float:
    """Return the mean squared error per pixel of uint8 images [n, c, h, w], with pixels taken in [0, 1]."""
    return float(_mse_by_image(x, x_hat).mean())


def reconstruction_psnr(x: Images, x_hat: Images) -> float:
    """Return the peak signal-to-noise ratio in dB, averaged over uint8 images [n, c, h, w].

    An exact copy counts as one pixel wrong by one level: its own ratio is infinite.
    """
    floor = 1 / (255**2 * x[0].size)
    return float((-10 * np.log10(_mse_by_image(x, x_hat).clip(min=floor))).mean())


def _mse_by_image(x: Images, x_hat: Images) -> NDArray[np.float64]:
    if x.shape != x_hat.shape or x.dtype != np.uint8 or x_hat.dtype != np.uint8 or len(x) == 0:
        raise UserError(
            "reconstruction needs uint8 images and as many reconstructions: "
            f"{x.dtype} {x.shape} and {x_hat.dtype} {x_hat.shape}"
        )
    chunks = range(0, len(x), 256)  # bounds the float copies
    errors = [(x[i : i + 256] / 255.0 - x_hat[i : i + 256] / 255.0) ** 2 for i in chunks]
    return np.concatenate([e.mean(axis=(1, 2, 3)) for e in errors])
