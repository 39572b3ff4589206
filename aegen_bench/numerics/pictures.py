"""Grids of small images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["grid"]

Images = NDArray[np.uint8]


def grid(images: Images, columns: int | None = None) -> Images:
    """Arrange uint8 images [n, C, S, S] in a grid with white lines: [H, W] for one channel, [H, W, 3] for three.

    Without `columns`, the grid is as square as possible.
    """
    n, channels, side, _ = images.shape
    columns = columns or round(n**0.5)
    rows, pitch = -(-n // columns), side + 1
    sheet = np.full((rows * pitch - 1, columns * pitch - 1, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * pitch, i % columns * pitch
        sheet[top : top + side, left : left + side] = image.transpose(1, 2, 0)
    return sheet[..., 0] if channels == 1 else sheet
