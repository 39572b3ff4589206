"""A file cache of arrays, shared by all trials and processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.files import HOUR, lock, read_array, read_arrays, shown

__all__ = ["Arrays", "kept"]

Arrays = dict[str, NDArray[Any]]

MAX_BYTES = 1 << 34


def kept(file: Path, sound: Callable[[Arrays], bool], compute: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of `file`; if it is missing, damaged or not `sound`, compute and write them.

    One process computes while the others wait. If the file cannot be written, a warning is logged, and the computed
    arrays are returned nevertheless. The array of a `.npy` file is called "features".
    """
    held = _read(file, sound)
    if held is not None:
        return held
    try:
        held_lock = lock(file.with_suffix(".lock"), HOUR)
    except UserError as error:
        _warn(file.parent, str(error))
        return compute()
    try:
        held = _read(file, sound)  # another process may have written it while this one waited
        if held is None:
            held = compute()
            try:
                _write(file, held)
            except OSError as error:
                _warn(file.parent, error.strerror or str(error))
    finally:
        if held_lock:  # None if another process held it for longer than this one waits
            held_lock.release()
    return held


def _write(file: Path, arrays: Arrays) -> None:
    unfinished = file.with_suffix(".partial")
    unfinished.unlink(missing_ok=True)
    try:
        with unfinished.open("xb") as stream:
            if file.suffix == ".npz":
                cast(Any, np.savez)(stream, **arrays)  # its type stub mistakes the names for options
            else:
                np.save(stream, arrays["features"])
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


@cache
def _warn(folder: Path, why: str) -> None:
    """Warn, once per folder, that nothing can be cached there, and how to fix it."""
    logging.getLogger(__name__).warning(
        "cannot cache the features of real images in %s (%s), so they are computed each time: "
        "set AEGEN_BENCH_CACHE to another folder",
        shown(folder),
        why,
    )


def _read(file: Path, sound: Callable[[Arrays], bool]) -> Arrays | None:
    """Return the arrays of the file, or None if it is missing or damaged."""
    try:
        held = read_arrays(file, MAX_BYTES) if file.suffix == ".npz" else {"features": read_array(file, MAX_BYTES)}
        return held if sound(held) else None
    except (OSError, ValueError, TypeError, KeyError):  # TypeError: an array of something other than numbers
        return None
