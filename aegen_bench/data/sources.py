"""The sources of datasets: the files of a split, and reading its images."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aegen_bench.data.folders import fetch_command
from aegen_bench.data.images import Images, Progress, decode, list_images, pixels, survey
from aegen_bench.data.recipe import Recipe, Source, Split
from aegen_bench.errors import UserError
from aegen_bench.files import read_arrays, read_bytes, shown

__all__ = ["Fill", "celeba", "files", "has_images", "memory", "npz_path", "read", "source"]

Fill = Callable[[Images, Progress | None], None]

IDX = {"mnist": "MNIST", "fashion": "FashionMNIST"}
CIFAR10 = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
KEYS = ({"train": "x_train", "test": "x_test"}, {"train": "train_images", "test": "test_images"})  # Keras', MedMNIST's
RAW_BYTES = 1 << 30  # an upper limit for idx files, CIFAR batches and partition files


CELEBA = ("celeba", "CelebA")
"""The folders in which CelebA's own files are looked for."""


def npz_path(name: str, folder: Path) -> Path:
    """Return the path of an array of the dataset, which takes precedence over all other sources if it exists."""
    return folder / f"{name}.npz"


def source(name: str, recipe: Recipe, folder: Path) -> Source:
    """Return the source of the dataset: NAME.npz, else the folder NAME of images, else the recipe's."""
    if npz_path(name, folder).exists():
        return "npz"
    if recipe.source == "celeba" and name in CELEBA and celeba(folder)[0].exists():  # that folder is the archive's
        return "celeba"
    return "folder" if has_images(folder / name) else recipe.source


def has_images(root: Path) -> bool:
    """Whether a folder contains images of a dataset: directly, in train/ or in train/CLASS/."""
    return any(list_images(place) for place in (root, root / "train", *_folders(root / "train")))


def files(name: str, recipe: Recipe, folder: Path, split: Split) -> list[Path]:
    """Return the files and folders of the split, whether or not they exist. If none changes, the images do not."""
    match source(name, recipe, folder):
        case "npz":
            return [npz_path(name, folder)]
        case "folder":
            root = folder / name
            paths = _folder_split(root, split)
            return [root, *sorted({path.parent for path in paths} - {root, root / split}), *paths]
        case "celeba":
            return list(celeba(folder))
        case "cifar10":
            return [folder / "cifar-10-batches-py" / batch for batch in CIFAR10[split]]
        case "digits":
            return []
        case "mnist" | "fashion" as idx:
            prefix = "train" if split == "train" else "t10k"
            return [folder / IDX[idx] / "raw" / f"{prefix}-images-idx3-ubyte"]


def read(name: str, recipe: Recipe, folder: Path, split: Split) -> tuple[tuple[int, ...], Fill]:
    """Return the shape (N, C, H, W) of the split and a function that writes its images into an array.

    UserError, here or in that function, if a file cannot be read.
    """
    paths = files(name, recipe, folder, split)
    try:
        match source(name, recipe, folder):
            case "npz":
                return _ready(_npz(paths[0], split))
            case "folder":
                return _folder(folder / name, recipe, split)
            case "celeba":
                return _celeba(paths[0], paths[1], recipe, split)
            case "cifar10":
                return _ready(np.concatenate([_cifar10_batch(path, folder) for path in paths]))
            case "digits":
                return _ready(_digits(split))
            case "mnist" | "fashion":
                return _ready(_idx(paths[0], name, folder))
    except OSError as error:
        raise UserError(f"{shown(error.filename or paths[0])}: cannot be read: {error.strerror or error}") from error


def memory() -> int:
    """Return the memory of this machine in bytes, an upper limit for arrays from files."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _ready(images: Images) -> tuple[tuple[int, ...], Fill]:
    return images.shape, lambda out, progress: np.copyto(out, images)


@cache
def _ink() -> npt.NDArray[np.float64]:
    """Return the digits of scikit-learn, [1797, 8, 8] in [0, 16]. They are in a text file, which is slow to read."""
    from sklearn.datasets import load_digits

    ink: npt.NDArray[np.float64] = load_digits().images
    return ink


def _digits(split: Split) -> Images:
    ink = _ink()
    # RandomState rather than default_rng, because numpy guarantees that its streams never change.
    order = np.random.RandomState(0).permutation(len(ink))
    chosen = order[:1297] if split == "train" else order[1297:]
    return np.rint(ink[chosen, None] * (255 / 16)).astype(np.uint8)


def _idx(path: Path, name: str, folder: Path) -> Images:
    raw = read_bytes(path, RAW_BYTES)
    magic, n, height, width = np.frombuffer(raw[:16].ljust(16, b"\0"), ">u4").tolist()
    if magic != 0x0803 or len(raw) != 16 + n * height * width:
        raise UserError(
            f"{shown(path)}: expected an idx file of uint8 images (16 + {n}x{height}x{width} bytes by its header), "
            f"found {len(raw)} bytes: delete it and run `{fetch_command([name], folder)}`"
        )
    return np.frombuffer(raw, np.uint8, offset=16).reshape(n, 1, height, width)


def _cifar10_batch(path: Path, folder: Path) -> Images:
    from torchvision.datasets import CIFAR10

    known = dict([*CIFAR10.train_list, *CIFAR10.test_list])[path.name]
    raw = read_bytes(path, RAW_BYTES)
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    # Checked before unpickling, which could run arbitrary code.
    if found != known:
        mend = f"delete it and run `{fetch_command(['cifar10'], folder)}`"
        raise UserError(f"{shown(path)}: expected md5 {known}, found {found}: {mend}")
    data: Images = pickle.loads(raw, encoding="latin1")["data"]
    return data.reshape(-1, 3, 32, 32)


def _npz(path: Path, split: Split) -> Images:
    expected = "x_train and x_test, uint8, (N, H, W) or (N, H, W, C) with 1 or 3 channels"
    try:
        arrays = read_arrays(path, memory(), [key for keys in KEYS for key in keys.values()])
    except (OSError, ValueError) as error:
        raise UserError(f"{shown(path)}: expected an npz file with {expected}, found: {error}") from error
    keys = next((keys for keys in KEYS if set(keys.values()) <= set(arrays)), None)
    if keys is None:
        found = ", ".join(arrays) or "neither"
        raise UserError(f"{shown(path)}: expected an npz file with {expected}, found: {found}")
    for key in keys.values():
        x = arrays[key]
        if x.dtype != np.uint8 or not (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))):
            raise UserError(f"{shown(path)}: expected {expected}, found {key} of {x.dtype} {x.shape}")
    train, test = (arrays[key].shape[1:] for key in keys.values())
    if train != test:
        raise UserError(
            f"{shown(path)}: expected one shape, found {train} in {keys['train']}, {test} in {keys['test']}"
        )
    x = arrays[keys[split]]
    return x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)


def _folder(root: Path, recipe: Recipe, split: Split) -> tuple[tuple[int, ...], Fill]:
    splits = {"train": _folder_split(root, "train"), "test": _folder_split(root, "test")}
    for key, paths in splits.items():
        if not paths:
            raise UserError(
                f"{shown(root)}: no images for the {key} split: put them into train/ and test/, or all of them here"
            )
    # Both splits are examined, so that a single coloured test image cannot make their channels differ.
    channels, side = survey([*splits["train"], *splits["test"]], recipe)
    paths = splits[split]
    return (len(paths), channels, side, side), partial(decode, paths, _reading(recipe, channels, side))


def _folder_split(root: Path, split: Split) -> list[Path]:
    """Return the images of ROOT/train or ROOT/test, or of their subfolders, one per class as in torchvision's
    ImageFolder.

    In a folder without these two, the last tenth in name order is the test split, as in compare_gan's CelebA-HQ (27,000
    and 3,000 images).
    """
    if (root / "train").is_dir() or (root / "test").is_dir():
        return list_images(root / split) or [p for label in _folders(root / split) for p in list_images(label)]
    paths = list_images(root)
    n_test = max(1, len(paths) // 10)
    return paths[:-n_test] if split == "train" else paths[-n_test:]


def _folders(root: Path) -> list[Path]:
    """Return the folders directly in a folder, sorted by name; none if there is no such folder."""
    try:
        with os.scandir(root) as entries:
            return [root / name for name in sorted(e.name for e in entries if e.name[0] != "." and os.path.isdir(e))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{shown(root)}: cannot be listed: {error.strerror or error}") from error


def celeba(folder: Path) -> tuple[Path, Path]:
    """Return CelebA's partition file and its folder of images, wherever the usual archives put them.

    They are looked for in celeba/, in CelebA/ and in the data folder itself, as unpacked by torchvision, from the
    official archive (Img/, Eval/) or from Kaggle's (a CSV, and a nested folder). If there are none, torchvision's paths
    are returned.
    """
    roots = (*(folder / name for name in CELEBA), folder)
    partitions = ("list_eval_partition.txt", "list_eval_partition.csv", "Eval/list_eval_partition.txt")
    images = ("img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba")
    found = [root / name for root in roots for name in partitions if (root / name).is_file()]
    folders = [root / name for root in roots for name in images if (root / name).is_dir()]
    return (
        found[0] if found else roots[0] / partitions[0],
        folders[0] if folders else roots[0] / "img_align_celeba",
    )


def _celeba(partition: Path, images: Path, recipe: Recipe, split: Split) -> tuple[tuple[int, ...], Fill]:
    wanted = "0" if split == "train" else "2"
    paths = []
    lines = read_bytes(partition, RAW_BYTES).decode(errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        match re.split(r"[,\s]+", line.strip()):
            case [file, ("0" | "1" | "2") as part] if "/" not in file:
                if part == wanted:
                    paths.append(images / file)
            case ["image_id", "partition"] if number == 1:  # the header of Kaggle's table
                continue
            case _:
                raise UserError(f"{shown(partition)}:{number}: expected a file name and 0, 1 or 2: {line[:60]!r}")
    if not paths:
        raise UserError(f"{shown(partition)}: expected files of partition {wanted} ({split}), found none")
    side = recipe.size or recipe.crop or survey(paths[:1], recipe)[1]
    return (len(paths), 3, side, side), partial(decode, paths, _reading(recipe, 3, side))


def _reading(recipe: Recipe, channels: int, side: int) -> Callable[[Path], Images]:
    return partial(pixels, recipe=recipe, channels=channels, side=side)
