"""uint8 images as input of networks."""

from __future__ import annotations

import math

from torch import Tensor

from aegen_bench.numerics.chunks import rows

__all__ = ["as_float", "at_once"]

EVALUATION_BATCH = 500


def as_float(images: Tensor) -> Tensor:
    """Convert uint8 images to float32 in [0, 1]. There is no other preprocessing."""
    return images.float().div_(255)


def at_once(images: Tensor) -> int:
    """Return how many images to process at a time outside training."""
    return rows(EVALUATION_BATCH, math.prod(images.shape[1:]))
