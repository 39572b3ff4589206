"""What the published Two-Stage VAE evaluation does to images before it scores them (the paper, Appendix B.4).

The paper finds that its FID falls by a quarter under that code, and gives the JPEG files as the reason; the stretch,
which it does not mention, is in the same code. A protocol that names one of them shows what it is worth.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

__all__ = ["jpeg_roundtrip", "stretch"]

Images = NDArray[np.uint8]


def jpeg_roundtrip(images: Images) -> Images:
    """Return images [n, 1 or 3, h, w] as they are after a JPEG file of Pillow's defaults (quality 75, 4:2:0)."""
    from PIL import Image

    def after(image: Images) -> Images:
        file = io.BytesIO()
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "JPEG")
        pixels = np.asarray(Image.open(file))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    return np.stack([after(image) for image in images])


def stretch(images: Images) -> Images:
    """Return images [n, c, h, w] with the values of each, over all its pixels and channels, spread over 0 to 255.

    Deviation: the original stretches floats, here they have been rounded to uint8. An image of one value stays.
    """
    x = images.astype(np.float32)
    low, high = (reduce(x, axis=(1, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    spread = np.where(high > low, high - low, 1)
    return np.where(high > low, np.rint((x - low) * (255 / spread)), x).astype(np.uint8)
