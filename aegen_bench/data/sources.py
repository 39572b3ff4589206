"""One reader a source: which files a split comes from, and its images."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aegen_bench.data.images import Images, Progress, decode, list_images, pixels, survey
from aegen_bench.data.recipe import Recipe, Split
from aegen_bench.errors import UserError

__all__ = ["Fill", "files", "npz_path", "read"]

Fill = Callable[[Images, Progress | None], None]

IDX = {"mnist": "MNIST", "fashion": "FashionMNIST"}
# What numpy raises besides the obvious: for a bad archive, and (the last two) for a bare array named npz.
BAD_NPZ = (zipfile.BadZipFile, zlib.error, AttributeError, TypeError)
CIFAR10 = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


def npz_path(name: str, folder: Path) -> Path:
    """Where a ready-made array of the dataset lies; if it exists it is taken before every other source."""
    return folder / f"{name}.npz"


def files(name: str, recipe: Recipe, folder: Path, split: Split) -> list[Path]:
    """Return what the split is read from, there or not: if none of it changed, the images did not."""
    npz = npz_path(name, folder)
    if recipe.source == "npz" or npz.exists():
        return [npz]
    if recipe.source == "folder":
        root = folder / name
        return [root, *_folder_split(root, split)]
    if recipe.source == "celeba":
        return [folder / "celeba/list_eval_partition.txt", folder / "celeba/img_align_celeba"]
    if recipe.source == "cifar10":
        return [folder / "cifar-10-batches-py" / batch for batch in CIFAR10[split]]
    if recipe.source == "digits":
        return []
    prefix = "train" if split == "train" else "t10k"
    return [folder / IDX[recipe.source] / "raw" / f"{prefix}-images-idx3-ubyte"]


def read(name: str, recipe: Recipe, folder: Path, split: Split) -> tuple[tuple[int, ...], Fill]:
    """Return the shape (N, C, H, W) of the split and the function that writes its images into an array."""
    paths = files(name, recipe, folder, split)
    if recipe.source == "npz" or npz_path(name, folder).exists():
        return _ready(_npz(paths[0], split))
    if recipe.source == "folder":
        return _folder(folder / name, recipe, split)
    if recipe.source == "celeba":
        return _celeba(paths[0], paths[1], recipe, split)
    if recipe.source == "cifar10":
        return _ready(np.concatenate([_cifar10_batch(path) for path in paths]))
    if recipe.source == "digits":
        return _ready(_digits(split))
    return _ready(_idx(paths[0], name))


def _ready(images: Images) -> tuple[tuple[int, ...], Fill]:
    return images.shape, lambda out, progress: np.copyto(out, images)


def _digits(split: Split) -> Images:
    from sklearn.datasets import load_digits

    ink: npt.NDArray[np.float64] = load_digits().images  # (1797, 8, 8), 0..16
    # RandomState and not default_rng: numpy promises that its streams stay the same for ever.
    order = np.random.RandomState(0).permutation(len(ink))
    chosen = order[:1297] if split == "train" else order[1297:]
    return np.rint(ink[chosen, None] * (255 / 16)).astype(np.uint8)


def _idx(path: Path, name: str) -> Images:
    raw = path.read_bytes()
    magic, n, height, width = np.frombuffer(raw[:16].ljust(16, b"\0"), ">u4").tolist()
    if magic != 0x0803 or len(raw) != 16 + n * height * width:
        raise UserError(
            f"{path}: expected an idx file of uint8 images (by its header 16 + {n}x{height}x{width} bytes), "
            f"found {len(raw)} bytes: delete it and run `aegen-bench fetch {name}`"
        )
    return np.frombuffer(raw, np.uint8, offset=16).reshape(n, 1, height, width)


def _cifar10_batch(path: Path) -> Images:
    from torchvision.datasets import CIFAR10

    known = dict([*CIFAR10.train_list, *CIFAR10.test_list])[path.name]
    raw = path.read_bytes()
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    # Checked first: unpickling a file runs whatever is written in it.
    if found != known:
        raise UserError(f"{path}: expected md5 {known}, found {found}: run `aegen-bench fetch cifar10`")
    data: Images = pickle.loads(raw, encoding="latin1")["data"]
    return data.reshape(-1, 3, 32, 32)


def _npz(path: Path, split: Split) -> Images:
    expected = "x_train and x_test, uint8, (N, H, W) or (N, H, W, C) with 1 or 3 channels"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pair: dict[str, Images] = {key: arrays[f"x_{key}"] for key in ("train", "test")}
    except (*BAD_NPZ, OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: expected an npz file with {expected}, found: {error}") from error
    for key, x in pair.items():
        if x.dtype != np.uint8 or not (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))):
            raise UserError(f"{path}: expected {expected}, found x_{key} of {x.dtype} {x.shape}")
    train, test = pair["train"].shape[1:], pair["test"].shape[1:]
    if train != test:
        raise UserError(f"{path}: expected one shape, found {train} in x_train, {test} in x_test")
    x = pair[split]
    return x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)


def _folder(root: Path, recipe: Recipe, split: Split) -> tuple[tuple[int, ...], Fill]:
    splits = {"train": _folder_split(root, "train"), "test": _folder_split(root, "test")}
    for key, paths in splits.items():
        if not paths:
            raise UserError(f"{root}: no images for the {key} split; use train/ and test/, or put all here")
    # Both splits are looked at, so that one coloured test image cannot give the two different channels.
    channels, side = survey([*splits["train"], *splits["test"]], recipe)
    paths = splits[split]
    return (len(paths), channels, side, side), partial(decode, paths, _reading(recipe, channels, side))


def _folder_split(root: Path, split: Split) -> list[Path]:
    """The images of ROOT/train or ROOT/test. Of a flat folder the last tenth in name order is the test split,
    as in compare_gan's CelebA-HQ (27,000 and 3,000)."""
    if (root / "train").is_dir() or (root / "test").is_dir():
        return list_images(root / split)
    paths = list_images(root)
    n_test = max(1, len(paths) // 10)
    return paths[:-n_test] if split == "train" else paths[-n_test:]


def _celeba(partition: Path, images: Path, recipe: Recipe, split: Split) -> tuple[tuple[int, ...], Fill]:
    wanted = "0" if split == "train" else "2"
    paths = []
    for number, line in enumerate(partition.read_text(errors="replace").splitlines(), 1):
        match line.split():
            case [file, ("0" | "1" | "2") as part]:
                if part == wanted:
                    paths.append(images / file)
            case _:
                raise UserError(f"{partition}:{number}: expected a file name and 0, 1 or 2: '{line[:60]}'")
    if not paths:
        raise UserError(f"{partition}: expected files of partition {wanted} ({split}), found none")
    side = recipe.size or recipe.crop or survey(paths[:1], recipe)[1]
    return (len(paths), 3, side, side), partial(decode, paths, _reading(recipe, 3, side))


def _reading(recipe: Recipe, channels: int, side: int) -> Callable[[Path], Images]:
    return partial(pixels, recipe=recipe, channels=channels, side=side)
