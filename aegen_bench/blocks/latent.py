"""Building blocks of priors on the codes of a trained auto-encoder: standardisation, and a network that takes time."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["Standardise", "TimedMLP"]


class Standardise(nn.Module):
    """Maps codes z [n, d] to u with mean 0 and standard deviation 1 in each dimension, and back.

    `fit` can serve as the `start` hook of a stage on codes.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.center, self.scale = nn.Buffer(torch.zeros(d)), nn.Buffer(torch.ones(d))

    def fit(self, codes: Tensor) -> None:
        """Measure the mean and standard deviation of all codes [n, d]; the latter is at least 1e-6."""
        self.center.copy_(codes.mean(0))
        self.scale.copy_(codes.std(0).clamp_min(1e-6))

    def forward(self, z: Tensor) -> Tensor:
        """Return (z - mean) / standard deviation, [n, d]."""
        return (z - self.center) / self.scale

    def inverse(self, u: Tensor) -> Tensor:
        """Return the codes of standardised u [n, d]."""
        return u * self.scale + self.center


class TimedMLP(nn.Module):
    """An MLP that maps u [n, d] and times t [n] in [0, 1] to [n, d], with `hidden_layers` SiLU layers.

    Its input is u concatenated with sinusoids of 1000 t, as in Ho et al. 2020 (arXiv:2006.11239), with wavelengths from
    2 pi to 15,000 pi (for 32 frequencies).
    """

    def __init__(self, d: int, *, width: int, hidden_layers: int, frequencies: int = 32) -> None:
        super().__init__()
        self.frequencies = nn.Buffer(1000 * torch.exp(-math.log(10_000) * torch.arange(frequencies) / frequencies))
        sizes = [d + 2 * frequencies, *[width] * hidden_layers]
        hidden = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.SiLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, d))

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        """Return the output [n, d] for u [n, d] at times t [n]."""
        angle = t[:, None] * self.frequencies
        out: Tensor = self.layers(torch.cat([u, angle.sin(), angle.cos()], 1))
        return out
