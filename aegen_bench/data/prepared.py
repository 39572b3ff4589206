"""The prepared arrays: FOLDER/prepared/NAME-RECIPE/{train,test}.npy, each with a json that vouches for it."""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from aegen_bench.data.images import Images, Progress
from aegen_bench.data.readers import Fill, files, read
from aegen_bench.data.recipe import Recipe, Split
from aegen_bench.errors import UserError

__all__ = ["Note", "is_prepared", "prepared", "shape"]


class Note(BaseModel, frozen=True):
    """What stands beside a prepared array: the sha256 of its pixels, a digest of the names, sizes and times
    of the files it was made from, and its own time when hashed: untouched since, it is not hashed again."""

    recipe: Recipe
    shape: tuple[int, ...]
    sha256: str
    sources: str
    mtime_ns: int


def is_prepared(name: str, recipe: Recipe, folder: Path) -> bool:
    """Whether both splits lie in the cache; nothing is read."""
    return all(p.exists() for split in ("train", "test") for p in _paths(name, recipe, folder, split))


def prepared(
    name: str, recipe: Recipe, folder: Path, split: Split, progress: Progress | None = None
) -> tuple[Images, str] | None:
    """Return the array (N, C, S, S), memory-mapped read-only, and its sha256; made now if absent, damaged or
    not of the present sources. A sound cache is enough without its sources; None if there is neither."""
    from filelock import FileLock

    array, note = _paths(name, recipe, folder, split)
    sources = _stamp(files(name, recipe, folder, split))
    if (found := _cached(array, note, sources)) is not None:
        return found
    if sources is None:
        return None
    try:
        array.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(array.with_suffix(".lock")):
            # Another process may have made it while this one waited.
            if (found := _cached(array, note, sources)) is None:
                _prepare(name, recipe, folder, split, sources, progress)
                found = _cached(array, note, sources)
    except OSError as error:
        raise UserError(f"{name}: cannot prepare its images in {array.parent}: {error}") from error
    if found is None:
        raise UserError(f"{array}: what was just written does not read back: is the disk sound?")
    return found


def shape(name: str, recipe: Recipe, folder: Path, split: Split) -> tuple[int, ...]:
    """Return (N, C, S, S) as the cache notes it, else as the sources have it; nothing is prepared."""
    try:
        return Note.model_validate_json(_paths(name, recipe, folder, split)[1].read_bytes()).shape
    except (OSError, ValidationError):
        return read(name, recipe, folder, split)[0]


def _paths(name: str, recipe: Recipe, folder: Path, split: Split) -> tuple[Path, Path]:
    base = folder / "prepared" / f"{name}-{recipe.digest}"
    return base / f"{split}.npy", base / f"{split}.json"


def _stamp(paths: list[Path]) -> str | None:
    """Identify the present state of the files by name, size and time; None if any is gone."""
    seen = hashlib.sha256()
    for path in paths:
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        seen.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return seen.hexdigest()


def _cached(array: Path, note: Path, sources: str | None) -> tuple[Images, str] | None:
    try:
        known = Note.model_validate_json(note.read_bytes())
        images = np.load(array, mmap_mode="r", allow_pickle=False)
        mtime_ns = array.stat().st_mtime_ns
    except (OSError, ValueError, EOFError, ValidationError):
        return None
    if images.shape != known.shape or images.dtype != np.uint8 or not images.flags.c_contiguous:
        return None
    if sources is not None and sources != known.sources:
        return None
    # A copied cache has another time: it is hashed once in each process that reads it.
    if mtime_ns != known.mtime_ns and _sha256(array, mtime_ns) != known.sha256:
        return None
    return images, known.sha256


@lru_cache
def _sha256(array: Path, mtime_ns: int) -> str:
    return hashlib.sha256(np.load(array, mmap_mode="r")).hexdigest()


def _prepare(name: str, recipe: Recipe, folder: Path, split: Split, sources: str, progress: Progress | None) -> None:
    array, note = _paths(name, recipe, folder, split)
    shape, fill = read(name, recipe, folder, split)
    _check(shape, recipe, files(name, recipe, folder, split))
    _check_space(shape, array.parent)
    part = array.with_suffix(".part")
    try:
        sha256 = _write(part, shape, fill, progress)
        mtime_ns = part.stat().st_mtime_ns
        known = Note(recipe=recipe, shape=shape, sha256=sha256, sources=sources, mtime_ns=mtime_ns)
        os.replace(part, array)
        part.write_text(known.model_dump_json(indent=1) + "\n")
        os.replace(part, note)
    finally:
        part.unlink(missing_ok=True)


def _write(part: Path, shape: tuple[int, ...], fill: Fill, progress: Progress | None) -> str:
    images = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    fill(images, progress)
    images.flush()
    return hashlib.sha256(images.data).hexdigest()


def _check(shape: tuple[int, ...], recipe: Recipe, sources: list[Path]) -> None:
    n, channels, height, width = shape
    wanted = f"of side {recipe.size}" if recipe.size else "with a side divisible by 4"
    fits = height == recipe.size if recipe.size else height % 4 == 0
    if not (n and height and height == width and channels in (1, 3) and fits):
        found = f"{n} of {height}x{width} with {channels} channels"
        where = sources[0] if sources else recipe.source
        raise UserError(f"{where}: expected square images {wanted} with 1 or 3 channels, found {found}")


def _check_space(shape: tuple[int, ...], folder: Path) -> None:
    # Asked beforehand: a memory-mapped write to a full disk kills the process instead of raising.
    needed, free = int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}: the images need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")
