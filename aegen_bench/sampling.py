"""A trained baseline -> uint8 image sets: generated, reconstructed, interpolated.

All of it runs in eval mode without gradients. A draw's noise is made in one call, so the images do not depend on the
batch size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aegen_bench.baseline import Baseline
from aegen_bench.errors import Diverged
from aegen_bench.seeding import stream
from aegen_bench.training import as_float

__all__ = ["decode_noise", "fixed_noise", "generate", "interpolate", "reconstruct", "to_uint8"]

BATCH = 500

Images = NDArray[np.uint8]


def generate(model: Baseline, n: int, *, seed: int, draw: int, device: torch.device) -> Images:
    """Return n generated images, uint8 [n, C, S, S]; another `draw` of the same trial has other noise."""
    with torch.no_grad(), model.eval().using(stream(seed, "noise", 0, draw, device)):
        return decode_noise(model, model.noise(n))


def fixed_noise(model: Baseline, n: int, device: torch.device) -> Tensor:
    """Noise for grids and interpolations: the same for every seed and row whose noise has the same shape. No
    selection.
    """
    with torch.no_grad(), model.eval().using(stream(0, "artefacts", device=device)):
        return model.noise(n)


def decode_noise(model: Baseline, noise: Tensor) -> Images:
    """Noise, one row a sample -> uint8 images: decode(prior(noise))."""
    with torch.inference_mode():
        model.eval()
        return np.concatenate([to_uint8(model.decode(model.prior(e))) for e in torch.split(noise, BATCH)])


def interpolate(model: Baseline, begin: Tensor, end: Tensor, steps: int) -> Images:
    """Straight lines in noise space (paper, Figure 2f) between rows of noise: uint8 [rows, steps, C, S, S]."""
    t = torch.linspace(0, 1, steps, device=begin.device).view(1, steps, *[1] * (begin.ndim - 1))
    line = (1 - t) * begin[:, None] + t * end[:, None]
    images = decode_noise(model, line.flatten(0, 1))
    return images.reshape(len(begin), steps, *images.shape[1:])


def reconstruct(model: Baseline, images: Images, *, seed: int, device: torch.device) -> Images | None:
    """decode(encode(x)) of uint8 images [n, C, S, S]; None for a method without an encoder."""
    if not model.has("encode"):
        return None
    parts = []
    with torch.inference_mode(), model.eval().using(stream(seed, "reconstruction", device=device)):
        for begin in range(0, len(images), BATCH):
            x = as_float(torch.from_numpy(np.array(images[begin : begin + BATCH])).to(device))
            parts.append(to_uint8(model.decode(model.encode(x))))
    return np.concatenate(parts)


def to_uint8(images: Tensor) -> Any:
    """Float images in [0, 1] -> uint8 by rounding, on the CPU. Raises Diverged if a pixel is not finite."""
    if not torch.isfinite(images).all():
        raise Diverged("a generated image is not finite")
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
