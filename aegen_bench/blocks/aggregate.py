"""What methods share that match the codes of all images together, not image by image, with a prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["moment_distance", "taken_for", "truncated_normal"]


def taken_for(real: bool, logits: Tensor) -> Tensor:
    """Mean binary cross-entropy of an adversary's logits against one label for all; the prior is the real class."""
    return softplus(-logits if real else logits).mean()


def moment_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of the means of a and b, both [n, d], plus that of their covariances; shape ()."""
    means = (a.mean(0) - b.mean(0)).square().mean()
    return means + (_covariance(a) - _covariance(b)).square().mean()


def _covariance(z: Tensor) -> Tensor:
    centred = z - z.mean(0)  # torch.cov would wait for the device
    return centred.T @ centred / (len(z) - 1)


def truncated_normal(u: Tensor) -> Tensor:
    """u uniform in [0, 1) -> a standard normal cut off at two standard deviations, as TensorFlow's truncated_normal."""
    return math.sqrt(2) * torch.erfinv((2 * u - 1) * math.erf(math.sqrt(2)))
