"""How layers of settings become one configuration: merging, scaling of budgets, and describing changes.

Works on plain data only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aegen_bench.training.schedule import StagePlan

__all__ = ["resolve"]

Plain = dict[str, Any]


def resolve(own: Sequence[Plain], profile: Sequence[Plain], stages: Sequence[str], scale: float) -> Plain:
    """Merge the row's own layers, scale its budgets in epochs, and apply the profile's layers.

    Returns the settings with one plan per stage, and `overrides`, which describe what the profile changed.
    """
    base, changes = _merge(own, stages), _merge(profile, stages)
    full = _merge([*own, *profile], stages)
    if full.get("recon") != "perceptual":  # then the network is irrelevant: leave it out of the key and the overrides
        full.pop("perceptual_net", None)
        changes.pop("perceptual_net", None)
    _resolve_perceptual_precision(full, changes)
    if not full.get("compile"):  # `compile: false` is left out, so that it does not change keys
        full.pop("compile", None)
    full["stages"] = {name: _plan(base["stages"][name], changes["stages"][name], scale) for name in stages}
    if "every" in full.get("probe", {}) and "every" not in changes.get("probe", {}):
        full["probe"]["every"] = _scaled(full["probe"]["every"], scale)
    return {**full, "overrides": _overrides(changes, scale)}


def _resolve_perceptual_precision(full: Plain, changes: Plain) -> None:
    """The perceptual network has the row's precision by default. If both are fp32 it is left out of the key."""
    precision = full.get("precision", "fp32")
    own = full.pop("perceptual_precision", precision)
    if full.get("recon") != "perceptual":
        changes.pop("perceptual_precision", None)
    elif (precision, own) != ("fp32", "fp32"):
        full["perceptual_precision"] = own


def _overrides(changes: Plain, scale: float) -> list[str]:
    probe = {f"probe {name}": value for name, value in changes.get("probe", {}).items()}
    plain = {k: v for k, v in changes.items() if k not in ("stages", "with", "probe")} | probe | changes["with"]
    said = [f"{name} {_short(value)}" for name, value in plain.items()]
    said += [f"epochs x {scale:g}"] if scale != 1.0 else []
    for plan in changes["stages"].values():
        said += [f"{name} {_short(value)}" for name, value in plan.items() if value != {}]
    return list(dict.fromkeys(said))


def _merge(layers: Sequence[Plain], stages: Sequence[str]) -> Plain:
    merged: Plain = {"with": {}, "stages": {name: {} for name in stages}}
    for layer in layers:
        merged |= {k: v for k, v in layer.items() if k not in ("with", "stages", "probe")}
        merged["with"] |= layer.get("with", {})
        if "probe" in layer:
            merged["probe"] = {**merged.get("probe", {}), **layer["probe"]}
        declared = layer.get("stages", {})
        for name in stages:
            for change in (declared.get("*", {}), declared.get(name, {})):
                merged["stages"][name] = _merge_stage(merged["stages"][name], change)
    return merged


def _merge_stage(below: Plain, above: Plain) -> Plain:
    """Merge two plans. A budget in steps replaces one in epochs and vice versa, and milestones move proportionally;
    `lr_at` is replaced as a whole.
    """
    units = {"epochs", "steps"}
    old, new = units & below.keys(), units & above.keys()
    kept = {k: v for k, v in below.items() if k not in units or not new}
    if old and new and old != new:
        ratio = _budget(above) / _budget(below)
        kept["lr_at"] = {when * ratio: factor for when, factor in below.get("lr_at", {}).items()}
    optimizers = dict(below.get("optimizers", {}))
    for name, settings in above.get("optimizers", {}).items():
        optimizers[name] = {**optimizers.get(name, {}), **settings}
    return {**kept, **above, "optimizers": optimizers}


def _plan(own: Plain, changes: Plain, scale: float) -> Plain:
    """Return one stage's plan. Milestones stay at the same fraction of the stage if its number of epochs changes."""
    new = _merge_stage(own, changes)
    if "epochs" in own and "epochs" not in changes and "steps" not in changes:
        new["epochs"] = _scaled(own["epochs"], scale)
    if "lr_at" in own and "lr_at" not in changes:
        ratio = _budget(new) / _budget(own)
        new["lr_at"] = {when * ratio: factor for when, factor in own["lr_at"].items()}
    plan, before = _validated(new), _validated(own)
    if plan != before:
        plan = plan.model_copy(update={"unscaled": before})
    return plan.model_dump(exclude_none=True, mode="json")


def _scaled(epochs: int, scale: float) -> int:
    return max(1, round(epochs * scale))


def _budget(plan: Plain) -> float:
    return float(plan.get("steps") or plan["epochs"])


def _validated(plan: Mapping[str, Any]) -> StagePlan:
    return StagePlan(**{**plan, "lr_at": sorted(plan.get("lr_at", {}).items())})


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
