"""The C_T test for data copying, in feature space. Below -3, generated images are closer to the training images than
test images are, which indicates copies; far above 0, they are farther away, as with a poor generator.

Near 0, generated images are as far from the training images as test images are. Far above 0, as for blurred or noisy
images, they are not copies, but not good either. Regions of feature space are compared separately, so that good images
in one region cannot hide copies in another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Features, Inputs, Measured, NotApplicable, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "copying_z", "measure"]

PER = "draw"
VALUES = {"copying_z": Value(better="higher", unit="z-score")}
SETTINGS: dict[str, Any] = {"distance": "Euclidean", "regions": 10, "least_images": 20}
SOURCE = "Meehan et al. 2020, A Non-Parametric Test to Detect Data-Copying in Generative Models, section 4"


def measure(inputs: Inputs) -> Measured:
    """Return C_T of the generated images; NotApplicable if no training images are known."""
    training = inputs.training
    used = {"n_training": len(training)}
    sets = {"generated": inputs.generated, "test": inputs.real, "training": training}
    value = copying_z(**sets, seed=inputs.seed, device=inputs.device)
    return {"copying_z": value, "settings": used}


def copying_z(*, generated: Features, test: Features, training: Features, seed: int, device: str = "cpu") -> float:
    """Return C_T from features [n, d]: the mean over regions, weighted by their numbers of test images, of the
    Mann-Whitney statistic of the distances to the nearest training image of the region.

    Regions are clusters of the training images. Those with fewer than 20 generated, test or training images are left
    out; NotApplicable if none remains. UserError for features that are not finite.
    """
    from aegen_bench.numerics.kmeans import minibatch_kmeans, nearest_centre

    for name, features in (("generated", generated), ("test", test), ("training", training)):
        if not np.isfinite(features).all():
            raise UserError(f"the test for copies needs finite features; {name} ones are NaN or infinite")
    regions = min(SETTINGS["regions"], len(training) // 2)
    how: dict[str, Any] = {"n_clusters": regions, "n_init": 3, "batch_size": 100, "init_size": 300}
    centres = minibatch_kmeans(training, **how, randoms=[np.random.default_rng(seed)], device=device)
    sets = (generated, test, training)
    of_generated, of_test, of_training = (nearest_centre(x, centres, device=device)[0] for x in sets)
    total = weight = 0.0
    for region in range(regions):
        here = generated[of_generated == region], test[of_test == region], training[of_training == region]
        if min(map(len, here)) < SETTINGS["least_images"]:
            continue
        total += len(here[1]) * _mann_whitney(*(_to_nearest(x, here[2], device) for x in here[:2]))
        weight += len(here[1])
    if not weight:
        raise NotApplicable(f"no region holds {SETTINGS['least_images']} images of each set")
    return total / weight


def _to_nearest(points: Features, others: Features, device: str) -> NDArray[np.float64]:
    import torch

    from aegen_bench.numerics.neighbours import nearest

    where, _ = nearest(torch.from_numpy(points).to(device), torch.from_numpy(others), 1)
    # Recomputed from differences: the matrix product cancels near distance 0, which matters most here.
    difference = points.astype(np.float64) - others[where[:, 0].cpu().numpy()]
    distances: NDArray[np.float64] = np.sqrt(np.square(difference).sum(axis=1))
    return distances


def _mann_whitney(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the standardised Mann-Whitney U of a against b, negative if a tends to be smaller."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([a, b]))
    n, m = len(a), len(b)
    u = ranks[:n].sum() - n * (n + 1) / 2
    return float((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))
