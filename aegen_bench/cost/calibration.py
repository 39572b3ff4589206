"""How fast a device does the steps of a grid: kinds are timed while a budget lasts, for the others their FLOPs tell."""

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
    """The costs of kinds by their keys, and the errors of those that cannot be built or stepped."""

    costs: dict[str, list[StageCost]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        """FLOP/s of the costliest step that was timed; NaN before any was."""
        timed = [cost for costs in self.costs.values() for cost in costs if not math.isnan(cost.step_seconds)]
        return max(timed, key=lambda cost: cost.step_flops).speed if timed else math.nan

    def seconds(self, key: str) -> tuple[float, bool]:
        """Of a training, and whether its own steps were timed; others have the speed of the costliest that was."""
        own = math.fsum(cost.seconds for cost in self.costs[key])
        return (
            (math.fsum(cost.flops for cost in self.costs[key]) / self.speed, False) if math.isnan(own) else (own, True)
        )

    @contextmanager
    def noting(self, key: str) -> Iterator[None]:
        """Within, an error takes the kind out: of a method's own code, or of weights that are not here."""
        try:
            with contained():
                yield
        except Exception as error:
            self.costs.pop(key, None)
            self.failed[key] = " ".join((str(error) or type(error).__name__).split())


def calibrate(kinds: Mapping[str, Kind], device: torch.device, budget: float, *, graphs: bool = True) -> Calibration:
    """Count the FLOPs of all, and time them, cheapest step first, while `budget` seconds of timing last.

    With `graphs` a GPU's steps are timed as training takes them, replayed as CUDA graphs.
    """
    made = Calibration()
    for key, kind in kinds.items():
        with made.noting(key):
            made.costs[key] = count(kind)
    until = time.perf_counter() + budget
    for key, costs in sorted(made.costs.items(), key=lambda item: sum(cost.step_flops for cost in item[1])):
        expected = (1 + STEPS[0]) * sum(cost.step_flops for cost in costs) / made.speed  # NaN, so no bar, at first
        if time.perf_counter() + expected > until:
            break
        with made.noting(key):
            measure(kinds[key], costs, device, graphs=graphs)
    return made
