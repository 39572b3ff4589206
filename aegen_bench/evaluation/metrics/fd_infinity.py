"""The Fréchet distance of infinitely many generated images, extrapolated from smaller sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.frechet import Moments, Reference, distance_to, few_images, moments, without
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "extrapolate", "measure", "sizes"]

PER = "draw"
VALUES = {
    "fd_infinity": Value(better="lower", unit="1"),
    "fd_infinity_slope": Value(better="lower", unit="images"),
    "fd_infinity_r2": Value(better="higher", unit="1"),
}
# Deviation: the first size is n / 2 where n is below the paper's 50,000 (it starts at 5,000): with fewer images than
# twice the features the distance is no straight line in 1 / n.
SETTINGS: dict[str, Any] = {"sizes": 15, "first_size": "min(5000, n / 2)", "fit": "least squares in 1 / n"}
SOURCE = "Chong and Forsyth 2020, Effectively Unbiased FID and Inception Score and Where to Find Them, section 4"


def measure(inputs: Inputs) -> Measured:
    generated = inputs.generated
    distance, slope, r2 = extrapolate(generated, inputs.reference, seed=inputs.seed)
    note = few_images(int(sizes(len(generated))[0]), generated.shape[1])
    return {"fd_infinity": distance, "fd_infinity_slope": slope, "fd_infinity_r2": r2, "settings": note}


def sizes(n: int) -> NDArray[np.int64]:
    """Return the 15 sizes of the generated set, from min(5000, n / 2) to n."""
    count = SETTINGS["sizes"]
    if n < 2 * count:
        raise UserError(
            f"FD-infinity fits {count} sizes between n / 2 and n: it needs {2 * count} images, there are {n}"
        )
    return np.linspace(min(5000, n // 2), n, count).astype(np.int64)


def extrapolate(generated: NDArray[np.floating], reference: Reference, *, seed: int) -> tuple[float, float, float]:
    """Return the distance at 1 / n = 0, its slope in 1 / n and R^2 of the fit, from features [n, d].

    Each size has its own seeded subset of the generated images; the real set stays whole. The extrapolation of
    a set that equals the real one may fall below 0.
    """
    random = np.random.default_rng(seed)
    whole, ns = moments(generated), sizes(len(generated))

    def of_subset(n: int) -> Moments:
        order = random.permutation(len(generated))
        taken, left = order[:n], order[n:]  # the fewer rows are looked at
        return moments(generated[taken]) if len(taken) < len(left) else without(whole, generated[left])

    distances = np.array([distance_to(reference, of_subset(n)) for n in ns])
    slope, intercept = np.polyfit(1 / ns, distances, 1)
    total = np.square(distances - distances.mean()).sum()
    residual = np.square(distances - intercept - slope / ns).sum()
    return float(intercept), float(slope), float(1 - residual / total) if total > 0 else 1.0
