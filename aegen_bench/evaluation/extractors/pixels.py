"""The pixels themselves on a coarse grid, without any network.

A distance between pixels measures colour and layout, not objects. Compared with it, other extractors show how much the
order of models depends on the network. All images are resized to 16 x 16, so that the number of features does not
depend on the dataset and 10,000 images determine their covariance (not so for 3 x 64 x 64 pixels). The three channels
of a grey image are equal, so the covariance has rank 256 at most.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["DIM", "RULE", "WEIGHTS", "build"]

WEIGHTS = None
DIM = 768
RULE = "grey repeated to 3 channels; [0, 1]; bilinear to 16 px, align_corners=False, antialiased; all values"
PROSE = (
    "grey images are repeated to 3 channels; images are scaled to [0, 1] and resized to 16 px (bilinear, "
    "align_corners=False, antialiased); the features are all pixel values"
)


class Pixels(nn.Module):
    """uint8 images [n, 1 or 3, h, w] -> pixels [n, DIM], in [0, 1]."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the pixels of the resized images, float32 [n, DIM]."""
        x = images.float().div(255).expand(-1, 3, -1, -1)
        return F.interpolate(x, size=(16, 16), mode="bilinear", align_corners=False, antialias=True).flatten(1)


def build(file: None) -> nn.Module:
    """Return the module; it has no weights."""
    return Pixels()
