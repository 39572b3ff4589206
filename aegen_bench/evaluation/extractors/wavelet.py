"""The packets of a Haar wavelet transform, one per frequency band; there is no network and there are no weights.

The Fréchet distance, computed for each packet and averaged over packets, is the Fréchet wavelet distance (FWD) of
Veeramacheneni et al. 2025, arXiv:2312.15289, with the wavelet and the number of levels that they recommend: 4 levels at
256 px and one less for each halving of the side, so that a packet has 16 x 16 positions per channel.

Deviation: for sides that are not a power of 2, the number of levels is rounded; it is always at least 1.
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
PROSE = (
    "grey images count as 3 equal channels; images are scaled to [0, 1] and split into Haar wavelet packets of level "
    "log2(side / 16), rounded and at least 1, with odd sides extended by one mirrored pixel; the features of a packet "
    "are its values in all channels"
)


class Wavelet(nn.Module):
    """uint8 images [n, 1 or 3, h, w] -> packets [n, 4^level, channels x positions]."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the packets, float32 [n, 4^level, channels x positions]."""
        packets = images.float().div(255)[:, None]  # [n, packets, c, h, w]
        for _ in range(max(1, round(math.log2(min(images.shape[-2:]) / 16)))):
            packets = _split(_split(packets).mT).mT
        # Scaled, since three equal channels would give three times the distance of one, at 27 times the cost.
        scaled: Tensor = packets.flatten(2) * (3 / images.shape[1]) ** 0.5
        return scaled


def _split(packets: Tensor) -> Tensor:
    """[n, p, ..., w] -> [n, 2p, ..., w / 2]: sums and differences of neighbours along the last axis, over sqrt(2)."""
    if packets.shape[-1] % 2:
        packets = torch.cat([packets, packets[..., -2:-1]], -1)
    even, odd = packets[..., 0::2], packets[..., 1::2]
    return torch.cat([even + odd, even - odd], 1) / 2**0.5


def build(file: None) -> nn.Module:
    """Return the module; it has no weights."""
    return Wavelet()
