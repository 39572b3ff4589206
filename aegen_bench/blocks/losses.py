"""Losses and densities that two or more baselines share. Per sample [n] unless a line says otherwise."""

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
    """0.5 ||x - x_hat||^2 summed over all pixels, [n].

    Up to the constant (D/2) log(2 pi) this is -log N(x; x_hat, I), the reconstruction term of eq. 2 at beta = 1.
    """
    return 0.5 * (x_hat - x).square().flatten(1).sum(1)


def gaussian_nll(half_sse: Tensor, log_gamma: Tensor, dims: int) -> Tensor:
    """-log N(x; x_hat, gamma^2 I) over `dims` dimensions, constant included, from 0.5 ||x - x_hat||^2 of any shape.

    Its minimum over gamma is at gamma^2 = ||x - x_hat||^2 / dims (Dai & Wipf 2019, arXiv:1903.05789).
    """
    return half_sse * torch.exp(-2 * log_gamma) + dims * (log_gamma + 0.5 * LOG_2PI)


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)) summed over the d codes, [n] (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)


def standard_normal_nll(e: Tensor) -> Tensor:
    """-log N(e; 0, I), constant included, [n]: 0.5 ||e||^2 + (d/2) log(2 pi)."""
    return 0.5 * e.square().sum(1) + 0.5 * e.shape[1] * LOG_2PI


def gaussian_entropy(logvar: Tensor) -> Tensor:
    """Entropy of N(mu, exp(logvar)), [n]: 0.5 sum log s^2 + (d/2) log(2 pi e)."""
    return 0.5 * logvar.sum(1) + 0.5 * logvar.shape[1] * (LOG_2PI + 1)


def reparameterise(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """mu + s * eps, a draw of N(mu, s^2) for eps ~ N(0, I)."""
    return mu + torch.exp(0.5 * logvar) * eps
