"""Codes and uint8 images of a trained model: generated, reconstructed, interpolated.

Everything runs in eval mode without gradients. The noise of a draw is made in one call, so images do not depend on the
batch size. This is the only place that checks what a method returns: `BrokenContract` for something that is not a valid
image or code, `Diverged` for an image that is not finite.
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
from aegen_bench.numerics.neighbours import nearest
from aegen_bench.numerics.pixels import as_float, at_once
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

Images = NDArray[np.uint8]


def generate(model: Baseline, n: int, *, seed: int, draw: int, device: torch.device) -> Images:
    """Return n generated images, uint8 [n, C, S, S]. Each `draw` of a trial uses different noise."""
    with torch.no_grad(), model.eval().using(stream(seed, "noise", 0, draw, device)):
        return decode_noise(model, _noise(model, n))


def fixed_noise(model: Baseline, n: int, device: torch.device) -> Tensor:
    """Return noise for n images of a figure, the same for all seeds and rows whose noise has the same shape."""
    with torch.no_grad(), model.eval().using(stream(0, "artefacts", device=device)):
        return _noise(model, n)


def decode_noise(model: Baseline, noise: Tensor) -> Images:
    """Return decode(prior(noise)) as uint8 images [n, C, S, S], for noise with one row per sample."""
    with torch.inference_mode():
        model.eval()
        return np.concatenate([_images(model, _codes(model, e)) for e in torch.split(noise, at_once(model.nets.shape))])


def interpolate(model: Baseline, begin: Tensor, end: Tensor, steps: int) -> Images:
    """Return images along straight lines in noise space (paper, Figure 2f): uint8 [rows, steps, C, S, S].

    `begin` and `end` are noise with one row per line.
    """
    t = torch.linspace(0, 1, steps, device=begin.device).view(1, steps, *[1] * (begin.ndim - 1))
    line = (1 - t) * begin[:, None] + t * end[:, None]
    images = decode_noise(model, line.flatten(0, 1))
    return images.reshape(len(begin), steps, *images.shape[1:])


def reconstruct(model: Baseline, images: Images, *, seed: int, device: torch.device) -> Images | None:
    """Return decode(encode(x)) of uint8 images [n, C, S, S], as uint8; None for a method without an encoder."""
    z = encode(model, images, seed=seed, device=device)
    return None if z is None else decode(model, z)


def halfway(model: Baseline, z: Tensor, *, seed: int) -> Images:
    """Return images, uint8 [n, C, S, S], decoded half-way between random pairs of different codes.

    z [n, ...] are float codes; each is part of two pairs.
    """
    order = torch.randperm(len(z), generator=stream(seed, "pairs")).to(z.device)
    return decode(model, (z[order] + z[order.roll(1)]) / 2)


def halfway_to_nearest(model: Baseline, z: Tensor) -> Images:
    """Return images, uint8 [n, C, S, S], decoded half-way between each code and its nearest neighbour.

    z [n, ...] are float codes.
    """
    where, _ = nearest(z, z, 2)
    itself = where[:, 0] == torch.arange(len(z), device=z.device)  # false for some codes if there are equal ones
    return decode(model, (z + z[torch.where(itself, where[:, 1], where[:, 0])]) / 2)


def encode(model: Baseline, images: Images, *, seed: int, device: torch.device) -> Tensor | None:
    """Return the codes [n, ...] of uint8 images [n, C, S, S], on the device; None for a method without an encoder."""
    if not model.has("encode"):
        return None
    batch = at_once(model.nets.shape)
    starts = range(0, len(images), batch)
    with torch.inference_mode(), model.eval().using(stream(seed, "reconstruction", device=device)):
        batches = (torch.from_numpy(np.array(images[k : k + batch])).to(device) for k in starts)
        codes = []
        for batch_of_images in batches:
            codes.append(model.encode(as_float(batch_of_images)))
            _require_rows("encode(x)", codes[-1], len(batch_of_images))
        return torch.cat(codes)


def sample_codes(model: Baseline, n: int, *, seed: int, device: torch.device) -> Tensor:
    """Return n sampled codes, prior(noise(n)), on the device."""
    with torch.inference_mode(), model.eval().using(stream(seed, "noise", device=device)):
        return torch.cat([_codes(model, e) for e in torch.split(_noise(model, n), at_once(model.nets.shape))])


def decode(model: Baseline, z: Tensor) -> Images:
    """Return the uint8 images [n, C, S, S] of codes [n, ...]."""
    with torch.inference_mode():
        model.eval()
        return np.concatenate([_images(model, part) for part in torch.split(z, at_once(model.nets.shape))])


def fault(name: str, images: Any, shape: tuple[int, ...]) -> str:
    """Return what is wrong with `images`, which should be float images of this shape [n, C, S, S] in [0, 1]; else "".

    Values may exceed [0, 1] by half a grey level, which rounding removes, or by the precision of their type if that is
    coarser, as for bfloat16. Values that are not finite are left to `to_uint8`.
    """
    if not isinstance(images, Tensor):
        return f"{name} returns {type(images).__name__}, but images must be a tensor"
    if images.shape != shape:
        return f"{name} returns shape {tuple(images.shape)}, but images have shape {tuple(shape)}"
    if not images.is_floating_point():
        return f"{name} returns {images.dtype}, but images must be floats in [0, 1]"
    low, high = map(float, torch.aminmax(images))
    slack = max(0.5 / 255, torch.finfo(images.dtype).eps)
    if math.isfinite(high - low) and (low < -slack or high > 1 + slack):
        return f"{name} returns values from {low:.3g} to {high:.3g}, but images must be in [0, 1]"
    return ""


def to_uint8(images: Tensor) -> Any:
    """Round float images in [0, 1] to uint8, on the CPU. Raises Diverged if a pixel is not finite."""
    if not torch.isfinite(images).all():
        raise Diverged("a generated image is not finite")
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


def _images(model: Baseline, z: Tensor) -> Any:
    """Return decode(z) as uint8 images [n, C, S, S] on the CPU."""
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
        raise BrokenContract(f"{name} returns {what} for {n} samples, but must return a tensor with one row for each")
