"""Measurements during training, for the curves of Figures 3 and 4. They change no weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aegen_bench.baseline import Baseline, Stage
from aegen_bench.numerics.pixels import as_float, at_once
from aegen_bench.training.history import Meter

__all__ = ["Probe"]


@dataclass(frozen=True)
class Probe:
    """Every `every` epochs, calls `measure(model)` and, in stages on images, runs `step` over `train` and `test`.

    Both happen in eval mode without gradients, and `step` only runs to its first yield. `train` and `test` are uint8
    NCHW on the device. `positions` are those of `train` in the training set; by default, it has the first images.
    """

    every: int
    train: Tensor
    test: Tensor
    measure: Callable[[Baseline], dict[str, float]]
    positions: Tensor | None = None

    def take(
        self,
        model: Baseline,
        stage: Stage,
        random: Callable[[], torch.Generator],
        complete: Callable[[], Baseline],
    ) -> dict[str, Any]:
        """Return the entries of the history: `probe_train`, `probe_test`, `metrics`.

        `complete` gives the model that is sampled: where a density is fitted after training, a copy that has one now.
        """
        entry: dict[str, Any] = {}
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        with torch.no_grad():
            if stage.data == "images":
                entry["probe_train"] = _losses(model, stage, self.train, random(), self.positions)
                if model.has("encode"):  # without an encoder, only training images have codes
                    entry["probe_test"] = _losses(model, stage, self.test, random())
            entry["metrics"] = self.measure(complete())
        for module, training in modes:  # modules that the method put into eval mode stay there
            module.training = training
        return entry


def _losses(
    model: Baseline, stage: Stage, images: Tensor, random: torch.Generator, positions: Tensor | None = None
) -> dict[str, Any]:
    """Return the terms and logs of the first update, averaged over `images`."""
    meter, size = Meter(), at_once(images.shape[1:])
    positions = torch.arange(len(images), device=images.device) if positions is None else positions
    for part, index in zip(torch.split(images, size), torch.split(positions, size), strict=True):
        share = len(index) / len(images)
        with model.using(random, lambda name, value, w=share: meter.add(name, value, w)):  # type: ignore[misc]
            updates = stage.step(as_float(part), index)
            name, terms = next(updates)
            updates.close()  # type: ignore[attr-defined]
        for term, value in terms.items():
            meter.add(f"{name}/{term}", value.detach(), share)
    return meter.read()
