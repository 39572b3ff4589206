"""The two changes that the published Two-Stage VAE evaluation makes to images before scoring (Appendix B.4).

The paper reports that its FID is a quarter lower with that code, and attributes this to the JPEG files. The same code
also stretches the contrast, which the paper does not mention. A protocol can apply either, to measure its effect.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

__all__ = ["jpeg_roundtrip", "stretch"]

Images = NDArray[np.uint8]


def jpeg_roundtrip(images: Images) -> Images:
    """Return images [n, 1 or 3, h, w] after writing and reading JPEG, with Pillow's defaults (quality 75, 4:2:0)."""
    from PIL import Image

    def after(image: Images) -> Images:
        file = io.BytesIO()
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "JPEG")
        pixels = np.asarray(Image.open(file))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    return np.stack([after(image) for image in images])


def stretch(images: Images) -> Images:
    """Return images [n, c, h, w], each scaled so that its values, over all pixels and channels, range from 0 to 255.

    Deviation: the original scales floats; here, images are already rounded to uint8. A constant image is unchanged.
    """
    x = images.astype(np.float32)
    low, high = (reduce(x, axis=(1, 2, 3), keepdims=True) for reduce in (np.min, np.max))
    spread = np.where(high > low, high - low, 1)
    return np.where(high > low, np.rint((x - low) * (255 / spread)), x).astype(np.uint8)
