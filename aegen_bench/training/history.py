"""The history of a training, and the running means it is made from."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from aegen_bench.numerics.chunks import rows

__all__ = ["History", "Meter", "collapsed"]


@dataclass
class History:
    """The history of a training: a row per epoch and per probe, totals by stage, seconds by kind of work, facts.

    `seconds` of a row is the training time so far over all stages, without probes. The history is filled during
    training, so a trial that diverges or fails keeps its finished epochs.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "extract": 0.0, "fit": 0.0})
    facts: dict[str, float] = field(default_factory=dict)
    _warmed: dict[str, float] = field(default_factory=dict)

    def fact(self, name: str, value: Tensor) -> None:
        """Store a value that the method logged outside its training step."""
        self.facts[name] = float(value)

    def add(self, stage: str, steps: int, images: int, seconds: float, means: dict[str, Any]) -> dict[str, Any]:
        """Add an epoch of a stage, which took `seconds`, and return its row."""
        first = {"epochs": 0, "steps": 0, "images": 0, "seconds": 0.0}
        totals = self.stages.setdefault(stage, first)
        for key, value in {"epochs": 1, "steps": steps, "images": images, "seconds": seconds}.items():
            totals[key] += value
        # The first epoch warms caches and allocators, so it only counts if there is no other.
        warm, after = self._warmed.setdefault(stage, seconds), totals["epochs"] - 1
        totals["seconds_per_epoch"] = (totals["seconds"] - warm) / after if after else seconds
        self.seconds["train"] += seconds
        row = {"stage": stage, "epoch": totals["epochs"], "images": totals["images"], "seconds": self.seconds["train"]}
        self.epochs.append(row | means)
        return self.epochs[-1]


class Meter:
    """Running means of named scalars, in float64 on the device. Only reading them synchronises.

    Sums keep their memory for the lifetime of the meter, because captured steps (`graphs`) add to them.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, name: str, value: Tensor, weight: float = 1.0) -> None:
        """Add a scalar tensor to the mean `name`."""
        if name in self._sums:
            self._sums[name] += value if weight == 1.0 else value * weight
            self._weights[name] += weight
        else:
            self._sums[name] = value.to(torch.float64, copy=True) * weight
            self._weights[name] = weight

    def count(self, weights: Mapping[str, float]) -> None:
        """Add the weights of a replayed step, which has added its values on the device."""
        for name, weight in weights.items():
            self._weights[name] += weight

    @contextlib.contextmanager
    def without_effect(self) -> Iterator[dict[str, float]]:
        """Context for capturing a step, which adds nothing. Yields a dictionary that receives the step's weights."""
        sums, weights = dict(self._sums), dict(self._weights)
        added: dict[str, float] = {}
        try:
            yield added
            added |= {name: weight - weights.get(name, 0.0) for name, weight in self._weights.items()}
        finally:
            self._sums, self._weights = sums, weights

    def knows(self, names: Iterable[str]) -> bool:
        """Whether there is a sum for each of these names."""
        return all(name in self._sums for name in names)

    def state(self) -> dict[str, Any]:
        """Return the sums and weights for a checkpoint."""
        return {"sums": self._sums, "weights": self._weights}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what `state` returned."""
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._weights = state["weights"]

    def read(self) -> dict[str, Any]:
        """Return the means, as `terms` by optimizer and `logs`, and reset them."""
        added = {name: s for name, s in self._sums.items() if self._weights[name]}
        values = torch.stack([s.cpu() for s in added.values()]).tolist() if added else []
        means = {name: v / self._weights[name] for name, v in zip(added, values, strict=True)}
        for name, total in self._sums.items():
            total.zero_()
            self._weights[name] = 0.0
        return _split(means)


def _split(means: dict[str, float]) -> dict[str, Any]:
    """Split means into loss terms by optimizer (`model/nll`) and logged quantities (`half_sse`)."""
    terms: dict[str, dict[str, float]] = {}
    logs: dict[str, float] = {}
    for name, value in means.items():
        optimizer, slash, term = name.partition("/")
        if slash:
            terms.setdefault(optimizer, {})[term] = value
        else:
            logs[name] = value
    return {"terms": terms, "logs": logs}


def collapsed(history: History, images: Tensor) -> bool:
    """Whether the mean 0.5 SSE of the last epoch on images is no better than that of the mean image of `images` (uint8
    NCHW).
    """
    last = next((row["logs"]["half_sse"] for row in reversed(history.epochs) if "half_sse" in row["logs"]), None)
    if last is None:
        return False
    flat = images.flatten(1)
    parts = torch.split(flat, rows(4096, flat.shape[1]))
    mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / len(flat)
    squares = math.fsum(float((part.double() - mean).square().sum()) for part in parts)
    return bool(last >= 0.5 * squares / 255**2 / len(flat))
