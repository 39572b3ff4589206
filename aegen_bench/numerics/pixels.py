"""uint8 images as input of networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from aegen_bench.numerics.chunks import rows

__all__ = ["as_float", "at_once"]

AT_ONCE = 500


def as_float(images: Tensor) -> Tensor:
    """Convert uint8 images to float32 in [0, 1]. There is no other preprocessing."""
    return images.float().div_(255)


def at_once(shape: Sequence[int]) -> int:
    """Return how many images of this shape, or their codes, to process at a time outside training steps."""
    return rows(AT_ONCE, math.prod(shape))
