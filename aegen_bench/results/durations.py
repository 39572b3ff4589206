"""How long finished trials took, for forecasts and for the time left of running trials."""

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
    """Durations of finished trials in seconds: `rest` has everything but training (codes, `fit`, sampling, evaluation)
    by row and dataset, `stages` has training by row, dataset and stage.
    """

    rest: Mapping[Cell, Sequence[float]]
    stages: Mapping[tuple[str, str, str], Sequence[float]]

    @staticmethod
    def of(root: Path, profile: str, device: str, *, elsewhere: bool = False, dataset: str | None = None) -> Durations:
        """Return the durations of the trials of a profile, or of one of its datasets, on `device` (as named by
        `environment.timed_on`); with `elsewhere`, on all other devices.
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
        """Return the median time besides training: of the row on the dataset, else of all rows; None if unknown."""
        known = self.rest.get((row, dataset)) or [*chain(*self.rest.values())]
        return median(known) if known else None

    def after(self, row: str, dataset: str, stages: Sequence[str]) -> dict[str, float]:
        """Return the time from the end of each of these stages to the end of the trial; unknown ones are left out."""
        found, left = dict[str, float](), self.rest_of(row, dataset)
        for name in reversed(stages):
            if left is None:
                break
            found[name] = left
            took = self.stages.get((row, dataset, name))
            left = left + median(took) if took else None
        return found
