"""The speed of training steps on a device: measured within a time budget, extrapolated by FLOPs for the rest."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from aegen_bench.cost.counting import STEPS, Kind, StageCost, count, measure
from aegen_bench.errors import contained

__all__ = ["Calibration", "calibrate"]


@dataclass
class Calibration:
    """The costs of kinds of training by their keys, and the errors of those that cannot be built or run."""

    costs: dict[str, list[StageCost]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        """FLOP/s of the most expensive step that was timed; NaN if none was, or none has products or convolutions."""
        every = [cost for costs in self.costs.values() for cost in costs]
        timed = [cost for cost in every if cost.step_flops and not math.isnan(cost.step_seconds)]
        return max(timed, key=lambda cost: cost.step_flops).speed if timed else math.nan

    def seconds(self, key: str) -> tuple[float, bool]:
        """Return the seconds of a training, and whether its own steps were timed. Otherwise `speed` is assumed."""
        own = math.fsum(cost.seconds for cost in self.costs[key])
        return (
            (math.fsum(cost.flops for cost in self.costs[key]) / self.speed, False) if math.isnan(own) else (own, True)
        )

    @contextmanager
    def noting(self, key: str) -> Iterator[None]:
        """Context in which an error, such as one of a method or missing weights, removes the kind and is recorded."""
        try:
            with contained():
                yield
        except Exception as error:
            self.costs.pop(key, None)
            self.failed[key] = " ".join((str(error) or type(error).__name__).split())


def calibrate(kinds: Mapping[str, Kind], device: torch.device, budget: float, *, graphs: bool = True) -> Calibration:
    """Count the FLOPs of all kinds, and time their steps, cheapest first, for up to `budget` seconds.

    With `graphs`, steps on a GPU are timed as replayed CUDA graphs, as in training.
    """
    made = Calibration()
    for key, kind in kinds.items():
        with made.noting(key):
            made.costs[key] = count(kind)
    until = time.perf_counter() + budget
    for key, costs in sorted(made.costs.items(), key=lambda item: sum(cost.step_flops for cost in item[1])):
        expected = (1 + STEPS[0]) * sum(cost.step_flops for cost in costs) / made.speed  # NaN, so no limit, at first
        if time.perf_counter() + expected > until:
            break
        with made.noting(key):
            measure(kinds[key], costs, device, graphs=graphs)
    return made
