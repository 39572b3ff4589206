"""The data folder, and the folder for what is computed from it."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from aegen_bench.files import place

__all__ = ["cache_folder", "cached_file", "default_folder", "fetch_command", "prepared_folders"]


def default_folder() -> Path:
    """Return the default data folder: AEGEN_BENCH_DATA, else ~/.cache/aegen-bench."""
    return place(os.environ.get("AEGEN_BENCH_DATA") or "~/.cache/aegen-bench")


def fetch_command(names: Sequence[str], folder: Path) -> str:
    """Return the command line that downloads these datasets or weights into this data folder."""
    elsewhere = ["--data", str(folder)] if folder != default_folder() else []
    return shlex.join(["aegen-bench", "fetch", *names, *elsewhere])


def cache_folder(data: Path) -> Path:
    """Return the folder for computed files: AEGEN_BENCH_CACHE, else the data folder, or, if that is not writable,
    aegen-bench in XDG_CACHE_HOME or ~/.cache.
    """
    if named := os.environ.get("AEGEN_BENCH_CACHE"):
        return place(named)
    nearest = next((path for path in (data, *data.absolute().parents) if path.exists()), data)
    if os.access(nearest, os.W_OK):
        return data
    return place(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "aegen-bench"


def cached_file(data: Path, *names: str) -> Path:
    """Return the path of a computed file, whether or not it exists. Its name identifies what it is computed from."""
    inside = data.joinpath("cache", *names)
    return inside if inside.is_file() else cache_folder(data).joinpath("cache", *names)


def prepared_folders(data: Path, name: str) -> list[Path]:
    """Return the folders that may contain a prepared dataset; new ones are written to the last.

    Outside the data folder, the name includes a hash of its path, since two data folders may have different images
    under the same name.
    """
    inside, outside = data / "prepared" / name, cache_folder(data)
    source = hashlib.sha256(os.fsencode(os.path.abspath(data))).hexdigest()[:8]
    return [inside] if outside == data else [inside, outside / "prepared" / f"{name}-{source}"]
