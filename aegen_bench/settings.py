"""How layers of settings become one configuration: merging, scaling of budgets, and what to say about it. Plain data
only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aegen_bench.schedule import StagePlan

__all__ = ["resolve"]

Plain = dict[str, Any]


def resolve(own: Sequence[Plain], profile: Sequence[Plain], stages: Sequence[str], scale: float) -> Plain:
    """Merge the row's own layers, scale its epochs, and lay the profile's layers over it.

    Returns the settings with one plan a stage, and `overrides`: sentences that say what the profile changed.
    """
    base, full = _merge(own, stages), _merge([*own, *profile], stages)
    changes = _merge(profile, stages)
    plans = {}
    for name in stages:
        before = base["stages"].get(name, {})
        plans[name] = _plan(name, before, changes["stages"].get(name, {}), scale)
    overrides = [f"{k} {_short(v)}" for k, v in changes.items() if k not in ("stages", "with")]
    overrides += [f"{k} {_short(v)}" for k, v in changes["with"].items()]
    overrides += [f"epochs x {scale:g}"] if scale != 1.0 else []
    said = {
        f"{k} {_short(v)}": None for plan in changes["stages"].values() for k, v in plan.items() if k != "optimizers"
    }
    return {**full, "stages": plans, "overrides": [*overrides, *said]}


def _merge(layers: Sequence[Plain], stages: Sequence[str]) -> Plain:
    merged: Plain = {"with": {}, "stages": {}}
    for layer in layers:
        rest = {k: v for k, v in layer.items() if k not in ("with", "stages")}
        merged |= rest
        merged["with"] |= layer.get("with", {})
        declared = layer.get("stages", {})
        for name in stages:
            for change in (declared.get("*", {}), declared.get(name, {})):
                merged["stages"][name] = _merge_stage(merged["stages"].get(name, {}), change)
    return merged


def _merge_stage(below: Plain, above: Plain) -> Plain:
    """A budget in steps replaces one in epochs and the other way round; `lr_at` is replaced whole."""
    kept = {k: v for k, v in below.items() if not ({k} <= {"epochs", "steps"} and {"epochs", "steps"} & above.keys())}
    optimizers = dict(below.get("optimizers", {}))
    for name, settings in above.get("optimizers", {}).items():
        optimizers[name] = {**optimizers.get(name, {}), **settings}
    return {**kept, **above, "optimizers": optimizers}


def _plan(name: str, own: Plain, changes: Plain, scale: float) -> Plain:
    """One stage's plan. Milestones stay at the same fraction of the stage when its number of epochs changes."""
    new = _merge_stage(own, changes)
    if "epochs" in own and "epochs" not in changes and "steps" not in changes:
        new["epochs"] = max(1, round(own["epochs"] * scale))
    if "lr_at" in own and "lr_at" not in changes:
        ratio = _budget(new) / _budget(own)
        new["lr_at"] = {when * ratio: factor for when, factor in own["lr_at"].items()}
    plan, before = _validated(new), _validated(own)
    if plan != before:
        plan = plan.model_copy(update={"unscaled": before})
    return plan.model_dump(exclude_none=True, mode="json")


def _budget(plan: Plain) -> float:
    return float(plan.get("steps") or plan["epochs"])


def _validated(plan: Mapping[str, Any]) -> StagePlan:
    return StagePlan(**{**plan, "lr_at": sorted(plan.get("lr_at", {}).items())})


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
