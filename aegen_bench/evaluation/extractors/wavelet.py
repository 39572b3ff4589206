"""The packets of a Haar wavelet transform: no network and no weights, a look at each band of frequencies by itself.

Its Fréchet distance, computed for each packet and averaged over packets, is the Fréchet wavelet distance (FWD) of
Veeramacheneni et al. 2025, arXiv:2312.15289, with the wavelet and the number of levels that they recommend: 4 levels at
256 px, one less at half the side, so that a packet has 16 x 16 positions of each channel.

Deviation: sides that are no power of 2 take the nearest number of levels, and every side takes at least one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["DIM", "RULE", "WEIGHTS", "Wavelet", "build"]

WEIGHTS = None
DIM = None
RULE = (
    "grey counts as 3 equal channels; [0, 1]; Haar wavelet packets of the level log2(side / 16), rounded, at least 1; "
    "odd sides extended by a mirrored pixel; each packet's values of all channels"
)


class Wavelet(nn.Module):
    """uint8 images [n, 1 or 3, h, w] -> packets [n, 4^level, channels x positions]."""

    def forward(self, images: Tensor) -> Tensor:
        packets = images.float().div(255)[:, None]  # [n, packets, c, h, w]
        for _ in range(max(1, round(math.log2(min(images.shape[-2:]) / 16)))):
            packets = _split(_split(packets).mT).mT
        # Three equal channels would have three times the distance of one, and 27 times the work.
        scaled: Tensor = packets.flatten(2) * (3 / images.shape[1]) ** 0.5
        return scaled


def _split(packets: Tensor) -> Tensor:
    """[n, p, ..., w] -> [n, 2p, ..., w / 2]: sums and differences of neighbours along the last axis, over sqrt(2)."""
    if packets.shape[-1] % 2:
        packets = torch.cat([packets, packets[..., -2:-1]], -1)
    even, odd = packets[..., 0::2], packets[..., 1::2]
    return torch.cat([even + odd, even - odd], 1) / 2**0.5


def build(file: None) -> nn.Module:
    return Wavelet()
