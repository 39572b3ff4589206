"""Computes features of uint8 images, and caches those of real images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aegen_bench.data import cached_file
from aegen_bench.data.images import to_uint8
from aegen_bench.errors import UserError
from aegen_bench.evaluation import extractors
from aegen_bench.evaluation.cache import kept
from aegen_bench.evaluation.distortions import jpeg_roundtrip, stretch
from aegen_bench.evaluation.frechet import Accumulator, Moments, Reference, moments
from aegen_bench.evaluation.protocol import SUBSET_SEED, Protocol

__all__ = [
    "FeatureSource",
    "check_images",
    "chosen",
    "extract",
    "full_float32",
    "real_features",
    "stream",
    "subset",
    "to_uint8",
]

Features = NDArray[np.float32]


def check_images(images: NDArray[np.generic], what: str = "images") -> NDArray[np.uint8]:
    """Return the images if they are uint8 [n, 1 or 3, h, w] with n > 0, else raise a UserError that names `what`."""
    if np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{what} are {images.dtype}: round floats in [0, 1] with features.to_uint8 first")
    if images.dtype != np.uint8:
        raise UserError(f"{what} are {images.dtype}, expected uint8")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise UserError(f"{what} have shape {images.shape}, expected [n, 1 or 3 channels, height, width]")
    return cast("NDArray[np.uint8]", images)


def extract(
    images: NDArray[np.uint8],
    extractor: nn.Module,
    *,
    batch: int,
    device: str,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Return features, float32 [n, dim] or [n, packets, values], of uint8 images [n, 1 or 3, h, w].

    The extractor runs in eval mode and full float32.
    """
    parts: list[Features] = []

    def take(found: torch.Tensor) -> None:
        parts.append(found.cpu().numpy())

    stream(images, extractor, take, batch=batch, device=device, progress=progress)
    return np.concatenate(parts)


def stream(
    images: NDArray[np.uint8],
    extractor: nn.Module,
    take: Callable[[torch.Tensor], None],
    *,
    batch: int,
    device: str,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Call `take` with the features that `extract` returns, batch by batch, on the device, without collecting them."""
    check_images(images)
    extractor.to(device).eval()
    if torch.device(device).type == "cpu":
        # oneDNN's convolutions keep this layout: EfficientNet and Inception take two thirds of the time, and their
        # features differ by float32 rounding. Not measured on a GPU.
        extractor.to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast(torch.device(device).type, enabled=False), full_float32():
        for start in range(0, len(images), batch):
            x = torch.from_numpy(np.array(images[start : start + batch])).to(
                device
            )  # a copy: memory maps are read-only
            take(extractor(x))
            if progress is not None:
                progress(min(start + batch, len(images)), len(images))


@contextmanager
def full_float32() -> Iterator[None]:
    """Context in which TF32 is off, since its 10-bit mantissa changes distances, and so is the search for the fastest
    kernel, since it changes them between runs.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


class FeatureSource:
    """The features of one evaluation, and the time spent on them. The extractor is built on first use."""

    def __init__(
        self,
        protocol: Protocol,
        *,
        dataset: str,
        device: str,
        data_folder: Path,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.dataset = dataset
        self.protocol, self.device, self.data_folder, self.progress = protocol, device, data_folder, progress
        self.seconds = 0.0
        self._real: Features | None = None
        self._training: Features | None = None

    def generated(self, images: NDArray[np.uint8], what: str) -> Features:
        """Return the features of generated images; `what` names them in the progress display."""
        with self._clock():
            return extract(self._as_generated(images), self._network, **self._how(what))

    def moments(self, images: NDArray[np.uint8], what: str) -> Moments:
        """Return the moments of the features of generated images, on the device, without holding the features."""
        accumulator, host = Accumulator(), self.device == "cpu"
        with self._clock():
            stream(
                self._as_generated(images),
                self._network,
                lambda found: accumulator.add(found.numpy() if host else found),
                **self._how(what),
            )
        return accumulator.moments()

    def real(self, images: NDArray[np.uint8], fingerprint: str) -> Features:
        """Return the features of the real images, from the cache if it has them."""
        if self._real is None:
            self._real = real_features(
                images,
                self._of_real,
                protocol=self.protocol,
                fingerprint=self._content(fingerprint),
                data_folder=self.data_folder,
            )
        return self._real

    def training(self, images: NDArray[np.uint8] | None) -> Features | None:
        """Return the features of training images, cached like those of the real images; None for None."""
        if images is None or self._training is not None:
            return self._training
        content = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        whole = self.protocol.model_copy(update={"count": max(len(images), 2)})
        self._training = real_features(
            images,
            partial(self._of_real, what="training images"),
            protocol=whole,
            fingerprint=self._content(content),
            data_folder=self.data_folder,
        )
        return self._training

    def reference(self, images: NDArray[np.uint8], fingerprint: str) -> Reference:
        """Return the real side of a Fréchet distance, from the cache if it is there."""
        return real_reference(
            lambda: self.real(images, fingerprint),
            protocol=self.protocol,
            fingerprint=self._content(fingerprint),
            data_folder=self.data_folder,
        )

    def _content(self, fingerprint: str) -> str:
        """What identifies the real images in the cache: with one network per dataset, the dataset's name too."""
        own_network = isinstance(extractors.recipe(self.protocol.extractor).weights, dict)
        return f"{fingerprint}-{self.dataset}" if own_network else fingerprint

    def _of_real(self, images: NDArray[np.uint8], what: str = "real images") -> Features:
        prepared = jpeg_roundtrip(images) if self.protocol.jpeg_roundtrip else images
        with self._clock():
            return extract(prepared, self._network, **self._how(what))

    def _as_generated(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return stretch(images) if self.protocol.stretch else images

    @cached_property
    def _network(self) -> nn.Module:
        return extractors.build(self.protocol.extractor, self.data_folder, self.dataset)

    def _how(self, what: str) -> dict[str, Any]:
        tell = None if self.progress is None else partial(self.progress, what)
        return {"batch": self.protocol.batch, "device": self.device, "progress": tell}

    @contextmanager
    def _clock(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


def real_features(
    images: NDArray[np.uint8],
    compute: Callable[[NDArray[np.uint8]], Features],
    *,
    protocol: Protocol,
    fingerprint: str,
    data_folder: Path,
) -> Features:
    """Return features, float32 [min(n, count), ...], of those of the real images [n, c, h, w] that the protocol uses.

    Computed once for all rows, seeds and concurrent processes, and cached in the file of `data.cached_file`.
    `fingerprint` identifies the content of `images`.
    """
    check_images(images, "real images")
    n, dim = protocol.images(len(images)), extractors.recipe(protocol.extractor).dim

    def sound(held: dict[str, NDArray[Any]]) -> bool:
        features = held["features"]
        fits = len(features) == n and (dim is None or features.shape == (n, dim))
        return fits and features.dtype == np.float32 and bool(np.isfinite(features).all())

    file = cached_file(data_folder, f"{protocol.id}-{fingerprint}", "real.npy")
    return kept(file, sound, lambda: {"features": compute(subset(images, n))})["features"]


def real_reference(
    features: Callable[[], Features], *, protocol: Protocol, fingerprint: str, data_folder: Path
) -> Reference:
    """Return the reference of the real features, cached next to them: its factor costs more than a distance."""
    dim = extractors.recipe(protocol.extractor).dim

    def sound(held: dict[str, NDArray[Any]]) -> bool:
        *packets, width = held["mean"].shape
        shapes = {"factor": (*packets, width, width), "trace": (*packets,)}
        fits = dim in (None, width) and all(held[name].shape == shape for name, shape in shapes.items())
        return fits and all(np.isfinite(held[name]).all() for name in ("mean", *shapes))

    def compute() -> dict[str, NDArray[Any]]:
        made = Reference.of(moments(features()))
        return {"mean": made.mean, "factor": made.factor, "trace": np.array(made.trace)}

    held = kept(cached_file(data_folder, f"{protocol.id}-{fingerprint}", "reference.npz"), sound, compute)
    return Reference(held["mean"], held["factor"], held["trace"])


def subset(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return `count` of the images, always the same ones, in their order; all of them if there are no more."""
    if count >= len(images):
        return images
    return images[chosen(len(images), count)]


def chosen(available: int, count: int) -> NDArray[np.int64]:
    """Return the sorted indices of the `count` images, of `available` ones, that a protocol uses."""
    return np.sort(np.random.default_rng(SUBSET_SEED).permutation(available)[:count])
