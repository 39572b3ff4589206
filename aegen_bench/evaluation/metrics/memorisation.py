"""Median pixel-space distance to the nearest training image, divided by that of test images: 1 means as far from the
training images as unseen images are, and near 0 means copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "distances", "measure"]

PER = "draw"
# A warning, not a score: 0 for copies, 1 for test images. Blur lowers it too, and noise raises it.
VALUES = {"memorisation": Value(better="higher", unit="ratio to test images")}
SETTINGS: dict[str, Any] = {"distance": "pixel L2 to the nearest training image", "images": 1000}
SOURCE = "after Jiralerspong et al. 2023, Feature Likelihood Divergence, and Meehan et al. 2020, on pixels"

Images = NDArray[np.uint8]


def measure(inputs: Inputs) -> Measured:
    """Return the ratio of the median distances; UserError if most test images are training images."""
    generated, training, test = inputs.images
    unseen = inputs.once("distance of test images", lambda: _median(test, training, inputs.seed, inputs.device))
    if unseen == 0:
        raise UserError("memorisation: most test images are training images, so there is no distance to compare with")
    used = {"n_images": min(SETTINGS["images"], len(generated)), "n_training": len(training)}
    return {"memorisation": _median(generated, training, inputs.seed, inputs.device) / unseen, "settings": used}


def _median(images: Images, training: Images, seed: int, device: str) -> float:
    if len(images) > SETTINGS["images"]:
        images = images[np.random.default_rng(seed).permutation(len(images))[: SETTINGS["images"]]]
    return float(np.median(distances(images, training, device=device)))


def distances(images: Images, training: Images, *, device: str = "cpu") -> NDArray[np.float64]:
    """Return the L2 distances [n] of uint8 images [n, c, h, w] to their nearest training images, with pixels in
    [0, 1].
    """
    import torch

    from aegen_bench.numerics.neighbours import nearest

    if images.shape[1:] != training.shape[1:]:
        raise UserError(f"images {images.shape} and training images {training.shape} differ in size")
    # Copies only read-only memory maps, which torch rejects; a training set in memory can have 6 GB.
    queries, base = (torch.from_numpy(np.require(x, requirements="W")) for x in (images, training))
    where, _ = nearest(queries.to(device), base, 1)
    # Recomputed from differences: the matrix product cancels near distance 0, which matters most here.
    pairs = zip(images, training[where[:, 0].cpu().numpy()], strict=True)
    return np.array([np.sqrt(np.square(x / 255.0 - y / 255.0).sum()) for x, y in pairs])
