"""EfficientNet-Lite0 trained on ImageNet, from two PyPI packages, so that pip's is the only download.

Normalises like the original in TensorFlow, (pixel - 127) / 128; the package's example has torchvision's constants.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["DIM", "RULE", "WEIGHTS", "build"]

WEIGHTS = "efficientnet_lite0"
DIM = 1280
RULE = (
    "grey repeated to 3 channels; sides below 64 px: bilinear to 64, align_corners=False, no antialias; "
    "(pixel - 127) / 128; head after ReLU6, mean over positions"
)
PROSE = (
    "grey images are repeated to 3 channels; images with a side below 64 px are resized to 64 x 64 px (bilinear, "
    "align_corners=False, not antialiased); pixels are normalised by (x - 127) / 128; the features are the outputs of "
    "the head after ReLU6, averaged over positions"
)


class EfficientNetLite0(nn.Module):
    """uint8 images [n, 1 or 3, h, w] -> features [n, DIM]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features, float32 [n, DIM]."""
        x = images.float().expand(-1, 3, -1, -1)
        if min(x.shape[-2:]) < 64:  # five halvings would leave no positions to average over
            x = F.interpolate(x, size=(64, 64), mode="bilinear", align_corners=False, antialias=False)
        head: torch.Tensor = self.network.extract_features((x - 127) / 128)  # type: ignore[operator]
        return head.mean(dim=(2, 3))


def build(file: Path) -> nn.Module:
    """Return the network with the weights of `file`."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return EfficientNetLite0(network)
