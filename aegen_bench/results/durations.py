"""How long finished trials took: what a forecast goes by, and the time left that a running trial tells."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median

from aegen_bench.environment import timed_on
from aegen_bench.results import store

__all__ = ["Durations"]

Cell = tuple[str, str]  # row, dataset


@dataclass(frozen=True)
class Durations:
    """Seconds of finished trials: of what is not training (codes, `fit`, sampling, evaluation) by row and dataset, of
    training stages by row, dataset and name.
    """

    rest: Mapping[Cell, Sequence[float]]
    stages: Mapping[tuple[str, str, str], Sequence[float]]

    @staticmethod
    def of(root: Path, profile: str, device: str, *, elsewhere: bool = False, dataset: str | None = None) -> Durations:
        """From the trials of a profile, or of one of its datasets, on `device` (as `environment.timed_on` names it), or
        on all but that where `elsewhere`.
        """
        rest, stages = defaultdict[Cell, list[float]](list), defaultdict[tuple[str, str, str], list[float]](list)
        for _, record in store.records(root, profile=profile, dataset=dataset):
            evaluated = record.status == "ok" and "sample" in record.seconds
            if not evaluated or (timed_on(record.environment) == device) == elsewhere:
                continue
            cell = record.row, record.dataset
            rest[cell].append(math.fsum(seconds or 0.0 for part, seconds in record.seconds.items() if part != "train"))
            for name, told in record.stages.items():
                stages[*cell, name].append(told.get("seconds") or 0.0)
        return Durations(rest, stages)

    def rest_of(self, row: str, dataset: str) -> float | None:
        """Median of what is not training: of the row on the dataset, else of all rows; None where nothing is known."""
        known = self.rest.get((row, dataset)) or [*chain(*self.rest.values())]
        return median(known) if known else None

    def after(self, row: str, dataset: str, stages: Sequence[str]) -> dict[str, float]:
        """How long what follows each of these stages takes, those left out of which that is not known."""
        found, left = dict[str, float](), self.rest_of(row, dataset)
        for name in reversed(stages):
            if left is None:
                break
            found[name] = left
            took = self.stages.get((row, dataset, name))
            left = left + median(took) if took else None
        return found
