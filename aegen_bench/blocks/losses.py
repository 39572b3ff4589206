"""Losses and densities that several baselines share. They return one number per sample, [n], unless stated."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "gaussian_entropy",
    "gaussian_nll",
    "half_sse",
    "kl_standard_normal",
    "reparameterise",
    "standard_normal_nll",
]

LOG_2PI = math.log(2 * math.pi)


def half_sse(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return 0.5 ||x - x_hat||^2, summed over all pixels of images [n, C, S, S]: [n].

    Up to the constant (D/2) log(2 pi), this is -log N(x; x_hat, I), the reconstruction term of eq. 2 at beta = 1.
    """
    return 0.5 * (x_hat - x).square().flatten(1).sum(1)


def gaussian_nll(half_sse: Tensor, log_gamma: Tensor, dims: int) -> Tensor:
    """Return -log N(x; x_hat, gamma^2 I) over `dims` dimensions, including the constant, from 0.5 ||x - x_hat||^2.

    The result has the shape of `half_sse`. It is minimal at gamma^2 = ||x - x_hat||^2 / dims (Dai & Wipf 2019,
    arXiv:1903.05789).
    """
    return half_sse * torch.exp(-2 * log_gamma) + dims * (log_gamma + 0.5 * LOG_2PI)


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, I)) for mu and logvar [n, d]: [n] (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)


def standard_normal_nll(e: Tensor) -> Tensor:
    """Return -log N(e; 0, I) for e [n, d], including the constant: 0.5 ||e||^2 + (d/2) log(2 pi), [n]."""
    return 0.5 * e.square().sum(1) + 0.5 * e.shape[1] * LOG_2PI


def gaussian_entropy(logvar: Tensor) -> Tensor:
    """Return the entropy of N(mu, exp(logvar)) for logvar [n, d]: 0.5 sum log s^2 + (d/2) log(2 pi e), [n]."""
    return 0.5 * logvar.sum(1) + 0.5 * logvar.shape[1] * (LOG_2PI + 1)


def reparameterise(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """Return mu + s * eps, a sample of N(mu, s^2) for eps ~ N(0, I); all [n, d], with logvar = log s^2."""
    return mu + torch.exp(0.5 * logvar) * eps
