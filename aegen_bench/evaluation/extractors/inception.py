"""Inception v3 with the weights of 2015, the network of FID (Heusel et al. 2017), computed as in pytorch-fid 0.3.

Architecture and preprocessing are tested against pytorch-fid's own class with the same random weights; not verified
with the real weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from pytorch_fid import inception as fid
from torch import nn
from torchvision.models import inception_v3

__all__ = ["DIM", "RULE", "WEIGHTS", "build"]

WEIGHTS = "inception"
DIM = 2048
RULE = (
    "grey repeated to 3 channels; [0, 1]; bilinear to 299 px, align_corners=False, no antialias; 2x - 1; "
    "pool3, mean over positions"
)
PROSE = (
    "grey images are repeated to 3 channels; images are scaled to [0, 1], resized to 299 px (bilinear, "
    "align_corners=False, not antialiased) and mapped to [-1, 1]; the features are those of pool3, averaged over "
    "positions"
)


class Inception(nn.Module):
    """uint8 images [n, 1 or 3, h, w] -> features [n, DIM]: resizes and scales them for `network`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features, float32 [n, DIM]."""
        x = images.float().div(255).expand(-1, 3, -1, -1)
        x = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False, antialias=False)
        features: torch.Tensor = self.network(2 * x - 1)
        return features


def network() -> nn.Module:
    """Return torchvision's Inception with pytorch-fid's blocks, whose pooling is that of 2015.

    pytorch-fid's own constructor is not used, because it downloads weights.
    """
    net: nn.Module = inception_v3(
        weights=None, num_classes=1008, aux_logits=False, transform_input=False, init_weights=False
    )
    net.Mixed_5b = fid.FIDInceptionA(192, pool_features=32)
    net.Mixed_5c = fid.FIDInceptionA(256, pool_features=64)
    net.Mixed_5d = fid.FIDInceptionA(288, pool_features=64)
    net.Mixed_6b = fid.FIDInceptionC(768, channels_7x7=128)
    net.Mixed_6c = fid.FIDInceptionC(768, channels_7x7=160)
    net.Mixed_6d = fid.FIDInceptionC(768, channels_7x7=160)
    net.Mixed_6e = fid.FIDInceptionC(768, channels_7x7=192)
    net.Mixed_7b = fid.FIDInceptionE_1(1280)
    net.Mixed_7c = fid.FIDInceptionE_2(2048)
    return net


def build(file: Path) -> nn.Module:
    """Return the network without its last layer, with the weights of `file`."""
    net = network()
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    net.fc = nn.Identity()  # the features are the inputs of the last layer
    return Inception(net)
