"""From a dataset's name and recipe to one uint8 NCHW array per split, prepared once and kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from aegen_bench.data.folders import fetch_command
from aegen_bench.data.images import Images, Progress
from aegen_bench.data.prepared import is_prepared, prepared
from aegen_bench.data.recipe import Recipe, Split
from aegen_bench.data.sources import celeba, files, has_images, npz_path, source
from aegen_bench.errors import MissingError, UserError
from aegen_bench.files import is_name, shown

__all__ = ["discover", "fetch", "fingerprint", "known_fingerprint", "load", "missing", "to_fetch"]

# Folders of the data folder that are not the user's own datasets: ours, and those of torchvision and CelebA.
RESERVED = frozenset(
    {"prepared", "weights", "cache", "MNIST", "FashionMNIST", "cifar-10-batches-py"}
    | {"celeba", "CelebA", "img_align_celeba"}
)
SPLITS: tuple[Split, ...] = ("train", "test")


def load(name: str, recipe: Recipe, folder: Path, split: Split, *, progress: Progress | None = None) -> Images:
    """Return the images of a split: uint8 (N, C, S, S) with C = 1 or 3, memory-mapped read-only from the cache.

    The source is FOLDER/NAME.npz if it exists, else the folder FOLDER/NAME if it contains images, else the recipe's.
    An npz is used unchanged, and only checked against the recipe's size. `progress(done, total)` is called while image
    files are prepared. MissingError if the data are not there; UserError if they are damaged or do not fit, in which
    case an intact cache is left as it is.
    """
    return _prepared(name, recipe, folder, split, progress)[0]


def fingerprint(name: str, recipe: Recipe, folder: Path, split: Split) -> str:
    """Return the sha256 of the pixels that `load` returns."""
    return _prepared(name, recipe, folder, split, None)[1]


def known_fingerprint(name: str, recipe: Recipe, folder: Path, split: Split) -> str | None:
    """Return the fingerprint of images that have been prepared before, else None, also if that fails.

    They are prepared again if their files have changed.
    """
    try:
        return fingerprint(name, recipe, folder, split) if is_prepared(name, recipe, folder) else None
    except UserError:
        return None


def missing(name: str, recipe: Recipe, folder: Path) -> str | None:
    """Return None if the images are available without a network, else one line that says how to get them."""
    try:
        ready = is_prepared(name, recipe, folder) or _has_source(name, recipe, folder)
    except UserError as error:  # a folder that cannot be listed
        return f"{name}: {error}"
    return None if ready else _hint(name, recipe, folder)


def discover(folder: Path) -> dict[str, Recipe]:
    """Return a recipe for each NAME.npz and each folder NAME of images; an npz takes precedence.

    This includes a `fashion.npz` that replaces a declared dataset, so let declared recipes override these. Anything
    that cannot be listed or has an invalid name is logged and skipped.
    """
    found: dict[str, Recipe] = {}
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        _skip(folder, f"cannot be listed: {error.strerror or error}")
        return {}
    for path in paths:
        if path.name.startswith(".") or path.name in RESERVED:
            continue
        try:
            if path.suffix == ".npz" and path.is_file():
                kind = Recipe(source="npz")
            elif path.name not in found and path.is_dir() and has_images(path):
                kind = Recipe(source="folder")
            else:
                continue
        except (OSError, UserError) as error:
            _skip(path, str(error) if isinstance(error, UserError) else f"{shown(path)}: {error.strerror or error}")
            continue
        name = path.stem if kind.source == "npz" else path.name
        if is_name(name):
            found[name] = kind
        else:
            _skip(path, f"{shown(path)}: the name is not UTF-8 or has control characters: rename it")
    return dict(sorted(found.items()))


def fetch(name: str, recipe: Recipe, folder: Path) -> str:
    """Download a dataset with torchvision's downloader, and return one line that says what is there now."""
    used = source(name, recipe, folder)
    if recipe.source == "digits" and used == "digits":
        return f"{name}: nothing to fetch, the images come with scikit-learn"
    if _has_source(name, recipe, folder):
        place = npz_path(name, folder) if used == "npz" else folder / name if used == "folder" else folder
        return f"{name}: nothing to fetch, the images in {shown(place)} are used"
    if recipe.source in ("npz", "folder"):
        raise MissingError(_hint(name, recipe, folder))
    from torchvision import datasets

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if recipe.source == "celeba":
            datasets.CelebA(folder, split="all", download=True)
        else:
            classes = {"mnist": datasets.MNIST, "fashion": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}
            classes[recipe.source](folder, download=True)
    except Exception as error:  # torchvision, urllib, zipfile and tarfile each raise their own
        reason = " ".join(str(error).split())
        kind = type(error).__name__
        raise UserError(f"{name}: the download into {shown(folder)} failed: {kind}: {reason}") from error
    return f"{name}: ready in {shown(folder)}"


def _prepared(name: str, recipe: Recipe, folder: Path, split: Split, progress: Progress | None) -> tuple[Images, str]:
    found = prepared(name, recipe, folder, split, progress)
    if found is None:
        raise MissingError(_hint(name, recipe, folder))
    return found


def to_fetch(hints: Mapping[str, str | None]) -> list[str]:
    """Return the names in {name: hint of `missing`} that `aegen-bench fetch` can download."""
    return [name for name, hint in hints.items() if hint and f"`aegen-bench fetch {name}" in hint]


def _hint(name: str, recipe: Recipe, folder: Path) -> str:
    npz = shown(npz_path(name, folder))
    if recipe.source == "npz":
        return f"{name}: no {npz}; put it there (x_train, x_test: uint8, NHWC or NHW)"
    if recipe.source == "folder":
        return f"{name}: no images in {shown(folder / name)}; put them there, flat or in train/ and test/ (or {npz})"
    fetch = f"`{fetch_command([name], folder)}` downloads them"
    if recipe.source == "celeba":
        absent = " and no ".join(shown(path) for path in celeba(folder) if not path.exists())
        return f"{name}: no {absent}; {fetch} (or put {name}.npz there)"
    return f"{name}: no images under {shown(folder)}; {fetch} (or put {name}.npz there)"


def _has_source(name: str, recipe: Recipe, folder: Path) -> bool:
    if source(name, recipe, folder) == "folder":
        return has_images(folder / name)
    return all(path.exists() for split in SPLITS for path in files(name, recipe, folder, split))


def _skip(path: Path, why: str) -> None:
    logging.getLogger(__name__).warning("skipped: %s", why if shown(path) in why else f"{shown(path)} {why}")
