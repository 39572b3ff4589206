"""Image files -> uint8 pixels: what is accepted, then decode, centre crop and resize, by all cores.

Every image file that the bench reads, of a dataset or of a generator, goes through `opened`; docs/images.md has the
table of what it accepts.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aegen_bench.data.recipe import Recipe
from aegen_bench.errors import UserError
from aegen_bench.files import regular, shown

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "FORMATS",
    "MODES",
    "Images",
    "Progress",
    "as_saved",
    "decode",
    "list_images",
    "pixels",
    "survey",
    "tf1_bilinear",
    "to_uint8",
]

Images = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]

# By the name that Pillow gives a format, the endings of its files. Pillow tries no other decoder on them.
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
}
# By Pillow's mode, 8 bits a channel each, what an image is taken for. An alpha channel must hide nothing.
MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}
MAX_PIXELS = 8192 * 8192
MAX_BYTES = 1 << 30
BATCH = 256

_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
_DEEP = re.compile(r";(16|32)[BLN]")  # Pillow reads such pixels by their high bytes


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in `folder`, in name order; none where there is no such folder.

    UserError where the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            # Names with a leading dot are the resource forks that macOS writes beside the images.
            names = [e.name for e in entries if os.path.splitext(e.name)[1].lower() in _SUFFIXES and e.name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{shown(folder)}: cannot be listed: {error.strerror or error}") from error
    return [folder / name for name in sorted(names)]


def survey(paths: Sequence[Path], recipe: Recipe) -> tuple[int, int]:
    """Return (channels, side) of the array these files make; channels is 1 only if all of them are grey."""
    from joblib import Parallel, delayed

    headers = Parallel(n_jobs=-1, prefer="threads")(delayed(_header)(path) for path in paths)
    channels = 1 if all(mode == "L" for mode, _, _ in headers) else 3
    side = recipe.size or recipe.crop
    if side is not None:
        return channels, side
    side = headers[0][1]
    for path, (_, width, height) in zip(paths, headers, strict=True):
        if width != side or height != side or side % 4:
            raise UserError(
                f"{shown(path)}: expected square images of one side divisible by 4 ({shown(paths[0].name)} has {side}),"
                f" found {width}x{height}: declare a size, and a crop if they are not square"
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

    # Threads, because Pillow decodes and resizes without the GIL, and `out` is shared without a copy.
    workers = Parallel(n_jobs=-1, prefer="threads", return_as="generator_unordered")
    done = 0
    for count in workers(delayed(batch)(start) for start in range(0, len(paths), BATCH)):
        done += count
        if progress is not None:
            progress(done, len(paths))


def pixels(path: Path, recipe: Recipe, *, channels: int, side: int) -> Images:
    """Return one file as (channels, side, side). UserError if it cannot be decoded or does not fit."""
    from PIL import Image

    image = _read(path).convert("L" if channels == 1 else "RGB")
    if recipe.crop is not None:
        left, top = (image.width - recipe.crop) // 2, (image.height - recipe.crop) // 2
        if left < 0 or top < 0:
            raise UserError(f"{shown(path)}: expected at least the crop of {recipe.crop}, found {_size(image)}")
        image = image.crop((left, top, left + recipe.crop, top + recipe.crop))
    if image.width != image.height:
        raise UserError(f"{shown(path)}: expected a square image, found {_size(image)}: declare a crop")
    if image.width != side:
        if recipe.resize == "tf1_bilinear":
            return _planar(tf1_bilinear(np.asarray(image), side))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return _planar(np.asarray(image))


def as_saved(path: Path, shape: tuple[int, int, int] | None = None) -> Images:
    """Return one file exactly as it was saved, (C, S, S); UserError if it has another `shape` than the one given.

    A grey image saved in colour, with three equal channels, counts as a grey image where one is expected.
    """
    image = _planar(np.asarray(_read(path)))
    if shape is None:
        return image
    if image.shape[1:] != shape[1:]:
        expected, found = (f"{width}x{height}" for height, width in (shape[1:], image.shape[1:]))
        raise UserError(f"{shown(path)}: expected {expected} pixels, found {found}: nothing is resized here")
    if shape[0] == 1 and (image == image[:1]).all():
        image = image[:1]
    if image.shape != shape:
        hint = ": save it as RGB" if shape[0] == 3 else ""
        raise UserError(f"{shown(path)}: expected {_colour(shape[0])}, found {_colour(len(image))}{hint}")
    return image


def to_uint8(images: npt.NDArray[np.floating]) -> Images:
    """Round float images in [0, 1] to uint8: every value must round to one of 0, ..., 255.

    So 1.0000001, which comes of rounding, is 255. Other values are refused: clipping would hide another scale.
    """
    levels = np.rint(images * 255)
    if not ((levels >= 0) & (levels <= 255)).all():  # written so that NaN fails too
        raise UserError(f"float images must lie in [0, 1]; these span [{images.min():.8g}, {images.max():.8g}]")
    rounded: Images = levels.astype(np.uint8)
    return rounded


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


def _header(path: Path) -> tuple[str, int, int]:
    """Return L or RGB, width and height; nothing is decoded."""
    with opened(path) as image:
        return MODES[image.mode], image.width, image.height


def _read(path: Path) -> Image:
    """Return one file decoded, upright as its EXIF orientation says, as L or RGB."""
    from PIL import ImageOps

    with opened(path) as image:
        if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
            # What lies under transparent pixels is nobody's picture.
            raise UserError(f"{shown(path)}: expected no transparency, found mode {image.mode}: save it without")
        return ImageOps.exif_transpose(image.convert(MODES[image.mode]))


@contextmanager
def opened(path: Path) -> Iterator[Image]:
    """Within: an image of a documented format and mode, its pixels not decoded yet.

    UserError, here or while it is decoded, for everything else.
    """
    try:
        with regular(path, MAX_BYTES) as file, _pillow().open(file, formats=list(FORMATS)) as image:
            _check(image, path)
            yield image
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{shown(path)}: expected an image here, found no file") from None
    except _pillow().UnidentifiedImageError:
        raise UserError(f"{shown(path)}: expected a whole image ({', '.join(FORMATS)}), found something else") from None
    except Exception as error:  # what Pillow raises for damaged files has no common kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{shown(path)}: expected a whole image, found one that does not decode: {reason}") from error


@cache
def _pillow() -> Any:
    """Pillow's module Image, told to refuse images that unpack to far more than they take, and else not to warn."""
    from PIL import Image

    warnings.filterwarnings("ignore", module="PIL")  # of oddities in what an image says about itself
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image


def _check(image: Image, path: Path) -> None:
    deep = any(_DEEP.search(str(tile.args)) for tile in image.tile)  # type: ignore[attr-defined]
    if deep or image.mode == "F" or image.mode.startswith("I"):
        raise UserError(f"{shown(path)}: expected 8 bits a channel, found more (mode {image.mode}): convert it first")
    if image.mode not in MODES:  # CMYK and others are another space
        raise UserError(f"{shown(path)}: expected a grey or RGB image, found mode {image.mode}: save it as RGB")
    if image.mode in ("P", "PA") and image.palette is None:
        raise ValueError("a palette image without its palette")
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{_size(image)} pixels, more than the {MAX_PIXELS:,} that are read")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # an MPO is a camera's JPEG with a preview
        raise UserError(f"{shown(path)}: expected one image, found several frames or pages")
