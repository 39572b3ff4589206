"""The arrays that a trial leaves for figures, read back; docs/results-format.md says what each holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegen_bench.files import read_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FILE", "read_artefact", "read_artefacts"]

FILE = "artefacts.npz"
LARGEST = 512 << 20  # bytes of all arrays, as declared; at 256 px there are some 12 MB
IMAGES = {"samples": 1, "interpolations": 2, "reconstructions": 2, "neighbours": 2}
"""How many axes come before channels, height and width."""
LARGEST_SIDE = 4096


def read_artefact(folder: Path, name: str) -> NDArray[Any] | None:
    """Return one array of a trial: images as uint8 [..., C, S, S], curves as float. None where the file lacks it.

    FileNotFoundError where there is no file, OSError where it cannot be read, ValueError where it holds anything else.
    """
    found = read_arrays(folder / FILE, LARGEST, [name]).get(name)
    return None if found is None else _checked(name, found)


def read_artefacts(folder: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of a trial by name; the errors are those of `read_artefact`."""
    return {name: _checked(name, array) for name, array in read_arrays(folder / FILE, LARGEST).items()}


def _checked(name: str, array: NDArray[Any]) -> NDArray[Any]:
    shape = array.shape
    if name in IMAGES:
        good = array.dtype == "uint8" and len(shape) == IMAGES[name] + 3 and array.size > 0 and shape[-3] in (1, 3)
        if not good or shape[-1] != shape[-2] or shape[-1] > LARGEST_SIDE:
            raise ValueError(f"'{name}' holds {array.dtype} {list(shape)}, which are no images")
    elif array.dtype.kind != "f" or not _finite(array) or (name == "prd" and (array.ndim != 2 or len(array) != 2)):
        raise ValueError(f"'{name}' holds {array.dtype} {list(shape)}, which is no curve of finite numbers")
    return array


def _finite(array: NDArray[Any]) -> bool:
    import numpy as np

    return bool(np.isfinite(array).all())
