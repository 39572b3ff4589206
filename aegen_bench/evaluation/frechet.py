"""The Fréchet distance of two Gaussians, for every metric built on it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError

__all__ = ["Reference", "distance_to", "few_images", "frechet_distance", "moments"]

Array = NDArray[np.float64]


def moments(features: NDArray[np.floating]) -> tuple[Array, Array]:
    """Return mean [d] and covariance [d, d] (divisor n - 1) of features [n, d], in float64."""
    if features.ndim != 2 or len(features) < 2:
        raise UserError(f"a covariance needs features [n, d] of at least 2 images, not {features.shape}")
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


class Reference(NamedTuple):
    """The side of a distance that many others are measured against: mean [d], cov^(1/2) [d, d], trace of cov."""

    mean: Array
    root: Array
    trace: float

    @classmethod
    def of(cls, mean: Array, cov: Array) -> Reference:
        _check_finite(mean, cov)
        eigenvalues, vectors = np.linalg.eigh(cov)
        root = (vectors * np.sqrt(eigenvalues.clip(min=0))) @ vectors.T
        return cls(mean, root, float(np.trace(cov)))


def distance_to(reference: Reference, mean: Array, cov: Array) -> float:
    """Return |mean_a - mean|^2 + tr(cov_a + cov - 2 (cov_a cov)^(1/2)), a the reference; never negative.

    (cov_a cov)^(1/2) has the trace of (L cov L)^(1/2), L = cov_a^(1/2): symmetric, so that all is real
    and rank deficiency is harmless. Source: Dowson and Landau 1982; Heusel et al. 2017.
    """
    _check_finite(mean, cov)
    product = reference.root @ cov @ reference.root
    overlap = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(min=0)).sum()
    distance = np.square(reference.mean - mean).sum() + reference.trace + np.trace(cov) - 2 * overlap
    return max(float(distance), 0.0)  # equal sets fall below 0 by the rounding of the roots


def frechet_distance(*, mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """Return the Fréchet distance of two Gaussians; see `distance_to`."""
    return distance_to(Reference.of(mean_a, cov_a), mean_b, cov_b)


def few_images(n: int, dim: int) -> dict[str, Any]:
    """Return the note that stands beside a distance whose covariance cannot have full rank, or nothing."""
    return {"note": f"{n:,} images for {dim:,} features: the covariance is singular"} if n <= dim else {}


def _check_finite(mean: Array, cov: Array) -> None:
    if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        raise UserError("the Fréchet distance needs finite features; there are NaN or infinite ones")
