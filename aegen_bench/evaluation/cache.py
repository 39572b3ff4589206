"""Arrays that are computed once for all trials and processes, and kept in a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from aegen_bench.errors import UserError

__all__ = ["Arrays", "kept"]

Arrays = dict[str, NDArray[Any]]


def kept(file: Path, sound: Callable[[Arrays], bool], compute: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of `file`; where it is missing, damaged or not `sound`, compute and write them.

    One process computes while others wait; UserError when the disk refuses. A `.npy` file holds one array, which is
    called "features".
    """
    held = _read(file, sound)
    if held is not None:
        return held
    lock = FileLock(file.with_suffix(".lock"))
    with _refusals(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        held = _read(file, sound)  # whoever held the lock may have written it
        if held is None:
            held = compute()
            _write(file, held)
    finally:
        lock.release()
    return held


def _write(file: Path, arrays: Arrays) -> None:
    unfinished = file.with_suffix(".partial")
    with _refusals(file):
        try:
            with unfinished.open("wb") as stream:
                if file.suffix == ".npz":
                    cast(Any, np.savez)(stream, **arrays)  # its stub takes the names for options
                else:
                    np.save(stream, arrays["features"])
            os.replace(unfinished, file)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def _refusals(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot keep {file}: {error.strerror or error}") from error


def _read(file: Path, sound: Callable[[Arrays], bool]) -> Arrays | None:
    """Return what the file holds, or None where it is missing or damaged."""
    try:
        loaded = np.load(file, allow_pickle=False)
        held = {"features": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        return held if sound(held) else None
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return None
