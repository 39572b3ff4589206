"""Adam optimizers and their schedule, from the declarations of a baseline and the yaml."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline
from aegen_bench.errors import UserError, unknown
from aegen_bench.training.schedule import StagePlan

__all__ = ["Optimizers", "make_optimizers"]

SCALAR_LR_LIMIT = 1e-2


class Optimizers:
    """The optimizers of one stage by name. Gradients are computed for the parameters of one optimizer at a time."""

    def __init__(self, groups: dict[str, list[dict[str, Any]]], milestones: list[tuple[int, float]]) -> None:
        self._parameters = {name: [p for g in gs for p in g["params"]] for name, gs in groups.items()}
        # `capturable` allows CUDA graphs and uses the same kernels. It is an error on a CPU.
        self._adam = {
            name: torch.optim.Adam(gs, fused=True, capturable=any(p.is_cuda for p in self._parameters[name]))
            for name, gs in groups.items()
        }
        self._base = {name: [g["lr"] for g in adam.param_groups] for name, adam in self._adam.items()}
        self._milestones = milestones
        self._passed = 0

    def schedule(self, step: int) -> None:
        """Set the learning rates for step `step` of the stage, counted from 0."""
        while self._passed < len(self._milestones) and step >= self._milestones[self._passed][0]:
            factor = self._milestones[self._passed][1]
            for name, adam in self._adam.items():
                for group, base in zip(adam.param_groups, self._base[name], strict=True):
                    group["lr"] = base * factor
            self._passed += 1

    @property
    def rates(self) -> list[float]:
        """The present learning rates of all groups."""
        return [group["lr"] for adam in self._adam.values() for group in adam.param_groups]

    def reset(self) -> None:
        """Reset the optimizers to new ones. In place, because captured steps (`graphs`) use their state."""
        for adam in self._adam.values():
            for state in adam.state.values():
                for value in state.values():
                    value.zero_()

    @property
    def scalar_lr(self) -> float | None:
        """The present learning rate of the learned scalars; None if there are none."""
        groups = (group for adam in self._adam.values() for group in adam.param_groups)
        return max((group["lr"] for group in groups if all(p.ndim == 0 for p in group["params"])), default=None)

    def update(self, name: str, loss: Tensor) -> None:
        """Step the optimizer `name` with the gradient of a scalar loss; UserError if there is no such optimizer."""
        if name not in self._adam:
            raise unknown("optimizer", name, self._adam)
        adam = self._adam[name]
        adam.zero_grad(set_to_none=True)
        loss.backward(inputs=self._parameters[name])  # type: ignore[no-untyped-call]
        adam.step()

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {name: adam.state_dict() for name, adam in self._adam.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned. Learning rates follow at the next call of `schedule`."""
        for name, adam in self._adam.items():
            adam.load_state_dict(state[name])


def make_optimizers(model: Baseline, plan: StagePlan, *, full_size: int, size: int) -> Optimizers:
    """Return new optimizers for a stage that trains on `size` of the dataset's `full_size` images.

    Each setting comes from the first of these that has it: the parameter group, `optimizers.NAME` in the yaml, the
    stage, Adam's defaults. Learned scalars (shape ()) move to a separate group, see `_scalar_lr`.

    UserError for an unknown optimizer, a setting without effect, or a parameter that no optimizer trains.
    """
    declared = model.optimizers()
    for name in plan.optimizers:
        if name not in declared:
            raise unknown("optimizer", name, declared)
    groups = {}
    for name, parts in declared.items():
        parts = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in parts]
        settings = plan.optimizer_settings(name)
        for key in plan.optimizers.get(name, {}):
            if all(key in group for group in parts):
                raise UserError(
                    f"optimizers.{name}.{key} has no effect: {type(model).__name__} sets {key} for all its groups"
                )
        ratio = plan.scalar_lr_ratio(full_size, size)
        made = [one for group in parts for one in _split_scalars({**settings, **group}, ratio)]
        if made:  # not if all of its parameters are frozen in this stage
            groups[name] = made
    _require_owned(model, groups)
    return Optimizers(groups, plan.milestones(size))


def _split_scalars(group: dict[str, Any], ratio: float) -> list[dict[str, Any]]:
    scalars = [p for p in group["params"] if p.ndim == 0]
    others = [p for p in group["params"] if p.ndim > 0]
    made = [{**group, "params": others}] if others else []
    if scalars:
        made.append({**group, "params": scalars, "weight_decay": 0.0, "lr": _scalar_lr(group["lr"], ratio)})
    return made


def _scalar_lr(lr: float, ratio: float) -> float:
    """Adam moves a scalar by about lr per step, so with a shortened schedule it would stay close to its initial value.

    Deviation: under a profile that shortens the schedule, a learned scalar's lr grows by the same ratio, up to 1e-2.
    The record has it among its facts, and all tables of such a profile say so.
    """
    return lr if ratio <= 1.0 else max(lr, min(lr * ratio, SCALAR_LR_LIMIT))


def _require_owned(model: nn.Module, groups: dict[str, list[dict[str, Any]]]) -> None:
    owned = {id(p) for gs in groups.values() for g in gs for p in g["params"]}
    orphans = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in owned]
    if orphans:
        raise UserError(
            f"{type(model).__name__}.optimizers() leaves out {', '.join(orphans[:5])}: nothing would train them"
        )
