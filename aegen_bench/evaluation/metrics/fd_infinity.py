"""Fréchet distance extrapolated to infinitely many generated images by a line fitted to subsets of several sizes, with
enough subsets to bring its standard error below 1% of the distance; `fd_infinity_r2` says how well the line fits.
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
# Deviation: the smallest size is n / 2, or 5,000 as in the paper (with n = 50,000) if that is less: with fewer images
# than twice the number of features, the distance is not linear in 1 / n.
SETTINGS: dict[str, Any] = {
    "sizes": 15,
    "first_size": "min(5000, n / 2)",
    "fit": "least squares in 1 / n",
    "error_below": 0.01,  # of the distance of all images
    "most_rounds": 20,
}
SOURCE = "Chong and Forsyth 2020, Effectively Unbiased FID and Inception Score and Where to Find Them, section 4"


class Extrapolated(NamedTuple):
    """The line fitted to the distances of `rounds` subsets of each size, the standard error of its intercept, and
    whether that error is below 1% of the distance.
    """

    intercept: float
    slope: float
    r2: float
    error: float
    rounds: int
    precise: bool


def measure(inputs: Inputs) -> Measured:
    """Return intercept, slope, R^2 and standard error of the fit."""
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
    """Return the 15 sizes of subsets of n generated images, from min(5000, n / 2) to n; UserError for n < 30."""
    count = SETTINGS["sizes"]
    if n < 2 * count:
        raise UserError(
            f"FD-infinity fits {count} sizes between n / 2 and n: it needs {2 * count} images, there are {n}"
        )
    return np.linspace(min(5000, n // 2), n, count).astype(np.int64)


def extrapolate(generated: Any, reference: Reference, *, seed: int) -> Extrapolated:
    """Fit a line in 1 / n to the distances of subsets of the generated features [n, d], and extrapolate to 1 / n = 0.

    In each round, a random subset of each size is drawn from the generated images; the real set is used whole. Rounds
    are added, up to 20, until the standard error of the intercept is below 1% of the distance of all images. This error
    covers the choice of subsets, not that of the images. If the generated set equals the real one, the intercept may be
    negative.

    Deviation: the paper uses one subset of each size, whose noise can exceed the extrapolated difference.
    """
    random = np.random.default_rng(seed)
    whole, ns = moments(generated), sizes(len(generated))
    enough = SETTINGS["error_below"] * distance_to(reference, whole)
    x = 1 / ns
    # The intercept of the fit is this weighted sum of the distances, so its error follows from their variances.
    weights = 1 / len(x) - x.mean() * (x - x.mean()) / np.square(x - x.mean()).sum()

    def of_subset(n: int) -> Moments:
        order = random.permutation(len(generated))
        taken, left = order[:n], order[n:]  # read the smaller part only
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
