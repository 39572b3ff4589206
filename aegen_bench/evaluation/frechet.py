"""The Fréchet distance of two Gaussians, for every metric built on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError

__all__ = ["frechet_distance", "moments"]

Array = NDArray[np.float64]


def moments(features: NDArray[np.floating]) -> tuple[Array, Array]:
    """Return mean [d] and covariance [d, d] (divisor n - 1) of features [n, d], in float64."""
    if features.ndim != 2 or len(features) < 2:
        raise UserError(f"a covariance needs features [n, d] of at least 2 images, not {features.shape}")
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_distance(*, mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """Return |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)), never negative.

    (cov_a cov_b)^(1/2) has the trace of (L cov_b L)^(1/2), L = cov_a^(1/2): symmetric, so that all is real
    and rank deficiency is harmless. Source: Dowson and Landau 1982; Heusel et al. 2017.
    """
    if not all(np.isfinite(part).all() for part in (mean_a, cov_a, mean_b, cov_b)):
        raise UserError("the Fréchet distance needs finite features; there are NaN or infinite ones")
    eigenvalues, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(eigenvalues.clip(min=0))) @ vectors.T
    product = root @ cov_b @ root
    overlap = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(min=0)).sum()
    distance = np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap
    return max(float(distance), 0.0)  # equal sets fall below 0 by the rounding of the roots
