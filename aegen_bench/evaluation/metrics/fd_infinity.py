"""Fréchet distance extrapolated to infinitely many generated images, over enough subsets to bring its standard error
below 1% of the distance; `fd_infinity_r2` says how well the line fits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.frechet import Moments, Reference, distance_to, few_images, moments, without
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "Extrapolated", "extrapolate", "measure", "sizes"]

PER = "draw"
VALUES = {
    "fd_infinity": Value(better="lower", unit="1"),
    "fd_infinity_slope": Value(better="lower", unit="images"),
    "fd_infinity_r2": Value(better="higher", unit="1"),
    "fd_infinity_se": Value(better="lower", unit="1"),
}
# Deviation: the first size is n / 2 where n is below the paper's 50,000 (it starts at 5,000): with fewer images than
# twice the features the distance is no straight line in 1 / n.
SETTINGS: dict[str, Any] = {
    "sizes": 15,
    "first_size": "min(5000, n / 2)",
    "fit": "least squares in 1 / n",
    "error_below": 0.01,  # of the distance of all images
    "most_rounds": 20,
}
SOURCE = "Chong and Forsyth 2020, Effectively Unbiased FID and Inception Score and Where to Find Them, section 4"


class Extrapolated(NamedTuple):
    """The line through the distances of `rounds` subsets of each size, the standard error of its intercept, and whether
    that is as small as it should be.
    """

    intercept: float
    slope: float
    r2: float
    error: float
    rounds: int
    precise: bool


def measure(inputs: Inputs) -> Measured:
    generated = inputs.on_device(inputs.generated)
    line = extrapolate(generated, inputs.reference, seed=inputs.seed)
    used: dict[str, Any] = {"rounds": line.rounds, **few_images(int(sizes(len(generated))[0]), generated.shape[1])}
    if not line.precise:
        said = f"standard error above 1% of the distance after {line.rounds} subsets of each size"
        used["note"] = "; ".join(filter(None, [used.get("note"), said]))
    return {
        "fd_infinity": line.intercept,
        "fd_infinity_slope": line.slope,
        "fd_infinity_r2": line.r2,
        "fd_infinity_se": line.error,
        "settings": used,
    }


def sizes(n: int) -> NDArray[np.int64]:
    """Return the 15 sizes of the generated set, from min(5000, n / 2) to n."""
    count = SETTINGS["sizes"]
    if n < 2 * count:
        raise UserError(
            f"FD-infinity fits {count} sizes between n / 2 and n: it needs {2 * count} images, there are {n}"
        )
    return np.linspace(min(5000, n // 2), n, count).astype(np.int64)


def extrapolate(generated: Any, reference: Reference, *, seed: int) -> Extrapolated:
    """Return the distance at 1 / n = 0, its slope in 1 / n, R^2 and standard error of the fit, from features [n, d].

    Each size has its own seeded subset of the generated images in each round; the real set stays whole. Rounds are
    added until the standard error of the intercept, which is that of the choice of subsets and not of the images, is
    below 1% of the distance of all images, and at most 20 are made. The extrapolation of a set that equals the real
    one may fall below 0.

    Deviation: the paper takes one subset of each size, whose noise can exceed what is extrapolated.
    """
    random = np.random.default_rng(seed)
    whole, ns = moments(generated), sizes(len(generated))
    enough = SETTINGS["error_below"] * distance_to(reference, whole)
    x = 1 / ns
    # The fit's intercept is this weighted sum of the distances, so that their scatter gives its error.
    weights = 1 / len(x) - x.mean() * (x - x.mean()) / np.square(x - x.mean()).sum()

    def of_subset(n: int) -> Moments:
        order = random.permutation(len(generated))
        taken, left = order[:n], order[n:]  # the fewer rows are looked at
        return moments(generated[taken]) if len(taken) < len(left) else without(whole, generated[left])

    rounds: list[list[float]] = []
    error = np.inf
    while len(rounds) < 2 or (error > enough and len(rounds) < SETTINGS["most_rounds"]):
        rounds.append([distance_to(reference, of_subset(n)) for n in ns])
        if len(rounds) > 1:
            error = float(np.sqrt(np.square(weights) @ np.var(rounds, axis=0, ddof=1) / len(rounds)))
    distances = np.mean(rounds, axis=0)
    slope, intercept = np.polyfit(x, distances, 1)
    total = np.square(distances - distances.mean()).sum()
    residual = np.square(distances - intercept - slope * x).sum()
    r2 = float(1 - residual / total) if total > 0 else 1.0
    return Extrapolated(float(intercept), float(slope), r2, error, len(rounds), error <= enough)
