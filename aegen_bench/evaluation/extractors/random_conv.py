"""Two convolutions with fixed random weights, for testing the program; the distances mean nothing."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["DIM", "RULE", "WEIGHTS", "build"]

WEIGHTS = None
DIM = 64
RULE = "grey repeated to 3 channels; 2x/255 - 1; weights drawn with seed 0"
PROSE = (
    "grey images are repeated to 3 channels; pixels are mapped to [-1, 1]; the weights are random, drawn with seed 0"
)


class RandomConv(nn.Module):
    """uint8 images [n, 1 or 3, h, w] -> features [n, DIM]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, DIM, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5, generator=draw)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features, float32 [n, DIM]."""
        maps: torch.Tensor = self.layers(images.float().expand(-1, 3, -1, -1) / 127.5 - 1)
        return maps.mean(dim=(2, 3))


def build(file: None) -> nn.Module:
    """Return the network; its weights are drawn with a fixed seed."""
    return RandomConv()
