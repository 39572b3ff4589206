"""The prepared arrays: prepared/NAME-RECIPE/{train,test}.npy, each with a json that vouches for it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from aegen_bench.data.folders import prepared_folders
from aegen_bench.data.images import Images, Progress
from aegen_bench.data.recipe import Recipe, Split
from aegen_bench.data.sources import Fill, files, read
from aegen_bench.errors import UserError
from aegen_bench.files import HOUR, locked, read_bytes, shown

__all__ = ["Note", "is_prepared", "prepared", "shape"]

NOTE_BYTES = 1 << 16


class Note(BaseModel, frozen=True):
    """What stands beside a prepared array.

    `sha256` is that of its pixels, `sources` a digest of the names, sizes and times of the files it was made from.
    `mtime_ns` is the array's own time when it was hashed: an array that has not been touched since is not hashed again.
    """

    recipe: Recipe
    shape: tuple[int, ...]
    sha256: str
    sources: str
    mtime_ns: int


def is_prepared(name: str, recipe: Recipe, folder: Path) -> bool:
    """Whether both splits are in the cache. Nothing is read."""
    return all(
        any(array.is_file() and note.is_file() for array, note in _places(name, recipe, folder, split))
        for split in ("train", "test")
    )


def prepared(
    name: str, recipe: Recipe, folder: Path, split: Split, progress: Progress | None = None
) -> tuple[Images, str] | None:
    """Return the array (N, C, S, S), memory-mapped read-only, and its sha256.

    It is made now if it is absent, damaged or not made from the present sources. A sound one needs no sources; None
    if there is neither.
    """
    places = _places(name, recipe, folder, split)
    sources = _stamp(files(name, recipe, folder, split))
    if (found := _cached(places, sources)) is not None:
        return found
    if sources is None:
        return None
    array, note = places[-1]
    try:
        array.parent.mkdir(parents=True, exist_ok=True)
        with locked(array.with_suffix(".lock"), wait=6 * HOUR):
            # Another process may have made it while this one waited.
            if (found := _cached(places, sources)) is None:
                _prepare(name, recipe, folder, split, sources, (array, note), progress)
                found = _cached(places, sources)
    except OSError as error:
        raise UserError(
            f"{name}: cannot prepare its images in {shown(array.parent)}: {error.strerror or error}: "
            "make room there, or set AEGEN_BENCH_CACHE to another folder"
        ) from error
    if found is None:
        raise UserError(f"{shown(array)}: what was just written does not read back: is the disk sound?")
    return found


def shape(name: str, recipe: Recipe, folder: Path, split: Split) -> tuple[int, ...]:
    """Return (N, C, S, S) as the cache notes it, else as the sources have it; nothing is prepared."""
    for _, note in _places(name, recipe, folder, split):
        if (known := _noted(note)) is not None:
            return known.shape
    return read(name, recipe, folder, split)[0]


def _places(name: str, recipe: Recipe, folder: Path, split: Split) -> list[tuple[Path, Path]]:
    """Return where the array and its note may lie; they are written to the last of these."""
    folders = prepared_folders(folder, f"{name}-{recipe.digest}")
    return [(base / f"{split}.npy", base / f"{split}.json") for base in folders]


def _stamp(paths: list[Path]) -> str | None:
    """Identify the present state of the files by name, size and time; None if any is gone."""
    seen = hashlib.sha256()
    for path in paths:
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if path.is_symlink():
                raise UserError(f"{shown(path)}: a link to nothing") from None
            return None
        except OSError as error:
            raise UserError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error
        seen.update(os.fsencode(path.name) + f" {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return seen.hexdigest()


def _noted(note: Path) -> Note | None:
    try:
        return Note.model_validate_json(read_bytes(note, NOTE_BYTES))
    except (OSError, ValidationError):
        return None


def _cached(places: Iterable[tuple[Path, Path]], sources: str | None) -> tuple[Images, str] | None:
    for array, note in places:
        known = _noted(note)
        if known is None or (sources is not None and sources != known.sources):
            continue
        try:
            images = _mapped(array)
            mtime_ns = array.stat().st_mtime_ns
        except (OSError, ValueError, EOFError):
            continue
        if images.shape != known.shape or images.dtype != np.uint8 or not images.flags.c_contiguous:
            continue
        # A copied cache has another time: it is hashed once in each process that reads it.
        if mtime_ns == known.mtime_ns or _sha256(array, mtime_ns) == known.sha256:
            return images, known.sha256
    return None


def _mapped(array: Path) -> Images:
    if not array.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(array))
    images: Images = np.load(array, mmap_mode="r", allow_pickle=False)
    return images


@lru_cache
def _sha256(array: Path, mtime_ns: int) -> str:
    return hashlib.sha256(_mapped(array).data).hexdigest()


def _prepare(
    name: str,
    recipe: Recipe,
    folder: Path,
    split: Split,
    sources: str,
    place: tuple[Path, Path],
    progress: Progress | None,
) -> None:
    array, note = place
    shape, fill = read(name, recipe, folder, split)
    _check(shape, recipe, files(name, recipe, folder, split))
    part = array.with_suffix(".part")
    part.unlink(missing_ok=True)
    try:
        sha256 = _write(part, shape, fill, progress)
        mtime_ns = part.stat().st_mtime_ns
        known = Note(recipe=recipe, shape=shape, sha256=sha256, sources=sources, mtime_ns=mtime_ns)
        os.replace(part, array)
        part.write_bytes(known.model_dump_json(indent=1).encode() + b"\n")
        os.replace(part, note)
    finally:
        part.unlink(missing_ok=True)


def _write(part: Path, shape: tuple[int, ...], fill: Fill, progress: Progress | None) -> str:
    _reserve(part, shape)
    images = np.lib.format.open_memmap(part, mode="r+")
    fill(images, progress)
    images.flush()
    return hashlib.sha256(images.data).hexdigest()


def _reserve(part: Path, shape: tuple[int, ...]) -> None:
    """Write the header of an npy file of this shape and have the disk set its bytes aside.

    A write to mapped memory on a full disk, or beyond a quota, kills the process; this raises OSError.
    """
    from rich.filesize import decimal

    size = int(np.prod(shape, dtype=np.int64))
    with part.open("xb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.flush()
        start = file.tell()
        try:
            _allocate(file.fileno(), start, size)
        except OSError as error:
            raise OSError(error.errno, f"{os.strerror(error.errno or 0)} (they take {decimal(size)})") from error


def _allocate(descriptor: int, start: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, start, size)
    except (AttributeError, OSError) as error:  # macOS has no such call, nor do some file systems
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        for done in range(0, size, 1 << 20):
            os.pwrite(descriptor, bytes(min(1 << 20, size - done)), start + done)


def _check(shape: tuple[int, ...], recipe: Recipe, sources: list[Path]) -> None:
    n, channels, height, width = shape
    wanted = f"of side {recipe.size}" if recipe.size else "with a side divisible by 4"
    fits = height == recipe.size if recipe.size else height % 4 == 0
    if not (n and height and height == width and channels in (1, 3) and fits):
        found = f"{n} of {height}x{width} with {channels} channels"
        where = shown(sources[0]) if sources else recipe.source
        raise UserError(f"{where}: expected square images {wanted} with 1 or 3 channels, found {found}")
