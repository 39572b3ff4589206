"""Inception v3 with the weights of 2015, the network of FID (Heusel et al. 2017), as pytorch-fid 0.3 runs it.

Wiring and preprocessing are tested against pytorch-fid's own class with equal random weights; unverified with
the real weights.
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


class Inception(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.float().div(255).expand(-1, 3, -1, -1)
        x = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False, antialias=False)
        features: torch.Tensor = self.network(2 * x - 1)
        return features


def network() -> nn.Module:
    """Return torchvision's Inception with pytorch-fid's blocks where the pooling of 2015 was another.

    pytorch-fid's own constructor is not used: it downloads.
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
    net = network()
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    net.fc = nn.Identity()  # the 1008 classes: features are what stands before them
    return Inception(net)
