"""Images of any generator on disk: a folder of files, an npz or an npy."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from aegen_bench.data.images import FORMATS, MAX_BYTES, Images, as_saved, decode, list_images, to_uint8
from aegen_bench.data.sources import memory
from aegen_bench.errors import UserError
from aegen_bench.files import read_array, read_arrays, read_bytes, shown

__all__ = ["Files", "as_uint8", "find"]

Shape = tuple[int, int, int]

PREFERRED: tuple[str, ...] = ("images", "samples", "arr_0")


@dataclass(frozen=True)
class Files:
    """Images on disk: their number, a hash of their content, and functions to read them.

    `take(index, shape)` reads some of them, each of which must have `shape` (C, S, S); UserError names the first that
    does not. `first()` returns the shape of the first image.
    """

    path: Path
    count: int
    digest: str
    take: Callable[[NDArray[np.int64], Shape], Images]
    first: Callable[[], Shape]


def find(path: Path) -> Files:
    """Return the images in a folder of files, in an npz (the array `images`, `samples` or `arr_0`, or the only one) or
    in an npy. UserError if there are fewer than two, which have no distance.
    """
    if path.is_dir():
        files = _folder(path)
    elif path.suffix in (".npz", ".npy") and path.exists():
        files = _array(path)
    elif not path.exists():
        raise UserError(f"{shown(path)}: no such folder or file")
    else:
        raise UserError(f"{shown(path)}: expected a folder of images, an .npz or an .npy")
    if files.count < 2:
        raise UserError(f"{shown(path)}: expected 2 images or more, found {files.count}")
    return files


def as_uint8(images: Any) -> Images:
    """Return an array or tensor of images as uint8, rounding floats in [0, 1]. UserError for other types and ranges."""
    try:
        array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    except Exception as error:  # numpy and torch raise many kinds for sparse, meta and bfloat16 tensors, and lists
        reason = " ".join(str(error).split())
        kind = " ".join(str(getattr(images, name, "")) for name in ("layout", "dtype", "device")).strip()
        raise UserError(
            f"images of {type(images).__name__} {kind} cannot be converted to a numpy array ({reason}): "
            "give a dense array or tensor, uint8 or float32"
        ) from error
    if np.issubdtype(array.dtype, np.floating):
        return to_uint8(array) if array.size else array.astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"images are {array.dtype}: expected uint8, or float in [0, 1]")
    return array


def _folder(path: Path) -> Files:
    paths = list_images(path)
    if not paths:
        inside = next((folder for folder in sorted(path.glob("*/")) if list_images(folder)), None)
        hint = f"; {shown(inside)} has some" if inside else ""
        raise UserError(f"{shown(path)}: no images directly in this folder ({', '.join(FORMATS)}){hint}")

    def take(index: NDArray[np.int64], shape: Shape) -> Images:
        out = np.empty((len(index), *shape), np.uint8)
        decode([paths[i] for i in index], partial(as_saved, shape=shape), out)
        return out

    def first() -> Shape:
        return cast(Shape, as_saved(paths[0]).shape)

    seen = hashlib.sha256()
    for file in paths:
        try:
            content = read_bytes(file, MAX_BYTES)
        except OSError as error:
            raise UserError(f"{shown(file)}: cannot be read: {error.strerror or error}") from error
        seen.update(os.fsencode(file.name) + f" {len(content)} ".encode() + content)
    return Files(path, len(paths), seen.hexdigest(), take, first)


def _array(path: Path) -> Files:
    array = _loaded(path)
    planes = array.ndim == 3 or (array.ndim == 4 and {1, 3} & {array.shape[1], array.shape[3]})
    if not planes or not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
        raise UserError(
            f"{shown(path)}: expected images [n, h, w], [n, h, w, c] or [n, c, h, w] with 1 or 3 channels, "
            f"uint8 or float in [0, 1], found {array.dtype} {array.shape}"
        )

    def take(index: NDArray[np.int64], shape: Shape) -> Images:
        images = _planar(array, shape, path)[index]
        try:
            return to_uint8(images) if np.issubdtype(images.dtype, np.floating) else images
        except UserError as error:
            raise UserError(f"{shown(path)}: {error}") from None

    def first() -> Shape:
        one = array[:1]
        if one.ndim == 3:
            return 1, *one.shape[1:]
        channels_last = one.shape[3] in (1, 3)
        return cast(Shape, (one.shape[3], *one.shape[1:3]) if channels_last else one.shape[1:])

    return Files(path, len(array), hashlib.sha256(np.ascontiguousarray(array).data).hexdigest(), take, first)


def _loaded(path: Path) -> NDArray[Any]:
    try:
        if path.suffix == ".npy":
            return read_array(path, memory())
        arrays = read_arrays(path, memory())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{shown(path)}: expected an array of images, found a file that does not load: {reason}"
        ) from error
    usual = [name for name in PREFERRED if name in arrays]
    names = usual[:1] or list(arrays)
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise UserError(f"{shown(path)}: expected an array called images, samples or arr_0, found {found}")
    return arrays[names[0]]


def _planar(array: NDArray[Any], shape: Shape, path: Path) -> NDArray[Any]:
    """Return the array as [n, C, S, S], whichever of the three layouts it has."""
    channels, height, width = shape
    if array.shape[1:] == shape:
        return array
    if array.shape[1:] == (height, width, channels):
        return array.transpose(0, 3, 1, 2)
    if channels == 1 and array.shape[1:] == (height, width):
        return array[:, None]
    raise UserError(f"{shown(path)}: images of shape {array.shape[1:]} do not fit {shape} (channels, height, width)")
