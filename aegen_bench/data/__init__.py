"""A dataset name -> one uint8 NCHW array a split, cached under the user's data folder."""

from __future__ import annotations

import os
from pathlib import Path

from aegen_bench.data.cache import is_prepared, prepared, shape
from aegen_bench.data.found import Files, find
from aegen_bench.data.images import Images, Progress, list_images
from aegen_bench.data.readers import files, npz_path
from aegen_bench.data.recipe import Recipe, Split
from aegen_bench.errors import MissingError, UserError

__all__ = [
    "Files",
    "Recipe",
    "Split",
    "default_folder",
    "discover",
    "fetch",
    "find",
    "fingerprint",
    "known_fingerprint",
    "load",
    "missing",
    "shape",
]

OURS = frozenset({"prepared", "weights", "cache"})
TORCHVISIONS = frozenset({"MNIST", "FashionMNIST", "cifar-10-batches-py", "celeba"})


def load(name: str, recipe: Recipe, folder: Path, split: Split, *, progress: Progress | None = None) -> Images:
    """Return the images of a split: uint8, (N, C, S, S), C 1 or 3, memory-mapped read-only from the cache.

    FOLDER/NAME.npz is taken if it exists, else the recipe's source. An npz is taken as it is: the recipe's
    size is checked, not made. `progress(done, total)` counts images while files of images are prepared.
    MissingError if the data are not here; UserError if they are damaged or do not fit, the cache stays sound.
    """
    return _prepared(name, recipe, folder, split, progress)[0]


def fingerprint(name: str, recipe: Recipe, folder: Path, split: Split) -> str:
    """Return the sha256 of the pixels that `load` returns."""
    return _prepared(name, recipe, folder, split, None)[1]


def known_fingerprint(name: str, recipe: Recipe, folder: Path, split: Split) -> str | None:
    """Return the same of images that were prepared here before (they are prepared anew where their files have changed
    since); None of others, and where that fails.
    """
    try:
        return fingerprint(name, recipe, folder, split) if is_prepared(name, recipe, folder) else None
    except UserError:
        return None


def missing(name: str, recipe: Recipe, folder: Path) -> str | None:
    """Return None if the images can be had without network, else one line that says how to get them."""
    if is_prepared(name, recipe, folder) or _has_source(name, recipe, folder):
        return None
    return _hint(name, recipe, folder)


def discover(folder: Path) -> dict[str, Recipe]:
    """Return a recipe for each NAME.npz and each sub-folder NAME of images; an npz goes before a folder.

    A `fashion.npz` that stands in for a declared dataset is among them: lay the declared ones over these.
    """
    if not folder.is_dir():
        return {}
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in OURS | TORCHVISIONS:
            continue
        if path.suffix == ".npz" and path.is_file():
            found[path.stem] = Recipe(source="npz")
        elif path.is_dir() and path.name not in found and (list_images(path) or list_images(path / "train")):
            found[path.name] = Recipe(source="folder")
    return dict(sorted(found.items()))


def fetch(name: str, recipe: Recipe, folder: Path) -> str:
    """Download a dataset with torchvision's own downloader; return one line that says what is there now."""
    if npz_path(name, folder).exists():
        return f"{name}: nothing to fetch, {npz_path(name, folder)} is used"
    if recipe.source == "digits":
        return f"{name}: nothing to fetch, the images come with scikit-learn"
    if recipe.source in ("npz", "folder"):
        if (hint := missing(name, recipe, folder)) is not None:
            raise MissingError(hint)
        return f"{name}: nothing to fetch, it is your own data"
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
        raise UserError(f"{name}: the download into {folder} failed: {kind}: {reason}") from error
    return f"{name}: ready in {folder}"


def _prepared(name: str, recipe: Recipe, folder: Path, split: Split, progress: Progress | None) -> tuple[Images, str]:
    found = prepared(name, recipe, folder, split, progress)
    if found is None:
        raise MissingError(_hint(name, recipe, folder))
    return found


def _hint(name: str, recipe: Recipe, folder: Path) -> str:
    npz = npz_path(name, folder)
    if recipe.source == "npz":
        return f"{name}: no {npz}; put it there (x_train, x_test: uint8, NHWC or NHW)"
    if recipe.source == "folder":
        return f"{name}: no images in {folder / name}; put them there, flat or in train/ and test/ (or {npz})"
    fetch = f"`aegen-bench fetch {name}` brings them"
    return f"{name}: no images under {folder}; {fetch} (or put {name}.npz there)"


def _has_source(name: str, recipe: Recipe, folder: Path) -> bool:
    if recipe.source == "folder" and not npz_path(name, folder).exists():
        return bool(list_images(folder / name) or list_images(folder / name / "train"))
    splits: tuple[Split, ...] = ("train", "test")
    return all(path.exists() for split in splits for path in files(name, recipe, folder, split))


def default_folder() -> Path:
    """Return the data folder of a user who names none: AEGEN_BENCH_DATA, else ~/.cache/aegen-bench."""
    return Path(os.environ.get("AEGEN_BENCH_DATA") or Path.home() / ".cache" / "aegen-bench").expanduser()
