"""uint8 images as networks take them."""

from __future__ import annotations

import math

from torch import Tensor

from aegen_bench.numerics.chunks import rows

__all__ = ["as_float", "at_once"]

EVALUATION_BATCH = 500


def as_float(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [0, 1]; the only preprocessing."""
    return images.float().div_(255)


def at_once(images: Tensor) -> int:
    """How many images to take at a time where nothing is trained."""
    return rows(EVALUATION_BATCH, math.prod(images.shape[1:]))
