"""Initial weights and training: what is yielded, what is trained, and that a seed decides all of it."""

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
    first, same, other = (subject.build(seed) for seed in (1, 1, 2))
    if name := _difference(first, same):
        yield f"__init__: two instances of one seed differ in {name}: draw from torch's global stream only"
    if not _difference(first, other):
        yield "__init__: the weights do not depend on the seed"


def training(subject: Subject, model: Baseline) -> Iterator[str]:
    """Train it, watched, and a second instance for comparison."""
    found, before, reached = list[str](), global_streams(), set[Tensor]()
    watched = [_watch(stage, model, found, reached) for stage in model.stages()]
    model.__dict__["stages"] = lambda: watched
    try:
        train_a_little(model)
    finally:  # a training that fails is explained by what was seen before
        yield from found
    del model.__dict__["stages"]
    yield from foreign_randomness("training", before)
    silent = [name for name, p in model.named_parameters() if p.requires_grad and p not in reached]
    if silent:
        yield f"no loss term of any stage has a gradient for {', '.join(silent[:5])}: nothing trains it"
    twin = subject.build(seed=1)
    train_a_little(twin)
    if name := _difference(model, twin):
        yield f"two trainings of one seed differ in {name}: draw from self.randn, self.rand or self.randint"


def _difference(a: Baseline, b: Baseline) -> str:
    """The first entry in which two state_dicts differ, or nothing."""
    pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
    return next((name for (name, value), other in pairs if not torch.equal(value, other)), "")


def _watch(stage: Stage, model: Baseline, found: list[str], reached: set[Tensor]) -> Stage:
    """The same stage, whose every update is looked at on its way to the harness."""
    parameters = owned(model)

    def step(data: Tensor, index: Tensor) -> Updates:
        updates = stage.step(data, index)
        if not isinstance(updates, Iterator):
            raise UserError(f"stage '{stage.name}': step returns where it must yield (optimizer name, {{term: loss}})")
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
        raise UserError(f"{where} must be a tensor of shape (), it is {tuple(getattr(loss, 'shape', ())) or loss!r}")
    if not torch.isfinite(loss):
        yield f"{where} is {float(loss.detach())}"
    gradients: tuple[Tensor | None, ...] = (None,) * len(parameters)
    if loss.requires_grad and parameters:
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    touched = {p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    if torch.isfinite(loss) and not all(torch.isfinite(g).all() for g in gradients if g is not None):
        yield f"{where} is a number, but its gradient is not"
    if not touched:
        yield f"{where} has no gradient for any parameter of that optimizer: what is no loss goes to self.log"
    reached |= touched


def global_streams() -> dict[str, Any]:
    return {"torch": torch.get_rng_state().tolist(), "numpy": str(np.random.get_state()), "random": random.getstate()}


def foreign_randomness(what: str, before: dict[str, Any]) -> Iterator[str]:
    for name, state in global_streams().items():
        if state != before[name]:
            yield f"{what} draws from the global stream of {name}: use self.randn, self.rand or self.randint"
