"""Many small images on one sheet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["grid"]

Images = NDArray[np.uint8]


def grid(images: Images, columns: int | None = None, gap: int = 1) -> Images:
    """uint8 [n, C, S, S] -> one white-ruled sheet, [H, W] for one channel, [H, W, 3] for three; without `columns` as
    square as it goes.
    """
    n, channels, side, _ = images.shape
    columns = columns or round(n**0.5)
    rows = -(-n // columns)
    sheet = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, channels), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (side + gap), i % columns * (side + gap)
        sheet[top : top + side, left : left + side] = image.transpose(1, 2, 0)
    return sheet[..., 0] if channels == 1 else sheet
