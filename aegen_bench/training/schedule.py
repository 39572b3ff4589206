"""The budget and learning-rate schedule of one training stage, in epochs or in steps."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["StagePlan"]


class StagePlan(BaseModel):
    """What one stage trains with. Exactly one of `epochs` and `steps` is set; `lr_at` counts in the same unit.

    `lr_at` lists (when, factor): from `when` on the learning rates are their first values times `factor` (not
    cumulative). `unscaled` is the row's own plan where a profile or --set changed it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int | None = None
    steps: int | None = None
    batch: int
    lr: float
    lr_at: tuple[tuple[float, float], ...] = ()
    optimizers: dict[str, dict[str, Any]] = {}
    unscaled: StagePlan | None = None

    def total_steps(self, images: int) -> int:
        """Optimiser steps of the whole stage on a training set of `images`; the incomplete batch of an epoch is
        dropped.
        """
        return self.steps if self.steps is not None else (self.epochs or 0) * self._per_epoch(images)

    def milestones(self, images: int) -> list[tuple[int, float]]:
        """(step from which it holds, factor), in order."""
        unit = 1 if self.steps is not None else self._per_epoch(images)
        return sorted((round(when * unit), factor) for when, factor in self.lr_at)

    def optimizer_settings(self, name: str) -> dict[str, Any]:
        """lr, and what the yaml says of betas and weight decay, for the optimizer `name`."""
        return {"lr": self.lr, **self.optimizers.get(name, {})}

    def scalar_lr_ratio(self, full: int, images: int) -> float:
        """Sum of lr over the steps of the unscaled plan on `full` images over this plan's sum on `images`; 1 if
        unchanged.
        """
        if self.unscaled is None and full == images:
            return 1.0
        return (self.unscaled or self)._lr_sum(full) / self._lr_sum(images)

    def _per_epoch(self, images: int) -> int:
        return max(1, images // min(self.batch, images))

    def _lr_sum(self, images: int) -> float:
        total, factor, begin, area = self.total_steps(images), 1.0, 0, 0.0
        for step, then in [*self.milestones(images), (total, 0.0)]:
            end = min(step, total)
            area += factor * (end - begin)
            begin, factor = end, then
        return self.lr * area
