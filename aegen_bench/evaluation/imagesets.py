"""Sets of images that no trial made: those of a folder or an npz, and the two anchors of every table.

Each gets a record of its own, laid out as a trial's, and joins every table of the same dataset, protocol id and real
images: results/external/DATASET/NAME/seed-K and results/anchors/DATASET/{floor,ceiling}/seed-0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from aegen_bench import data, environment, evaluation, results
from aegen_bench.errors import UserError
from aegen_bench.evaluation import Protocol
from aegen_bench.files import require_folder, shown
from aegen_bench.progress import Progress
from aegen_bench.results import ANCHORS, EXTERNAL, Record

__all__ = ["Scorer", "anchors", "anchors_lack", "real_images", "score"]

Images = NDArray[np.uint8]
Real = Callable[[data.Split], tuple[Images, str]]


@dataclass(frozen=True)
class Scorer:
    """What image sets are compared with, by what, and where: one dataset under some protocols.

    `real(split)` gives the real images, uint8 [n, C, S, S], and what stands for their content.
    """

    dataset: str
    real: Real
    protocols: Sequence[Protocol]
    results: Path
    data: Path
    device: Any
    show: Progress

    @property
    def shape(self) -> tuple[int, int, int]:
        return cast("tuple[int, int, int]", self.real("test")[0].shape[1:])

    def needs(self, protocol: Protocol) -> int:
        """Return how many images the protocol takes."""
        return protocol.images(len(self.real(protocol.split)[0]))

    def complete(
        self, profile: str, row: str, seed: int, key: str, config: Mapping[str, Any], images: Callable[[int], Images]
    ) -> Record:
        """Measure what the record of a set lacks and return it; one of another key or other real images is kept
        aside.

        `images(n)` makes or reads the n images that a protocol takes.
        """
        path = results.trial_folder(self.results, profile, self.dataset, row, seed) / "record.json"
        here = environment.describe(self.device)
        for protocol in self.protocols:
            wanted = self.lacking(path, key, protocol)
            if not wanted:
                continue
            real, fingerprint = self.real(protocol.split)
            scores = evaluation.evaluate(
                protocol,
                dataset=self.dataset,
                generated=[images(self.needs(protocol))],
                real=real,
                fingerprint=fingerprint,
                seed=seed,
                device=str(self.device),
                data_folder=self.data,
                only=wanted,
                progress=self.show.count,
            )
            require_folder(path.parent)  # only now: images that are refused leave nothing
            with results.locked(path):
                if self.standing(path, key) is None:
                    if aside := results.keep_aside(path):
                        self.show.note(f"{row}, seed {seed}: the record of other images is kept aside as {aside}")
                    new = Record(profile=profile, dataset=self.dataset, row=row, seed=seed, key=key)
                    new.config, new.environment = dict(config), here
                    results.write_record(path, new)
                results.add_evaluation(path, protocol.id, results.evaluated(protocol, scores, fingerprint, here))
        return results.read_record(path)

    def lacking(self, path: Path, key: str, protocol: Protocol) -> set[str]:
        """Return those of a protocol's metrics that the record of a set with this key lacks."""
        found = self.standing(path, key)
        return set(protocol.metrics) if found is None else found.lacking(protocol.id, protocol.metrics)

    def standing(self, path: Path, key: str) -> Record | None:
        """Return the record of a set if it is of this key and was compared with these real images."""
        return results.standing(path, key, {p.id: self.real(p.split)[1] for p in self.protocols})


def score(scorer: Scorer, files: data.Files, name: str, seed: int, *, replace: bool) -> Record:
    """Score images from elsewhere and return their record.

    Of more images than a protocol takes a seeded subset is drawn, in name order; UserError where there are fewer. A
    record of other images under this name is kept aside with `replace`, and a UserError without.
    """
    from aegen_bench.evaluation.features import chosen

    for protocol in scorer.protocols:
        needed = scorer.needs(protocol)
        if files.count < needed:
            raise UserError(
                f"{files.path} holds {files.count:,} images, protocol {protocol.name} takes {needed:,}: add images, "
                f"or --count {files.count}, which scores under a protocol id of its own"
            )
        if files.count > needed:
            scorer.show.note(f"{protocol.name}: {needed:,} of {files.count:,} images, a seeded subset in name order")

    key = files.digest[:16]
    path = results.trial_folder(scorer.results, EXTERNAL, scorer.dataset, name, seed) / "record.json"
    if not replace and path.is_file() and scorer.standing(path, key) is None:
        raise UserError(
            f"{shown(path)} is the record of other images: say --name OTHER "
            f"(or --name {name}, which takes its place and keeps the old record aside)"
        )

    def images(n: int) -> Images:
        return files.take(chosen(files.count, n), scorer.shape)

    source = {"source": {"path": shown(files.path), "images": files.count}}
    return scorer.complete(EXTERNAL, name, seed, key, source, images)


def anchors(scorer: Scorer) -> None:
    """Score the floor, real training images, and the ceiling, uniform noise, where their records lack something.

    Where there are fewer training images than a protocol takes, it has no floor.
    """
    import torch

    from aegen_bench import seeding
    from aegen_bench.evaluation.features import subset

    def training(n: int) -> Images:
        return np.asarray(subset(scorer.real("train")[0], n))

    def noise(n: int) -> Images:
        made = torch.randint(256, (n, *scorer.shape), generator=seeding.stream(0, "noise images"))
        return made.to(torch.uint8).numpy()

    for row, key, protocols in _anchors(scorer):
        scorer.show.note(f"anchor of {scorer.dataset}: {row}")
        own = Scorer(**{**vars(scorer), "protocols": protocols})
        own.complete(ANCHORS, row, 0, key, {}, training if row == "floor" else noise)


def anchors_lack(scorer: Scorer) -> bool:
    """Whether `anchors` would have something to do. Imports no torch."""
    return bool(_anchors(scorer))


def real_images(name: str, recipe: data.Recipe, folder: Path) -> Real:
    """Return what a Scorer compares with: the splits of a dataset, read when first asked for."""

    @cache
    def real(split: data.Split) -> tuple[Images, str]:
        return data.load(name, recipe, folder, split), data.fingerprint(name, recipe, folder, split)

    return real


def _anchors(scorer: Scorer) -> list[tuple[str, str, list[Protocol]]]:
    """The anchors that lack something: row, key, protocols."""
    lack = []
    training, content = scorer.real("train")
    for row in ("floor", "ceiling"):
        protocols = [p for p in scorer.protocols if row == "ceiling" or scorer.needs(p) <= len(training)]
        key = hashlib.sha256(f"{row} {content}".encode()).hexdigest()[:16]
        path = results.trial_folder(scorer.results, ANCHORS, scorer.dataset, row, 0) / "record.json"
        if any(scorer.lacking(path, key, protocol) for protocol in protocols):
            lack.append((row, key, protocols))
    return lack
