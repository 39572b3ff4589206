"""Image files -> uint8 pixels: decode, centre crop, resize, by all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aegen_bench.data.recipe import Recipe
from aegen_bench.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SUFFIXES",
    "Images",
    "Progress",
    "as_saved",
    "decode",
    "header",
    "list_images",
    "pixels",
    "survey",
    "tf1_bilinear",
    "to_uint8",
]

Images = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
BATCH = 256


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in `folder`, in name order; none where there is no such folder."""
    if not folder.is_dir():
        return []
    # Names with a leading dot are the resource forks that macOS writes beside the images.
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def survey(paths: Sequence[Path], recipe: Recipe) -> tuple[int, int]:
    """Return (channels, side) of the array these files make; channels is 1 only if all of them are grey."""
    from joblib import Parallel, delayed

    headers = Parallel(n_jobs=-1, prefer="threads")(delayed(header)(path) for path in paths)
    channels = 1 if all(mode in ("1", "L", "LA") for mode, _, _ in headers) else 3
    side = recipe.size or recipe.crop
    if side is not None:
        return channels, side
    side = headers[0][1]
    for path, (_, width, height) in zip(paths, headers, strict=True):
        if width != side or height != side or side % 4:
            raise UserError(
                f"{path}: expected square images of one side divisible by 4 ({paths[0].name} has {side}), "
                f"found {width}x{height}: declare a size, and a crop if they are not square"
            )
    return channels, side


def decode(
    paths: Sequence[Path], read: Callable[[Path], Images], out: Images, progress: Progress | None = None
) -> None:
    """Write what `read` makes of the files, in their order, into `out` (N, C, S, S), calling `progress(done, N)`."""
    from joblib import Parallel, delayed

    def batch(start: int) -> int:
        for i, path in enumerate(paths[start : start + BATCH], start):
            out[i] = read(path)
        return len(paths[start : start + BATCH])

    # Threads, for PIL decodes and resizes outside the GIL and `out` is shared without a copy.
    workers = Parallel(n_jobs=-1, prefer="threads", return_as="generator_unordered")
    done = 0
    for count in workers(delayed(batch)(start) for start in range(0, len(paths), BATCH)):
        done += count
        if progress is not None:
            progress(done, len(paths))


def pixels(path: Path, recipe: Recipe, *, channels: int, side: int) -> Images:
    """Return one file as (channels, side, side). UserError if it cannot be decoded or does not fit."""
    from PIL import Image

    with _opened(path) as opened:
        _require_opaque(path, opened)
        image = opened.convert("L" if channels == 1 else "RGB")
    if recipe.crop is not None:
        left, top = (image.width - recipe.crop) // 2, (image.height - recipe.crop) // 2
        if left < 0 or top < 0:
            raise UserError(f"{path}: expected at least the crop of {recipe.crop}, found {_size(image)}")
        image = image.crop((left, top, left + recipe.crop, top + recipe.crop))
    if image.width != image.height:
        raise UserError(f"{path}: expected a square image, found {_size(image)}: declare a crop")
    if image.width != side:
        if recipe.resize == "tf1_bilinear":
            return _planar(tf1_bilinear(np.asarray(image), side))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return _planar(np.asarray(image))


def to_uint8(images: npt.NDArray[np.floating]) -> Images:
    """Round float images in [0, 1] to uint8. Others are refused: clipping would hide another scale."""
    if not ((images >= 0) & (images <= 1)).all():  # written so that NaN fails too
        raise UserError(f"float images must lie in [0, 1]; these span [{images.min():g}, {images.max():g}]")
    rounded: Images = np.rint(images * 255).astype(np.uint8)
    return rounded


def as_saved(path: Path, shape: tuple[int, int, int]) -> Images:
    """Return one file exactly as it was saved, (C, S, S); UserError if it has another size or other channels.

    A grey image saved in colour, with three equal channels, is a grey image; an alpha channel that hides nothing, as
    matplotlib writes it, is none.
    """
    channels, height, width = shape
    with _opened(path) as opened:
        _require_opaque(path, opened)
        if opened.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):  # CMYK and others are another space
            raise UserError(f"{path}: expected a grey or RGB image, found mode {opened.mode}: save it as RGB")
        image = np.asarray(opened.convert("L" if opened.mode in ("1", "L", "LA") else "RGB"))
        if (opened.width, opened.height) != (width, height):
            raise UserError(f"{path}: expected {width}x{height} pixels, found {_size(opened)}: nothing is resized here")
    if channels == 1 and image.ndim == 3 and (image == image[..., :1]).all():
        image = image[..., 0]
    if _planar(image).shape != shape:
        hint = ": save it as RGB" if channels == 3 else ""
        raise UserError(f"{path}: expected {_colour(channels)}, found {_colour(len(_planar(image)))}{hint}")
    return _planar(image)


def _colour(channels: int) -> str:
    return "a grey image (1 channel)" if channels == 1 else "a colour image (3 channels)"


def tf1_bilinear(image: Images, side: int) -> Images:
    """Resize (H, W) or (H, W, C) as TensorFlow 1's `resize_bilinear` with align_corners=False, which
    compare_gan uses: source row i * H / side, no half-pixel centres, no antialiasing, so CelebA is aliased.

    Deviation: rounded to uint8 (halves to even), where compare_gan keeps floats.
    """
    x = image.astype(np.float32)
    for axis in (0, 1):
        last = x.shape[axis] - 1
        at = np.arange(side) * (x.shape[axis] / side)
        low = np.floor(at).astype(int)
        weight = (at - low).astype(np.float32).reshape((-1,) + (1,) * (x.ndim - axis - 1))
        lower, upper = x.take(low, axis), x.take(np.minimum(low + 1, last), axis)
        x = lower + (upper - lower) * weight
    return np.rint(x).astype(np.uint8)


def _planar(image: Images) -> Images:
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


def _size(image: Image) -> str:
    return f"{image.width}x{image.height}"


def header(path: Path) -> tuple[str, int, int]:
    """Return Pillow's mode, width and height; nothing is decoded."""
    with _opened(path) as image:
        return image.mode, image.width, image.height


def _require_opaque(path: Path, image: Image) -> None:
    """What lies under transparent pixels is nobody's picture."""
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise UserError(f"{path}: expected no transparency, found mode {image.mode}: save it without")


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            # Pillow clips deeper pixels at 255 when it converts them: white images, without a word.
            if image.mode == "F" or image.mode.startswith("I"):
                raise UserError(f"{path}: expected 8 bits a channel, found mode {image.mode}")
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: expected an image here, found no file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: expected a whole image, found one that does not decode: {error}") from error
