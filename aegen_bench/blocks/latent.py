"""What priors over the codes of a finished auto-encoder share: a standard scale, a network that is told the time."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["Standardise", "TimedMLP"]


class Standardise(nn.Module):
    """Codes z [n, d] -> u of mean 0 and deviation 1 in each dimension, and back. `fit` is the `start` of a stage."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.center, self.scale = nn.Buffer(torch.zeros(d)), nn.Buffer(torch.ones(d))

    def fit(self, codes: Tensor) -> None:
        self.center.copy_(codes.mean(0))
        self.scale.copy_(codes.std(0).clamp_min(1e-6))

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.center) / self.scale

    def inverse(self, u: Tensor) -> Tensor:
        return u * self.scale + self.center


class TimedMLP(nn.Module):
    """(u [n, d], t [n] in [0, 1]) -> [n, d]: `hidden_layers` SiLU layers on u beside sinusoids of 1000 t.

    The sinusoids are those of Ho et al. 2020 (arXiv:2006.11239), wave lengths from 2 pi to 20,000 pi.
    """

    def __init__(self, d: int, *, width: int, hidden_layers: int, frequencies: int = 32) -> None:
        super().__init__()
        self.frequencies = nn.Buffer(1000 * torch.exp(-math.log(10_000) * torch.arange(frequencies) / frequencies))
        sizes = [d + 2 * frequencies, *[width] * hidden_layers]
        hidden = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.SiLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, d))

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        angle = t[:, None] * self.frequencies
        out: Tensor = self.layers(torch.cat([u, angle.sin(), angle.cos()], 1))
        return out
