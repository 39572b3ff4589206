"""Distance in pixels to the nearest training image, relative to that of test images: 1 is like unseen images, near 0
means copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "distances", "measure"]

PER = "draw"
# A warning light and no score: copies have 0, test images 1. Blur lowers it too, and noise raises it.
VALUES = {"memorisation": Value(better="higher", unit="median distance of test images")}
SETTINGS: dict[str, Any] = {"distance": "pixel L2 to the nearest training image", "images": 1000}
SOURCE = "after Jiralerspong et al. 2023, Feature Likelihood Divergence, and Meehan et al. 2020, on pixels"

Images = NDArray[np.uint8]


def measure(inputs: Inputs) -> Measured:
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
    """Return the L2 distance [n] of uint8 images [n, c, h, w] to their nearest training image, pixels in [0, 1]."""
    import torch

    from aegen_bench.numerics.neighbours import nearest

    if images.shape[1:] != training.shape[1:]:
        raise UserError(f"images {images.shape} and training images {training.shape} differ in size")
    # Copies what is mapped read-only, which torch does not take; a training set in memory can be 6 GB.
    queries, base = (torch.from_numpy(np.require(x, requirements="W")) for x in (images, training))
    where, _ = nearest(queries.to(device), base, 1)
    # Anew, by differences: the matrix product cancels where the distance is near 0, which is what counts here.
    pairs = zip(images, training[where[:, 0].cpu().numpy()], strict=True)
    return np.array([np.sqrt(np.square(x / 255.0 - y / 255.0).sum()) for x, y in pairs])
