"""The one way to scores: what is compared with what, and how a record is completed by what it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from aegen_bench import data, environment, results
from aegen_bench.evaluation.protocol import Protocol
from aegen_bench.evaluation.scoring import Scores, Subject, evaluate
from aegen_bench.files import require_folder
from aegen_bench.progress import Progress
from aegen_bench.results import Evaluation, Record

__all__ = ["GivenImages", "Real", "Scorer", "real_images"]

Images = NDArray[np.uint8]
Real = Callable[[data.Split], tuple[Images, str]]


class GivenImages(Subject):
    """Images whose generator is not here: `images(n)` makes or reads the n that a protocol takes, of one draw."""

    def __init__(self, images: Callable[[int], Images], seed: int = 0) -> None:
        self.images, self.seed = images, seed

    def generated(self, n: int, draw: int) -> Images:
        return self.images(n)


@dataclass(frozen=True)
class Scorer:
    """Real images, the protocols to score under, and the device: trials, folders, anchors and the API all pass here.

    `real(split)` returns the real images, uint8 [n, C, S, S], and what stands for their content; `data` is the data
    folder, which keeps features of real images.
    """

    dataset: str
    real: Real
    protocols: Sequence[Protocol]
    data: Path
    device: Any
    show: Progress

    @property
    def shape(self) -> tuple[int, int, int]:
        return cast("tuple[int, int, int]", self.real("test")[0].shape[1:])

    def needs(self, protocol: Protocol) -> int:
        """Return how many generated images the protocol takes."""
        return protocol.images(len(self.real(protocol.split)[0]))

    def standing(self, path: Path, key: str) -> Record | None:
        """Return the record at `path` if it is of this key and was compared with these real images."""
        return results.standing(path, key, {p.id: self.real(p.split)[1] for p in self.protocols})

    def score(self, protocol: Protocol, subject: Subject, *, draws: int = 1, only: set[str] | None = None) -> Scores:
        """Score a subject under one protocol; nothing is recorded."""
        real, fingerprint = self.real(protocol.split)
        return evaluate(
            protocol,
            subject,
            dataset=self.dataset,
            real=real,
            fingerprint=fingerprint,
            device=str(self.device),
            data_folder=self.data,
            draws=draws,
            only=only,
            progress=self.show.count,
        )

    def complete(self, path: Path, blank: Record, subject: Subject, *, draws: int = 1) -> Record:
        """Measure what the record at `path` lacks, protocol by protocol, and return it as it then stands.

        `blank` has the key and what else is known before anything was measured. A record of another key or of other
        real images is kept aside. A record keeps its number of draws, whatever `draws` says by now.
        """
        here = environment.describe(self.device)
        record = self.standing(path, blank.key) or blank
        first, seconds = not record.metrics, Counter[str]()
        for protocol in self.protocols:
            wanted = record.lacking(protocol.id, protocol.metrics)
            if not wanted:
                continue
            subject.begins(protocol)
            before = record.metrics.get(protocol.id) or Evaluation.nothing()
            known = {name: found for name, found in subject.known(protocol).items() if name in wanted}
            scores = self.score(protocol, subject, draws=len(before.draws) or draws, only=wanted - known.keys())
            for name, (numbers, settings) in known.items():
                scores.model.update(numbers)
                scores.settings[name] = settings
            seconds.update(scores.seconds)
            entry = results.evaluated(protocol, scores, self.real(protocol.split)[1], here)
            require_folder(path.parent)  # only now: images that are refused leave nothing
            with results.locked(path):
                if self.standing(path, blank.key) is None:
                    if aside := results.keep_aside(path):
                        row = f"{blank.row}, seed {blank.seed}"
                        self.show.note(f"{row}: the record of other images is kept aside as {aside}")
                    results.write_record(path, blank.model_copy(update={"environment": here}))
                about = subject.about(dict(seconds)) if first else {}
                record = results.add_evaluation(path, protocol.id, entry, **about)
            subject.keep(scores.curves)
        return record


def real_images(name: str, recipe: data.Recipe, folder: Path) -> Real:
    """Return what a Scorer compares with: the splits of a dataset, read when first asked for."""

    @cache
    def real(split: data.Split) -> tuple[Images, str]:
        return data.load(name, recipe, folder, split), data.fingerprint(name, recipe, folder, split)

    return real
