"""A trained baseline -> codes and uint8 image sets: generated, reconstructed, interpolated.

All of it runs in eval mode without gradients. A draw's noise is made in one call, so the images do not depend on the
batch size. What a method gives is checked here, and nowhere else: `BrokenContract` for what is no image or no code,
`Diverged` for an image that is not finite.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aegen_bench.baseline import Baseline
from aegen_bench.errors import BrokenContract, Diverged
from aegen_bench.numerics.chunks import rows
from aegen_bench.numerics.neighbours import nearest
from aegen_bench.numerics.pixels import as_float
from aegen_bench.seeding import stream

__all__ = [
    "decode",
    "decode_noise",
    "encode",
    "fault",
    "fixed_noise",
    "generate",
    "halfway",
    "halfway_to_nearest",
    "interpolate",
    "reconstruct",
    "sample_codes",
    "to_uint8",
]

BATCH = 500

Images = NDArray[np.uint8]


def generate(model: Baseline, n: int, *, seed: int, draw: int, device: torch.device) -> Images:
    """Return n generated images, uint8 [n, C, S, S]; another `draw` of the same trial has other noise."""
    with torch.no_grad(), model.eval().using(stream(seed, "noise", 0, draw, device)):
        return decode_noise(model, _noise(model, n))


def fixed_noise(model: Baseline, n: int, device: torch.device) -> Tensor:
    """Noise for grids and interpolations: the same for every seed and row whose noise has the same shape. No
    selection.
    """
    with torch.no_grad(), model.eval().using(stream(0, "artefacts", device=device)):
        return _noise(model, n)


def decode_noise(model: Baseline, noise: Tensor) -> Images:
    """Noise, one row a sample -> uint8 images: decode(prior(noise))."""
    with torch.inference_mode():
        model.eval()
        return np.concatenate([_images(model, _codes(model, e)) for e in torch.split(noise, _at_once(model))])


def interpolate(model: Baseline, begin: Tensor, end: Tensor, steps: int) -> Images:
    """Straight lines in noise space (paper, Figure 2f) between rows of noise: uint8 [rows, steps, C, S, S]."""
    t = torch.linspace(0, 1, steps, device=begin.device).view(1, steps, *[1] * (begin.ndim - 1))
    line = (1 - t) * begin[:, None] + t * end[:, None]
    images = decode_noise(model, line.flatten(0, 1))
    return images.reshape(len(begin), steps, *images.shape[1:])


def reconstruct(model: Baseline, images: Images, *, seed: int, device: torch.device) -> Images | None:
    """decode(encode(x)) of uint8 images [n, C, S, S]; None for a method without an encoder."""
    z = encode(model, images, seed=seed, device=device)
    return None if z is None else decode(model, z)


def halfway(model: Baseline, z: Tensor, *, seed: int) -> Images:
    """Images, uint8 [n, C, S, S], decoded half-way between each of these codes and another, which none is to itself.

    z, one row a code, is of floats: integers have no half-way.
    """
    order = torch.randperm(len(z), generator=stream(seed, "pairs")).to(z.device)
    return decode(model, (z[order] + z[order.roll(1)]) / 2)


def halfway_to_nearest(model: Baseline, z: Tensor) -> Images:
    """Images, uint8 [n, C, S, S], decoded half-way between each of these codes and its nearest other one.

    z, one row a code, is of floats.
    """
    where, _ = nearest(z, z, 2)
    itself = where[:, 0] == torch.arange(len(z), device=z.device)  # not so where codes are equal
    return decode(model, (z + z[torch.where(itself, where[:, 1], where[:, 0])]) / 2)


def encode(model: Baseline, images: Images, *, seed: int, device: torch.device) -> Tensor | None:
    """Codes of uint8 images [n, C, S, S], one row an image, on the device; None for a method without an encoder."""
    if not model.has("encode"):
        return None
    batch = _at_once(model)
    starts = range(0, len(images), batch)
    with torch.inference_mode(), model.eval().using(stream(seed, "reconstruction", device=device)):
        batches = (torch.from_numpy(np.array(images[k : k + batch])).to(device) for k in starts)
        codes = []
        for batch_of_images in batches:
            codes.append(model.encode(as_float(batch_of_images)))
            _require_rows("encode(x)", codes[-1], len(batch_of_images))
        return torch.cat(codes)


def sample_codes(model: Baseline, n: int, *, seed: int, device: torch.device) -> Tensor:
    """n codes as sampling makes them, prior(noise(n)), on the device."""
    with torch.inference_mode(), model.eval().using(stream(seed, "noise", device=device)):
        return torch.cat([_codes(model, e) for e in torch.split(_noise(model, n), _at_once(model))])


def decode(model: Baseline, z: Tensor) -> Images:
    """Codes, one row an image -> uint8 images [n, C, S, S]."""
    with torch.inference_mode():
        model.eval()
        return np.concatenate([_images(model, part) for part in torch.split(z, _at_once(model))])


def _at_once(model: Baseline) -> int:
    return rows(BATCH, model.nets.pixels)


def fault(name: str, images: Any, shape: tuple[int, ...]) -> str:
    """What is wrong with what should be float images of this shape [n, C, S, S] in [0, 1]; empty if nothing.

    A value that is not finite is left to `to_uint8`.

    A value may leave [0, 1] by half a grey level, which changes no image, since it is rounded to 0 or 255 anyway; or by
    the rounding of its own type where that is coarser, as in bfloat16.
    """
    if not isinstance(images, Tensor):
        return f"{name} gives {type(images).__name__}, images are a tensor"
    if images.shape != shape:
        return f"{name} gives shape {tuple(images.shape)}, the images are {tuple(shape)}"
    if not images.is_floating_point():
        return f"{name} gives {images.dtype}, images are floats in [0, 1]"
    low, high = map(float, torch.aminmax(images))
    slack = max(0.5 / 255, torch.finfo(images.dtype).eps)
    if math.isfinite(high - low) and (low < -slack or high > 1 + slack):
        return f"{name} has values from {low:.3g} to {high:.3g}, images lie in [0, 1]"
    return ""


def to_uint8(images: Tensor) -> Any:
    """Float images in [0, 1] -> uint8 by rounding, on the CPU. Raises Diverged if a pixel is not finite."""
    if not torch.isfinite(images).all():
        raise Diverged("a generated image is not finite")
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


def _images(model: Baseline, z: Tensor) -> Any:
    """decode(z) as uint8 images [n, C, S, S] on the CPU."""
    images = model.decode(z)
    if found := fault("decode(z)", images, (len(z), *model.nets.shape)):
        raise BrokenContract(found)
    return to_uint8(images)


def _codes(model: Baseline, e: Tensor) -> Tensor:
    codes = model.prior(e)
    _require_rows("prior(e)", codes, len(e))
    return codes


def _noise(model: Baseline, n: int) -> Tensor:
    noise = model.noise(n)
    _require_rows(f"noise({n})", noise, n)
    return noise


def _require_rows(name: str, given: Any, n: int) -> None:
    if not isinstance(given, Tensor) or given.ndim == 0 or len(given) != n:
        what = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise BrokenContract(f"{name} gives {what} for {n} rows: a tensor with a row for each is needed")
