"""The Fréchet distance between two Gaussians, for all metrics built on it.

The functions take numpy arrays, or tensors on a GPU, which stay there. On the CPU, all linear algebra is scipy's: the
wheels of scipy and numpy each contain a BLAS, and the idle threads of one, which wait busily, take the cores from the
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError

__all__ = [
    "Accumulator",
    "Moments",
    "Reference",
    "distance_to",
    "few_images",
    "frechet_distance",
    "moments",
    "placed",
    "without",
]

BLOCK = 4096  # rows per product: makes sums independent of the batch size; small products are bound by memory

Array = NDArray[np.float64]
Values = Any  # float64: a numpy array, or a tensor if the features were one


class Moments(NamedTuple):
    """Mean [d] and covariance [d, d] (divisor n - 1) of n features, in float64. For features in packets, those of each
    packet, [packets, d] and [packets, d, d].
    """

    mean: Values
    cov: Values
    n: int

    @property
    def dim(self) -> int:
        """The number of features d."""
        return int(self.mean.shape[-1])

    @property
    def packets(self) -> list[Moments]:
        """The moments of each packet."""
        return [Moments(mean, cov, self.n) for mean, cov in zip(self.mean, self.cov, strict=True)]


class Accumulator:
    """Accumulates the moments of features in batches [m, d] or [m, packets, d], without holding the features.

    The result does not depend on how the features are split into batches.
    """

    def __init__(self) -> None:
        self._packets: list[Accumulator] = []
        self._waiting: list[Any] = []
        self._rows = self._n = 0
        self._shift: Values = None
        self._sum: Values = None
        self._products: Values = None

    def add(self, features: Any) -> None:
        """Add a batch of features: a numpy array, or a tensor, which stays on its device."""
        if features.ndim == 3:
            self._packets = self._packets or [Accumulator() for _ in range(features.shape[1])]
            for packet, accumulator in enumerate(self._packets):
                accumulator.add(features[:, packet])
            return
        while self._rows + len(features) >= BLOCK:
            fits = BLOCK - self._rows
            self._absorb([*self._waiting, features[:fits]])
            features, self._waiting, self._rows = features[fits:], [], 0
        if len(features):
            self._waiting.append(features)
            self._rows += len(features)

    def moments(self) -> Moments:
        """Return the moments of all batches; UserError for fewer than 2 images."""
        if self._packets:
            means, covs, (n, *_) = zip(*(packet.moments() for packet in self._packets), strict=True)
            return Moments(_stacked(means), _stacked(covs), n)
        if self._waiting:
            self._absorb(self._waiting)
            self._waiting, self._rows = [], 0
        if self._n < 2:
            raise UserError(f"a covariance needs features of at least 2 images, there are {self._n}")
        drift = self._sum / self._n
        products = _symmetric(self._products) - drift[:, None] * self._sum
        return Moments(self._shift + drift, products / (self._n - 1), self._n)

    def _absorb(self, parts: list[Any]) -> None:
        x = _joined(parts)
        if not self._n:
            # Centred on the mean of the first block, against cancellation.
            self._shift = x.mean(0)
            self._sum, self._products = _zeros(self._shift)
        x -= self._shift
        self._sum = self._sum + x.sum(0)
        self._products = _plus_products(self._products, x)
        self._n += len(x)


def moments(features: Any) -> Moments:
    """Return the moments of features [n, d] or [n, packets, d]; UserError for n < 2."""
    if features.ndim not in (2, 3) or len(features) < 2:
        raise UserError(f"a covariance needs features [n, d] of at least 2 images, not {features.shape}")
    accumulator = Accumulator()
    accumulator.add(features)
    return accumulator.moments()


def without(whole: Moments, features: Any) -> Moments:
    """Return the moments of the rest of a set after removing these features [m, d]; at least 2 must remain.

    Accurate to float64 if no more are removed than remain, since the subtraction then cancels little.
    """
    n = whole.n - len(features)
    sums, taken = _zeros(whole.mean)
    for begin in range(0, len(features), BLOCK):
        x = features[begin : begin + BLOCK] - whole.mean
        sums = sums + x.sum(0)
        taken = _plus_products(taken, x)
    products = whole.cov * (whole.n - 1) - _symmetric(taken)
    drift = -sums / n  # centred on the mean of the whole set, the rest sums to -sums
    return Moments(whole.mean + drift, (products - n * (drift[:, None] * drift)) / (n - 1), n)


class Reference(NamedTuple):
    """The side of a distance that is used many times: mean [d], lower triangular L [d, d] with L L^T = cov, trace of
    cov. For features in packets, those of each packet, [packets, ...].
    """

    mean: Values
    factor: Values
    trace: Values

    @property
    def packets(self) -> list[Reference]:
        """The reference of each packet."""
        return [Reference(*own) for own in zip(self.mean, self.factor, self.trace, strict=True)]

    def on(self, device: str) -> Reference:
        """Return the reference as tensors on a device; on the CPU, unchanged."""
        return Reference(*(placed(np.asarray(part), device) for part in self))

    @classmethod
    def of(cls, side: Moments) -> Reference:
        """Return the reference of moments, which must be numpy arrays; UserError if they are not finite."""
        from scipy import linalg

        if side.mean.ndim == 2:
            means, factors, traces = zip(*(cls.of(packet) for packet in side.packets), strict=True)
            return cls(np.stack(means), np.stack(factors), np.stack(traces))
        _check_finite(side)
        # The Cholesky factor, from eigenvalues and QR, which also exist for a singular covariance.
        eigenvalues, vectors = linalg.eigh(side.cov, driver="evd")
        root = vectors * np.sqrt(eigenvalues.clip(min=0))
        (upper,) = linalg.qr(root.T, mode="r", overwrite_a=True)
        return cls(side.mean, upper.T, float(np.trace(side.cov)))


def distance_to(reference: Reference, side: Moments) -> float:
    """Return |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)), where a is the reference; at least 0.

    With cov_a = L L^T, the traces of (cov_a cov_b)^(1/2) and (L^T cov_b L)^(1/2) are equal. The latter is symmetric, so
    everything is real, and rank deficiency is harmless. Source: Dowson and Landau 1982; Heusel et al. 2017. For
    packets, the mean of their distances: Veeramacheneni et al. 2025, Fréchet Wavelet Distance, arXiv:2312.15289.

    UserError if the moments are not finite.
    """
    _check_finite(side)
    if side.mean.ndim == 2:
        pairs = zip(reference.packets, side.packets, strict=True)
        return float(np.mean([distance_to(*pair) for pair in pairs]))
    difference = reference.mean - side.mean
    overlap = _overlap(reference.factor, side.cov)
    distance = (difference * difference).sum() + reference.trace + side.cov.trace() - 2 * overlap
    return max(float(distance), 0.0)  # rounding of the roots can give equal sets a distance below 0


def _overlap(factor: Values, cov: Values) -> Values:
    """Return the trace of (L^T cov L)^(1/2)."""
    if not isinstance(cov, np.ndarray):
        from torch.linalg import eigvalsh as eigenvalues

        return eigenvalues(factor.mT @ cov @ factor).clamp(min=0).sqrt().sum()
    from scipy.linalg import eigvalsh
    from scipy.linalg.lapack import dsygst

    # L^T cov_b L with a quarter of the work of two products, since L is triangular and the result symmetric. Only the
    # lower triangle is valid, which is the one that eigvalsh reads.
    product, _ = dsygst(cov, factor, itype=2, lower=1)
    return np.sqrt(eigvalsh(product, overwrite_a=True).clip(min=0)).sum()


def frechet_distance(*, mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """Return the Fréchet distance between two Gaussians; see `distance_to`."""
    return distance_to(Reference.of(Moments(mean_a, cov_a, 0)), Moments(mean_b, cov_b, 0))


BEYOND_NOISE = "the distance is larger than that of uniform noise"
"""The note on a distance above the ceiling, which is the distance of uniform noise."""


def few_images(n: int, dim: int) -> dict[str, Any]:
    """Return {"note": text} for a distance whose covariance cannot have full rank, else {}."""
    return {"note": f"{n:,} images for {dim:,} features: the covariance is singular"} if n <= dim else {}


def placed(x: NDArray[Any], device: str) -> Any:
    """Return x as a tensor on a device; on the CPU, unchanged."""
    if device == "cpu":
        return x
    import torch

    return torch.from_numpy(x).to(device)


def _joined(parts: list[Any]) -> Values:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts).astype(np.float64)
    import torch

    return torch.cat(parts).double()


def _stacked(parts: Sequence[Values]) -> Values:
    if isinstance(parts[0], np.ndarray):
        return np.stack(parts)
    import torch

    return torch.stack(list(parts))


def _zeros(vector: Values) -> tuple[Values, Values]:
    """Return zeros [d] and [d, d] of the same kind as a vector [d]."""
    d = len(vector)
    if isinstance(vector, np.ndarray):
        return np.zeros(d), np.zeros((d, d), order="F")
    return vector.new_zeros(d), vector.new_zeros(d, d)


def _plus_products(products: Values, x: Values) -> Values:
    """Return products [d, d] + x^T x for rows x [n, d]; for numpy, the upper triangle only, in place, Fortran order."""
    if not isinstance(x, np.ndarray):
        return products + x.T @ x
    from scipy.linalg.blas import dsyrk

    return dsyrk(1, x.T, beta=1, c=products, overwrite_c=True)


def _symmetric(upper: Values) -> Values:
    """Return the symmetric matrix of a numpy upper triangle, zero elsewhere; a tensor is complete already."""
    if not isinstance(upper, np.ndarray):
        return upper
    full = upper + upper.T
    np.fill_diagonal(full, upper.diagonal())
    return full


def _finite(x: Values) -> bool:
    return bool((np.isfinite(x) if isinstance(x, np.ndarray) else x.isfinite()).all())


def _check_finite(side: Moments) -> None:
    if not (_finite(side.mean) and _finite(side.cov)):
        raise UserError("the Fréchet distance needs finite features; there are NaN or infinite ones")
