"""Precision and recall of distributions (PRD), summarised by the largest F8 score of the curve (`f8`, which emphasises
recall) and the largest F1/8 score (`f1_8`, which emphasises precision).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "max_f_beta", "measure", "prd_curve"]

PER = "draw"
VALUES = {"f8": Value(better="higher", unit="1"), "f1_8": Value(better="higher", unit="1")}
# batch_size was scikit-learn's default when the published numbers were computed; now it is 1024.
KMEANS: dict[str, Any] = {"n_clusters": 20, "n_init": 10, "batch_size": 100, "init_size": 300}
SETTINGS: dict[str, Any] = {"runs": 10, "angles": 1001, "beta": 8, "kmeans": KMEANS}
SOURCE = "Sajjadi et al. 2018, Assessing Generative Models via Precision and Recall, section 4"

Array = NDArray[np.float64]


def measure(inputs: Inputs) -> Measured:
    """Return F_8 and F_1/8, and the curve "prd" [2, 1001] of precision and recall."""
    sets = {"generated": inputs.generated, "real": inputs.real}
    precision, recall = prd_curve(**sets, seed=inputs.seed, device=inputs.device)
    f8, f1_8 = max_f_beta(precision, recall, beta=SETTINGS["beta"])
    return {"f8": f8, "f1_8": f1_8, "prd": np.stack([precision, recall])}


def prd_curve(
    *, generated: NDArray[np.floating], real: NDArray[np.floating], seed: int, device: str = "cpu"
) -> tuple[Array, Array]:
    """Return precision [1001] and recall [1001] along the curve, from features [n, d] of equally many images.

    The curves of 10 independent clusterings of the union are averaged. UserError for sets of unequal size, fewer than
    20 images, and features that are not finite.

    Deviation: features are clustered in float32; the published code uses float64.
    """
    if generated.ndim != 2 or generated.shape != real.shape:
        raise UserError(f"PRD compares sets of equal size: generated {generated.shape}, real {real.shape}")
    if not (np.isfinite(generated.sum()) and np.isfinite(real.sum())):
        raise UserError("PRD needs finite features; there are NaN or infinite ones")
    if len(real) < KMEANS["n_clusters"]:
        raise UserError(f"PRD needs at least {KMEANS['n_clusters']} images a set, there are {len(real)}")
    from aegen_bench.numerics.kmeans import minibatch_kmeans, nearest_centre

    n = len(generated)
    # Subtracting a common offset leaves distances unchanged, and saves digits in float32 products.
    offset = real[:1000].mean(axis=0)
    union = np.concatenate([generated - offset, real - offset])
    randoms = [np.random.default_rng([seed, run]) for run in range(SETTINGS["runs"])]
    centres = minibatch_kmeans(union, **KMEANS, randoms=randoms, device=device)
    # Each side separately, so that rounding breaks ties in the same way for equal sets.
    sides = (nearest_centre(side, centres, device=device) for side in (union[:n], union[n:]))
    curves = [_curve(_shares(p), _shares(q)) for p, q in zip(*sides, strict=True)]
    precision, recall = np.mean(curves, axis=0)
    return precision, recall


def _shares(labels: NDArray[np.intp]) -> Array:
    return np.bincount(labels, minlength=KMEANS["n_clusters"]) / len(labels)


def _curve(p_generated: Array, p_real: Array) -> tuple[Array, Array]:
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, SETTINGS["angles"]))  # lambda of eq. 5
    precision = np.minimum(slopes[:, None] * p_real, p_generated).sum(axis=1)
    return precision.clip(0, 1), (precision / slopes).clip(0, 1)


def max_f_beta(precision: Array, recall: Array, beta: float = 8) -> tuple[float, float]:
    """Return the largest F_beta, which favours recall, and the largest F_1/beta, which favours precision."""

    def best(b: float) -> float:
        return float(((1 + b**2) * precision * recall / (b**2 * precision + recall + 1e-10)).max())

    return best(beta), best(1 / beta)
