"""Functions for methods that match the aggregate distribution of codes, rather than each image's, to a prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["moment_distance", "taken_for", "truncated_normal"]


def taken_for(real: bool, logits: Tensor) -> Tensor:
    """Mean binary cross-entropy of an adversary's logits, of any shape, if all samples are labelled `real` or not.

    Samples of the prior are the real class. Shape ().
    """
    return softplus(-logits if real else logits).mean()


def moment_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference between the means of a and b, both [n, d], plus that between covariances: shape ()."""
    means = (a.mean(0) - b.mean(0)).square().mean()
    return means + (_covariance(a) - _covariance(b)).square().mean()


def _covariance(z: Tensor) -> Tensor:
    centred = z - z.mean(0)  # torch.cov would synchronise with the device
    return centred.T @ centred / (len(z) - 1)


def truncated_normal(u: Tensor) -> Tensor:
    """Map uniform u in [0, 1), of any shape, to a standard normal truncated at two standard deviations.

    This is TensorFlow's truncated_normal.
    """
    return math.sqrt(2) * torch.erfinv((2 * u - 1) * math.erf(math.sqrt(2)))
