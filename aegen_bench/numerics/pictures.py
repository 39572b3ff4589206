"""Grids of small images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["grid"]

Images = NDArray[np.uint8]


def grid(images: Images, columns: int | None = None, gap: int = 1) -> Images:
    """Arrange uint8 images [n, C, S, S] in a grid with white lines: [H, W] for one channel, [H, W, 3] for three.

    Without `columns`, the grid is as square as possible.
    """
    n, channels, side, _ = images.shape
    columns = columns or round(n**0.5)
    rows = -(-n // columns)
    sheet = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (side + gap), i % columns * (side + gap)
        sheet[top : top + side, left : left + side] = image.transpose(1, 2, 0)
    return sheet[..., 0] if channels == 1 else sheet
