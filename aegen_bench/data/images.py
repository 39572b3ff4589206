"""From image files to uint8 pixels: checking, decoding, centre crop and resizing, on all cores.

All image files, of datasets and of generators, are read through `opened`; docs/images.md lists what it accepts.
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

# Pillow's names of formats and their file extensions. Pillow uses no other decoders.
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
}
# Pillow's modes, all with 8 bits per channel, and how images are read. An alpha channel must be fully opaque.
MODES = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}
MAX_PIXELS = 8192 * 8192
MAX_BYTES = 1 << 30
BATCH = 256

_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
_DEEP = re.compile(r";(16|32)[BLN]")  # Pillow would read only the high bytes of such pixels


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in `folder`, sorted by name; none if there is no such folder.

    UserError if the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            # Names with a leading dot are resource forks, written by macOS.
            names = [e.name for e in entries if os.path.splitext(e.name)[1].lower() in _SUFFIXES and e.name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{shown(folder)}: cannot be listed: {error.strerror or error}") from error
    return [folder / name for name in sorted(names)]


def survey(paths: Sequence[Path], recipe: Recipe) -> tuple[int, int]:
    """Return (channels, side) of the array for these files; channels is 1 only if all of them are grey."""
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
    """Read the files with `read`, in order, into `out` (N, C, S, S), calling `progress(done, N)`."""
    from joblib import Parallel, delayed

    def batch(start: int) -> int:
        for i, path in enumerate(paths[start : start + BATCH], start):
            out[i] = read(path)
        return len(paths[start : start + BATCH])

    # Threads, because Pillow decodes and resizes without the GIL, and `out` can be shared.
    workers = Parallel(n_jobs=-1, prefer="threads", return_as="generator_unordered")
    done = 0
    for count in workers(delayed(batch)(start) for start in range(0, len(paths), BATCH)):
        done += count
        if progress is not None:
            progress(done, len(paths))


def pixels(path: Path, recipe: Recipe, *, channels: int, side: int) -> Images:
    """Return one file as uint8 (channels, side, side). UserError if it cannot be decoded or does not fit."""
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
    """Return one file exactly as saved, uint8 (C, S, S); UserError if its shape is not `shape`.

    An image saved in colour with three equal channels is accepted as grey if a grey image is expected.
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

    So 1.0000001, a rounding error, becomes 255. UserError for any other value, because clipping would hide images with
    a different scale.
    """
    levels = np.rint(images * 255)
    if not ((levels >= 0) & (levels <= 255)).all():  # also true for NaN
        raise UserError(f"float images must be in [0, 1]; these span [{images.min():.8g}, {images.max():.8g}]")
    rounded: Images = levels.astype(np.uint8)
    return rounded


def _colour(channels: int) -> str:
    return "a grey image (1 channel)" if channels == 1 else "a colour image (3 channels)"


def tf1_bilinear(image: Images, side: int) -> Images:
    """Resize uint8 (H, W) or (H, W, C) like TensorFlow 1's `resize_bilinear` with align_corners=False.

    compare_gan uses it: source row i * H / side, no half-pixel centres, no antialiasing, so CelebA is aliased.
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
    """Return L or RGB, width and height, without decoding the pixels."""
    with opened(path) as image:
        return MODES[image.mode], image.width, image.height


def _read(path: Path) -> Image:
    """Return one decoded file as L or RGB, turned upright according to its EXIF orientation."""
    from PIL import ImageOps

    with opened(path) as image:
        if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
            # The colour of transparent pixels is undefined.
            raise UserError(f"{shown(path)}: expected no transparency, found mode {image.mode}: save it without")
        return ImageOps.exif_transpose(image.convert(MODES[image.mode]))


@contextmanager
def opened(path: Path) -> Iterator[Image]:
    """Open an image of a documented format and mode, without decoding its pixels.

    UserError, here or during decoding, for everything else.
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
    except Exception as error:  # Pillow raises many kinds for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{shown(path)}: expected a whole image, found one that cannot be decoded: {reason}") from error


@cache
def _pillow() -> Any:
    """Return Pillow's module Image, set up to reject decompression bombs and to suppress other warnings."""
    from PIL import Image

    warnings.filterwarnings("ignore", module="PIL")  # about odd metadata
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image


def _check(image: Image, path: Path) -> None:
    deep = any(_DEEP.search(str(tile.args)) for tile in image.tile)  # type: ignore[attr-defined]
    if deep or image.mode == "F" or image.mode.startswith("I"):
        raise UserError(f"{shown(path)}: expected 8 bits per channel, found more (mode {image.mode}): convert it first")
    if image.mode not in MODES:  # CMYK and other colour spaces
        raise UserError(f"{shown(path)}: expected a grey or RGB image, found mode {image.mode}: save it as RGB")
    if image.mode in ("P", "PA") and image.palette is None:
        raise ValueError("a palette image without its palette")
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{_size(image)} pixels, more than the limit of {MAX_PIXELS:,}")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # an MPO is a JPEG of a camera, with a preview
        raise UserError(f"{shown(path)}: expected one image, found several frames or pages")
