"""The cost of a training: FLOPs counted on the `meta` device, which computes nothing, and seconds from a few steps.

FLOPs are those of matrix products and convolutions, forward and backward, two per multiply-add, as counted by
`torch.utils.flop_counter`. Element-wise work, such as the optimizers', counts no FLOPs, but is included in seconds.
Neither includes probes and what is done once per trial (extraction of codes, `start`, `fit`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from aegen_bench.baseline import Baseline, Stage
from aegen_bench.blocks.execution import tf32
from aegen_bench.numerics.pixels import as_float
from aegen_bench.study import catalog
from aegen_bench.training.graphs import WARM_UP, StepGraph
from aegen_bench.training.history import Meter
from aegen_bench.training.loop import Updating, now, take_step
from aegen_bench.training.optimizers import Optimizers, make_optimizers
from aegen_bench.training.schedule import StagePlan
from aegen_bench.trial import model as models

__all__ = ["META", "STEPS", "Kind", "StageCost", "count", "flops", "measure"]

META = torch.device("meta")
FEW = 4096  # training images for timing the hooks of an epoch: a full chunk, if a hook compares pairs
ENOUGH, STEPS = 0.25, (2, 20)  # seconds for which a step is timed; minimum and maximum number of steps


@dataclass(frozen=True)
class Kind:
    """A kind of training: everything that its cost depends on.

    `shape` is (C, S, S), `n` the number of training images, and `data` the data folder.
    """

    config: Mapping[str, Any]
    entry: catalog.Method
    shape: tuple[int, int, int]
    n: int
    data: Path

    @property
    def key(self) -> str:
        """Equal for trials with the same cost."""
        parts = (
            "code",
            "with",
            "d",
            "flow_width",
            "recon",
            "perceptual_net",
            "perceptual_precision",
            "precision",
            "stages",
        )
        return json.dumps([[self.config.get(part) for part in parts], self.shape, self.n], sort_keys=True)

    def plan(self, stage: Stage) -> StagePlan:
        """Return the plan of a stage."""
        return StagePlan(**self.config["stages"][stage.name])

    def model(self, device: torch.device, n: int | None = None) -> Baseline:
        """Return the untrained model on `device`, made for `n` training images."""
        plain = {**self.config, "compile": False}  # `meta` has no compiler, and compiling would take longer than timing
        build = partial(models.build, plain, self.entry, self.shape, n or self.n, 0, self.data)
        if device != META:
            return build().to(device)
        try:
            with META:
                return build()  # without initialising weights
        except NotImplementedError:  # its constructor reads values
            return build().to(META)


@dataclass
class StageCost:
    """The number of steps and epochs of a stage, and the cost of a step and of an epoch's hooks.

    Seconds are NaN until they are measured.
    """

    name: str
    batch: int
    steps: int
    epochs: float
    step_flops: int
    epoch_flops: int
    step_seconds: float = math.nan
    epoch_seconds: float = math.nan

    @property
    def images(self) -> int:
        """Training images that the stage sees."""
        return self.steps * self.batch

    @property
    def flops(self) -> float:
        """FLOPs of the stage."""
        return self.steps * self.step_flops + self.epochs * self.epoch_flops

    @property
    def seconds(self) -> float:
        """Seconds of the stage."""
        return self.steps * self.step_seconds + self.epochs * self.epoch_seconds

    @property
    def speed(self) -> float:
        """FLOP/s of a step."""
        return self.step_flops / self.step_seconds


def count(kind: Kind) -> list[StageCost]:
    """Return the stages of a training with their FLOPs, without computing anything."""
    model, costs = kind.model(META), []
    for number, stage in enumerate(model.stages()):
        plan = kind.plan(stage)
        batch, steps = min(plan.batch, kind.n), plan.total_steps(kind.n)
        step = flops(_step(model, stage, batch, _Gradients(model)))
        epoch = _of_hooks(kind, number) if stage.before_epoch or stage.after_epoch else 0
        costs.append(StageCost(stage.name, batch, steps, steps / (kind.n // batch), step, epoch))
    return costs


def _of_hooks(kind: Kind, stage: int) -> int:
    """FLOPs of an epoch's hooks. For many images, extrapolated quadratically, since hooks at most compare pairs."""
    if kind.n <= 3 * FEW:
        return _of_hooks_on(kind, stage, kind.n)
    one, two, three = (_of_hooks_on(kind, stage, times * FEW) for times in (1, 2, 3))
    more = kind.n / FEW - 1
    return round(one + more * (two - one) + more * (more - 1) / 2 * (three - 2 * two + one))


def _of_hooks_on(kind: Kind, stage: int, n: int) -> int:
    model = kind.model(META, n)
    return flops(_hooks(model, model.stages()[stage]))


def measure(kind: Kind, costs: list[StageCost], device: torch.device, *, graphs: bool = True) -> None:
    """Time a step and the hooks of an epoch for each stage on random images, and store the seconds in `costs`.

    On a GPU, steps are replayed as CUDA graphs if `graphs` allows it and the stage can be captured. Hooks process the
    whole training set; they are timed on `FEW` images and scaled by their FLOPs, or by images if they have none.
    """
    model, few = kind.model(device), min(FEW, kind.n)
    for number, (stage, cost) in enumerate(zip(model.stages(), costs, strict=True)):
        optimizers = make_optimizers(model, kind.plan(stage), full_size=kind.n, size=kind.n)
        step = _step(model, stage, cost.batch, optimizers, graphs=graphs)
        cost.step_seconds = _seconds(step, device, warm=1 + WARM_UP if device.type == "cuda" and graphs else 1)
        cost.epoch_seconds = 0.0
        if stage.before_epoch or stage.after_epoch:
            small, few_flops = kind.model(device, few), _of_hooks_on(kind, number, few)
            scale = cost.epoch_flops / few_flops if few_flops else kind.n / few
            cost.epoch_seconds = scale * _seconds(_hooks(small, small.stages()[number]), device)


def flops(work: Callable[[], None]) -> int:
    """Return the FLOPs of a call."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


class _Gradients:
    """Computes gradients only; used in place of optimizers, which do not work on `meta`."""

    def __init__(self, model: Baseline) -> None:
        self._parameters = {
            name: [p for group in groups for p in group["params"] if p.requires_grad]
            for name, groups in model.optimizers().items()
        }

    def update(self, name: str, loss: Tensor) -> None:
        loss.backward(inputs=self._parameters[name])  # type: ignore[no-untyped-call]


def _step(
    model: Baseline, stage: Stage, batch: int, optimizers: Updating, *, graphs: bool = False
) -> Callable[[], None]:
    """Return a function that runs one step of a stage on random images; with `graphs` as in training on a GPU."""
    rows, meter = _data(model, stage, batch), Meter()
    index = torch.arange(batch, device=rows.device)
    random = _random(rows.device)

    def one_by_one(rows: Tensor, index: Tensor) -> None:
        take_step(stage, rows, index, optimizers, meter)

    take: Callable[[Tensor, Tensor], None] = one_by_one
    if graphs and random is not None and rows.device.type == "cuda" and isinstance(optimizers, Optimizers):
        take = StepGraph(one_by_one, model, optimizers, meter, random, lambda why: None)

    def run() -> None:
        with model.train().using(random, meter.add), tf32(model.nets.precision == "tf32"):
            take(rows, index)

    return run


def _hooks(model: Baseline, stage: Stage) -> Callable[[], None]:
    """Return a function that runs the hooks of an epoch on a random training set."""
    hooks = [hook for hook in (stage.before_epoch, stage.after_epoch) if hook]
    data = _data(model, stage, model.nets.n_train)

    def run() -> None:
        with torch.no_grad(), model.train().using(_random(data.device)):
            for hook in hooks:
                hook(data)

    return run


def _data(model: Baseline, stage: Stage, n: int) -> Tensor:
    """Return n random rows of the stage's training data."""
    device = next(model.parameters()).device
    images = torch.randint(256, (n, *model.nets.shape), dtype=torch.uint8, device=device, generator=_random(device))
    if stage.data == "images":
        return images
    with torch.no_grad(), model.eval().using(_random(device)):
        return model.extract(as_float(images), torch.arange(n, device=device))


def _random(device: torch.device) -> torch.Generator | None:
    """Return a separate generator, which leaves the global ones alone; None on `meta`, which needs none."""
    return None if device == META else torch.Generator(device=device)


def _seconds(work: Callable[[], None], device: torch.device, *, warm: int = 1) -> float:
    """Return the seconds of a call after `warm` calls for warm-up."""
    for _ in range(warm):
        work()
    first = _elapsed(work, 1, device)
    times = min(max(int(ENOUGH / first), STEPS[0] - 1), STEPS[1])
    return (first + times * _elapsed(work, times, device)) / (1 + times)


def _elapsed(work: Callable[[], None], times: int, device: torch.device) -> float:
    """Return the mean seconds of `times` calls."""
    begin = now(device)
    for _ in range(times):
        work()
    return (now(device) - begin) / times
