"""Scores image sets that do not come from a trial: those of a folder or npz, and the two anchors of every table.

Each gets a record in the format of a trial's, and appears in every table of the same dataset, protocol id and real
images: results/external/DATASET/NAME/seed-K and results/anchors/DATASET/{floor,ceiling}/seed-0.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aegen_bench import data, results
from aegen_bench.errors import UserError
from aegen_bench.evaluation.scorer import GivenImages, Scorer
from aegen_bench.files import shown
from aegen_bench.results import ANCHORS, EXTERNAL, Record

__all__ = ["anchors", "anchors_lack", "score"]

Images = NDArray[np.uint8]


def score(scorer: Scorer, root: Path, files: data.Files, name: str, seed: int, *, take_place: bool) -> Record:
    """Score images from outside the benchmark, and return their record in the results folder `root`.

    If there are more images than a protocol compares, a seeded subset is used, in name order; UserError if there are
    fewer. If this name already has a record of other images, it is renamed and kept with `take_place`, and a UserError
    without.
    """
    from aegen_bench.evaluation.features import chosen

    for protocol in scorer.protocols:
        needed = scorer.needs(protocol)
        if files.count < needed:
            raise UserError(
                f"{files.path} has {files.count:,} images, protocol {protocol.name} needs {needed:,}: add images, "
                f"or use --count {files.count}, which changes the protocol id"
            )
        if files.count > needed:
            scorer.show.note(f"{protocol.name}: {needed:,} of {files.count:,} images, a seeded subset in name order")

    key = files.digest[:16]
    path = results.trial_folder(root, EXTERNAL, scorer.dataset, name, seed) / "record.json"
    if not take_place and path.is_file() and scorer.standing(path, key) is None:
        raise UserError(
            f"{shown(path)} is the record of other images: use --name OTHER "
            f"(or --name {name}, which replaces it and keeps the old record under another name)"
        )

    def images(n: int) -> Images:
        return files.take(chosen(files.count, n), scorer.shape)

    blank = Record(profile=EXTERNAL, dataset=scorer.dataset, row=name, seed=seed, key=key)
    blank.config = {"source": {"path": shown(files.path), "images": files.count}}
    return scorer.complete(path, blank, GivenImages(images, seed))


def anchors(scorer: Scorer, root: Path) -> None:
    """Complete the records of the anchors: the floor, real training images, and the ceiling, uniform noise.

    There is no floor under a protocol that compares with the training split, or more images than that has.
    """
    import torch

    from aegen_bench import seeding
    from aegen_bench.evaluation.features import subset

    def training(n: int) -> Images:
        return np.asarray(subset(scorer.real("train")[0], n))

    def noise(n: int) -> Images:
        stream = seeding.stream(0, "noise images")
        return torch.randint(256, (n, *scorer.shape), dtype=torch.uint8, generator=stream).numpy()

    for own, path, blank in _anchors(scorer, root):
        scorer.show.note(f"anchor of {scorer.dataset}: {blank.row}")
        own.complete(path, blank, GivenImages(training if blank.row == "floor" else noise))


def anchors_lack(scorer: Scorer, root: Path) -> bool:
    """Return whether `anchors` has anything left to measure. Does not import torch."""
    return bool(_anchors(scorer, root))


def _anchors(scorer: Scorer, root: Path) -> list[tuple[Scorer, Path, Record]]:
    """Return the incomplete anchors: the scorer, path and blank record of each."""
    lack = []
    training, content = scorer.real("train")
    for row in ("floor", "ceiling"):
        unseen = [p for p in scorer.protocols if p.split == "test" and scorer.needs(p) <= len(training)]
        protocols = unseen if row == "floor" else scorer.protocols
        key = hashlib.sha256(f"{row} {content}".encode()).hexdigest()[:16]
        blank = Record(profile=ANCHORS, dataset=scorer.dataset, row=row, seed=0, key=key)
        path = results.trial_folder(root, ANCHORS, scorer.dataset, row, 0) / "record.json"
        own = replace(scorer, protocols=protocols)
        found = own.standing(path, key) or blank
        if any(found.lacking(protocol.id, protocol.metrics) for protocol in protocols):
            lack.append((own, path, blank))
    return lack
