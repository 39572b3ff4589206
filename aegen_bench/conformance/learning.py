"""Checks of initial weights and training: what is yielded, what is trained, and that the seed determines everything."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.conformance.subject import Subject, owned, train_a_little
from aegen_bench.errors import UserError

__all__ = ["foreign_randomness", "global_streams", "initial_weights", "training"]


def initial_weights(subject: Subject) -> Iterator[str]:
    """Check that the seed, and nothing else, determines the initial weights."""
    first, same, other = (subject.build(seed) for seed in (1, 1, 2))
    if name := _difference(first, same):
        yield f"__init__: two instances with the same seed differ in {name}: use torch's global generator only"
    if not _difference(first, other):
        yield "__init__: the weights do not depend on the seed"


def training(subject: Subject, model: Baseline) -> Iterator[str]:
    """Train the model while checking its losses and gradients, and train a second instance for comparison."""
    found, before, reached = list[str](), global_streams(), set[Tensor]()
    watched = [_watch(stage, model, found, reached) for stage in model.stages()]
    model.__dict__["stages"] = lambda: watched
    try:
        train_a_little(model)
    finally:  # if training fails, earlier findings may explain it
        yield from found
    del model.__dict__["stages"]
    yield from foreign_randomness("training", before)
    silent = [name for name, p in model.named_parameters() if p.requires_grad and p not in reached]
    if silent:
        yield f"no loss term of any stage has a gradient for {', '.join(silent[:5])}, which is never trained"
    twin = subject.build(seed=1)
    train_a_little(twin)
    if name := _difference(model, twin):
        yield f"two trainings with the same seed differ in {name}: use self.randn, self.rand or self.randint"


def _difference(a: Baseline, b: Baseline) -> str:
    """Return the first entry in which two state_dicts differ, or ""."""
    pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
    return next((name for (name, value), other in pairs if not torch.equal(value, other)), "")


def _watch(stage: Stage, model: Baseline, found: list[str], reached: set[Tensor]) -> Stage:
    """Return the same stage with a step that checks every update."""
    parameters = owned(model)

    def step(data: Tensor, index: Tensor) -> Updates:
        updates = stage.step(data, index)
        if not isinstance(updates, Iterator):
            raise UserError(f"stage '{stage.name}': step must yield (optimizer name, {{term: loss}}), not return")
        for update in updates:
            match update:
                case (str() as name, Mapping() as terms) if terms:
                    for term, loss in terms.items():
                        where = f"stage '{stage.name}': term '{term}' of optimizer '{name}'"
                        found.extend(_term(where, loss, parameters.get(name, []), reached))
                    yield name, terms
                case _:
                    wanted = "step must yield (optimizer name, {term: loss})"
                    raise UserError(f"stage '{stage.name}': {wanted}, not {update!r}")

    return replace(stage, step=step)


def _term(where: str, loss: Any, parameters: list[Tensor], reached: set[Tensor]) -> Iterator[str]:
    if not isinstance(loss, Tensor) or loss.ndim:
        raise UserError(f"{where} must be a tensor of shape (), not {tuple(getattr(loss, 'shape', ())) or loss!r}")
    if not torch.isfinite(loss):
        yield f"{where} is {float(loss.detach())}"
    gradients: tuple[Tensor | None, ...] = (None,) * len(parameters)
    if loss.requires_grad and parameters:
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    touched = {p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    if torch.isfinite(loss) and not all(torch.isfinite(g).all() for g in gradients if g is not None):
        yield f"{where} is finite, but its gradient is not"
    if not touched:
        yield f"{where} has no gradient for any parameter of that optimizer: use self.log for what is not a loss"
    reached |= touched


def global_streams() -> dict[str, Any]:
    """Return the states of the global random generators."""
    return {"torch": torch.get_rng_state().tolist(), "numpy": str(np.random.get_state()), "random": random.getstate()}


def foreign_randomness(what: str, before: dict[str, Any]) -> Iterator[str]:
    """Yield a finding for each global generator whose state has changed since `before`."""
    for name, state in global_streams().items():
        if state != before[name]:
            yield f"{what} uses the global generator of {name}: use self.randn, self.rand or self.randint"
