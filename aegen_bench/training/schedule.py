"""The length and learning-rate schedule of one training stage, in epochs or in steps."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["StagePlan"]


class StagePlan(BaseModel):
    """The settings of one stage. Exactly one of `epochs` and `steps` is set, and `lr_at` counts in the same unit.

    `lr_at` lists (when, factor): from `when` on, the learning rates are their initial values times `factor` (not
    cumulative). `unscaled` is the row's own plan if a profile or --set changed it.
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
        """Return the number of steps of the stage on `images` training images. Incomplete batches are dropped."""
        return self.steps if self.steps is not None else (self.epochs or 0) * self._per_epoch(images)

    def milestones(self, images: int) -> list[tuple[int, float]]:
        """Return (first step, factor) of each change of the learning rates, in order."""
        unit = 1 if self.steps is not None else self._per_epoch(images)
        return sorted((round(when * unit), factor) for when, factor in self.lr_at)

    def optimizer_settings(self, name: str) -> dict[str, Any]:
        """Return lr, and any betas and weight_decay from the yaml, of the optimizer `name`."""
        return {"lr": self.lr, **self.optimizers.get(name, {})}

    def scalar_lr_ratio(self, full: int, images: int) -> float:
        """Return the ratio of the summed lr over all steps: the unscaled plan on `full` images to this plan on
        `images`. 1 if nothing is shortened.
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
