"""Small datasets in the layouts of the real ones, for the tests of aegen_bench.data."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from aegen_bench.data import Recipe

Array = npt.NDArray[np.uint8]

CELEBA = Recipe(source="celeba", crop=160, size=64)


def random_images(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_npz(folder: Path, name: str = "toy", **arrays: Array) -> Path:
    made = {"x_train": random_images(7, 8, 8, 3), "x_test": random_images(3, 8, 8, 3, seed=1), **arrays}
    np.savez(folder / f"{name}.npz", **made)
    return folder / f"{name}.npz"


def write_idx(folder: Path, split: str, images: Array) -> Path:
    path = folder / "FashionMNIST/raw" / f"{split}-images-idx3-ubyte"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(">4I", 0x0803, *images.shape) + images.tobytes())
    return path


def write_png(path: Path, image: Array) -> Array:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return image


def write_celeba(folder: Path) -> list[Array]:
    """Write 12 JPEGs of 178x218 in the official layout (8 train, 1 validation, 3 test), and return them as decoded."""
    images, lines = folder / "celeba/img_align_celeba", []
    decoded = []
    images.mkdir(parents=True)
    for i in range(12):
        path = images / f"{i + 1:06d}.jpg"
        Image.fromarray(random_images(218, 178, 3, seed=i)).save(path, quality=95)
        with Image.open(path) as image:
            decoded.append(np.asarray(image))
        lines.append(f"{path.name} {0 if i < 8 else 1 if i == 8 else 2}")
    (folder / "celeba/list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return decoded


def cached(folder: Path, split: str = "train") -> Path:
    (path,) = folder.glob(f"prepared/*/{split}.npy")
    return path
