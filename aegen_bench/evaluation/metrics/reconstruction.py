"""Error of reconstructed test images: mean squared error per pixel, peak signal-to-noise ratio (PSNR) and structural
similarity (SSIM).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = [
    "PER",
    "SETTINGS",
    "SOURCE",
    "VALUES",
    "measure",
    "reconstruction_mse",
    "reconstruction_psnr",
    "reconstruction_ssim",
]

PER = "model"
VALUES = {
    "reconstruction_mse": Value(better="lower", unit="pixels in [0, 1]"),
    "reconstruction_psnr": Value(better="higher", unit="dB"),
    "reconstruction_ssim": Value(better="higher", unit="1"),
}
SETTINGS: dict[str, Any] = {
    "rounding": "uint8",
    "psnr": "mean over images",
    "ssim": "Gaussian window of 11 px, sigma 1.5; channels apart, then their mean; borders of 5 px left out",
}
SOURCE = (
    "mean squared error, and 10 log10(1 / MSE) of each image; SSIM: Wang et al. 2004, Image Quality Assessment: From "
    "Error Visibility to Structural Similarity, eq. 13"
)

Images = NDArray[np.uint8]


def measure(inputs: Inputs) -> Measured:
    """Return MSE, PSNR and SSIM; NotApplicable without an encoder."""
    x, x_hat = inputs.reconstructions
    return {
        "reconstruction_mse": reconstruction_mse(x, x_hat),
        "reconstruction_psnr": reconstruction_psnr(x, x_hat),
        "reconstruction_ssim": reconstruction_ssim(x, x_hat),
        "settings": {"n_pairs": len(x)},
    }


def reconstruction_mse(x: Images, x_hat: Images) -> float:
    """Return the mean squared error per pixel of uint8 images [n, c, h, w], with pixels scaled to [0, 1]."""
    return float(_mse_by_image(x, x_hat).mean())


def reconstruction_psnr(x: Images, x_hat: Images) -> float:
    """Return the peak signal-to-noise ratio in dB, averaged over uint8 images [n, c, h, w].

    An exact copy, whose ratio would be infinite, counts as one pixel wrong by one level.
    """
    floor = 1 / (255**2 * x[0].size)
    return float((-10 * np.log10(_mse_by_image(x, x_hat).clip(min=floor))).mean())


def reconstruction_ssim(x: Images, x_hat: Images) -> float:
    """Return the structural similarity, at most 1, averaged over pixels, channels and uint8 images [n, c, h, w].

    For images with a side of 10 px or less, borders are not left out; windows there use mirrored pixels.
    """
    from scipy.ndimage import gaussian_filter

    _check(x, x_hat)

    def blurred(images: NDArray[np.float64]) -> NDArray[np.float64]:
        smooth: NDArray[np.float64] = gaussian_filter(images, 1.5, truncate=3.5, axes=(2, 3))
        return smooth if min(images.shape[2:]) <= 10 else smooth[:, :, 5:-5, 5:-5]

    c1, c2 = 0.01**2, 0.03**2
    parts = []
    for i in range(0, len(x), 256):
        a, b = x[i : i + 256] / 255.0, x_hat[i : i + 256] / 255.0
        mean_a, mean_b = blurred(a), blurred(b)
        squares, product = mean_a**2 + mean_b**2, mean_a * mean_b
        variances, covariance = blurred(a * a) + blurred(b * b) - squares, blurred(a * b) - product
        ssim = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
        parts.append(ssim.mean(axis=(1, 2, 3)))
    return float(np.concatenate(parts).mean())


def _mse_by_image(x: Images, x_hat: Images) -> NDArray[np.float64]:
    _check(x, x_hat)
    chunks = range(0, len(x), 256)  # bounds the float copies
    errors = [(x[i : i + 256] / 255.0 - x_hat[i : i + 256] / 255.0) ** 2 for i in chunks]
    return np.concatenate([e.mean(axis=(1, 2, 3)) for e in errors])


def _check(x: Images, x_hat: Images) -> None:
    if x.shape != x_hat.shape or x.dtype != np.uint8 or x_hat.dtype != np.uint8 or len(x) == 0:
        raise UserError(
            "reconstruction metrics need uint8 images and as many reconstructions, not "
            f"{x.dtype} {x.shape} and {x_hat.dtype} {x_hat.shape}"
        )
