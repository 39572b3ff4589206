"""Reading the arrays that a trial saves for figures (docs/results-format.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegen_bench.files import read_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FILE", "read_artefact", "read_artefacts"]

FILE = "artefacts.npz"
LARGEST = 512 << 20  # declared bytes of all arrays; at 256 px they take about 12 MB
IMAGES = {"samples": 1, "interpolations": 2, "reconstructions": 2, "neighbours": 2}
"""Number of axes before channels, height and width."""
LARGEST_SIDE = 4096


def read_artefact(folder: Path, name: str) -> NDArray[Any] | None:
    """Return one array of a trial: images as uint8 [..., C, S, S], curves as float. None if the file lacks it.

    FileNotFoundError if there is no file, OSError if it cannot be read, ValueError if it contains anything else.
    """
    found = read_arrays(folder / FILE, LARGEST, [name]).get(name)
    return None if found is None else _checked(name, found)


def read_artefacts(folder: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of a trial by name. Errors as in `read_artefact`."""
    return {name: _checked(name, array) for name, array in read_arrays(folder / FILE, LARGEST).items()}


def _checked(name: str, array: NDArray[Any]) -> NDArray[Any]:
    shape = array.shape
    if name in IMAGES:
        good = array.dtype == "uint8" and len(shape) == IMAGES[name] + 3 and array.size > 0 and shape[-3] in (1, 3)
        if not good or shape[-1] != shape[-2] or shape[-1] > LARGEST_SIDE:
            raise ValueError(f"'{name}' contains {array.dtype} {list(shape)}, which are not images")
    elif array.dtype.kind != "f" or not _finite(array) or (name == "prd" and (array.ndim != 2 or len(array) != 2)):
        raise ValueError(f"'{name}' contains {array.dtype} {list(shape)}, which is not a curve of finite numbers")
    return array


def _finite(array: NDArray[Any]) -> bool:
    import numpy as np

    return bool(np.isfinite(array).all())
