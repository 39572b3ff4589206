"""Images of any generator, as they lie on a disk: a folder of files, an npz or an npy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from aegen_bench.data.images import Images, as_saved, decode, header, list_images, to_uint8
from aegen_bench.errors import UserError

__all__ = ["Files", "find"]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Files:
    """Images that lie somewhere: how many, what stands for their content, and `take(index, shape)`, which reads some.

    `shape` (C, S, S) is what each must have; UserError names the file or number at fault.
    """

    path: Path
    count: int
    digest: str
    take: Callable[[NDArray[np.int64], Shape], Images]
    first: Callable[[], Shape]


def find(path: Path) -> Files:
    """Return the images of a folder of files, of an npz (the array `images`, `samples` or `arr_0`, or its only one)
    or of an npy; UserError where there are none.
    """
    if path.is_dir():
        return _folder(path)
    if path.suffix in (".npz", ".npy") and path.is_file():
        return _array(path)
    if not path.exists():
        raise UserError(f"{path}: no such folder or file")
    raise UserError(f"{path}: expected a folder of images, an .npz or an .npy")


def _folder(path: Path) -> Files:
    paths = list_images(path)
    if not paths:
        raise UserError(f"{path}: no images directly in this folder (png, jpg, jpeg, webp or bmp)")

    def take(index: NDArray[np.int64], shape: Shape) -> Images:
        out = np.empty((len(index), *shape), np.uint8)
        decode([paths[i] for i in index], partial(as_saved, shape=shape), out)
        return out

    def first() -> Shape:
        mode, width, height = header(paths[0])
        return 1 if mode in ("1", "L") else 3, height, width

    seen = hashlib.sha256()
    for file in paths:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
        seen.update(f"{file.name} {len(content)} ".encode() + content)
    return Files(path, len(paths), seen.hexdigest(), take, first)


def _array(path: Path) -> Files:
    array = _loaded(path)
    if array.ndim not in (3, 4) or not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
        raise UserError(
            f"{path}: expected images [n, h, w], [n, h, w, c] or [n, c, h, w], uint8 or float in [0, 1], "
            f"found {array.dtype} {array.shape}"
        )

    def take(index: NDArray[np.int64], shape: Shape) -> Images:
        images = _planar(array, shape, path)[index]
        try:
            return to_uint8(images) if np.issubdtype(images.dtype, np.floating) else images
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def first() -> Shape:
        one = array[:1]
        if one.ndim == 3:
            return 1, *one.shape[1:]
        channels_last = one.shape[3] in (1, 3)
        return cast(Shape, (one.shape[3], *one.shape[1:3]) if channels_last else one.shape[1:])

    return Files(path, len(array), hashlib.sha256(np.ascontiguousarray(array).data).hexdigest(), take, first)


def _loaded(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = [n for n in ("images", "samples", "arr_0") if n in loaded.files] or loaded.files
            if len(names) != 1 and names[0] not in ("images", "samples", "arr_0"):
                raise UserError(f"{path}: expected an array called images, samples or arr_0, found {', '.join(names)}")
            return np.asarray(loaded[names[0]])
    except UserError:
        raise
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        raise UserError(f"{path}: expected an array of images, found a file that does not load: {error}") from error


def _planar(array: NDArray[Any], shape: Shape, path: Path) -> NDArray[Any]:
    """The array as [n, C, S, S], whichever of the three layouts it has."""
    channels, height, width = shape
    if array.shape[1:] == shape:
        return array
    if array.shape[1:] == (height, width, channels):
        return array.transpose(0, 3, 1, 2)
    if channels == 1 and array.shape[1:] == (height, width):
        return array[:, None]
    raise UserError(f"{path}: images of shape {array.shape[1:]} do not fit {shape} (channels, height, width)")
