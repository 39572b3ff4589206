"""The training loop: stages, optimizers, schedules, timing, checkpoints, probes, divergence.

Compared with a bare loop it only adds a running sum per loss term, which stays on the device and is read once per
epoch. The training set stays on the device as uint8 and is indexed there, or is streamed to it if it is too large.
Nothing within an epoch synchronises with the device.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline, Stage
from aegen_bench.blocks.execution import tf32
from aegen_bench.errors import Diverged, UserError
from aegen_bench.numerics.pixels import as_float, at_once
from aegen_bench.progress import Progress
from aegen_bench.seeding import restart, stream
from aegen_bench.training.batches import batches, require_resident
from aegen_bench.training.checkpoint import Checkpoints, model_state, restore_model
from aegen_bench.training.graphs import StepGraph
from aegen_bench.training.history import History, Meter
from aegen_bench.training.optimizers import make_optimizers
from aegen_bench.training.probe import Probe
from aegen_bench.training.schedule import StagePlan

__all__ = ["Updating", "extract", "now", "take_step", "train"]


class Updating(Protocol):
    """The interface of `Optimizers` that a step needs."""

    def update(self, name: str, loss: Tensor) -> None:
        """Update the parameters of the optimizer `name` with the gradient of a scalar loss."""


def train(
    model: Baseline,
    images: Tensor,
    plans: dict[str, StagePlan],
    *,
    seed: int,
    history: History,
    full_size: int | None = None,
    probe: Probe | None = None,
    progress: Progress | None = None,
    fact: Callable[[str, Tensor], None] | None = None,
    checkpoints: Checkpoints | None = None,
    resume: dict[str, Any] | None = None,
    graphs: bool = True,
    codes: Tensor | None = None,
) -> None:
    """Train `model` in place through all of its stages, then fit its density if it has one.

    Args:
        model: On the device that trains it.
        images: The training set, uint8 NCHW, on the model's device, or on the host to be streamed.
        plans: One plan for each stage, by name.
        seed: The trial's seed.
        history: Filled during training. With `resume` it becomes what it was at that point.
        full_size: Number of training images of the whole dataset if `images` is a subset; affects the learning rate of
            learned scalars.
        probe: Measures the model during training.
        progress: Shows the progress.
        fact: Receives what the method logs outside `step`.
        checkpoints: Where and when to save.
        resume: A state read by `checkpoints`, from which training continues with the same numbers.
        graphs: Whether steps on a CUDA device may be replayed as CUDA graphs, which changes no number.
        codes: `model.extract` of all images, on the model's device, if it is known and stays the same in training.

    Raises:
        Diverged: A number stopped being finite: in an epoch, which is noticed at its end, in `fit`, or in a probe's
            sample.
        TimedOut: The time limit of `checkpoints.interrupts` was reached.
        Stopped: A signal arrived.
    """
    show, keep = progress or Progress(), checkpoints or Checkpoints()
    device = next(model.parameters()).device
    require_resident(model.stages(), images, device)
    if resume:
        vars(history).update(resume["history"])
    keep.interrupts.start(math.fsum(history.seconds.values()) + (resume["elapsed"] if resume else 0.0))
    with model.using(None, fact):
        for number, stage in enumerate(model.stages()):
            if resume and number < resume["stage"]:
                continue
            if stage.name not in plans:
                have = ", ".join(plans)
                raise UserError(f"stage '{stage.name}' of {type(model).__name__} has no budget (plans: {have})")
            saved, resume = resume, None
            if stage.data == "images":
                data = images
            elif saved:
                data = saved["codes"].to(device)
            else:
                data = _extracted(model, images, seed, number, history) if codes is None else codes
            plan, full = plans[stage.name], full_size or len(images)
            with keep.interrupts.at_steps():
                run = _StageRun(model, stage, number, data, device, plan, seed, full, history, show, keep, graphs)
                run.run(probe, saved)
        if model.has("fit"):
            _fit(model, _extracted(model, images, seed, -1, history) if codes is None else codes, seed, history)
    model.eval()


def _fit(model: Baseline, codes: Tensor, seed: int, history: History) -> None:
    begin = now(codes.device)
    with torch.no_grad(), model.eval().using(stream(seed, "fit", device=codes.device)):
        model.fit(codes)
    history.seconds["fit"] += now(codes.device) - begin
    _require_finite(model, "fit")


@dataclass
class _StageRun:
    """The state that the epochs of one stage share."""

    model: Baseline
    stage: Stage
    number: int
    data: Tensor
    device: torch.device
    plan: StagePlan
    seed: int
    full_size: int
    history: History
    show: Progress
    keep: Checkpoints
    graphs: bool
    meter: Meter = field(default_factory=Meter)

    def run(self, probe: Probe | None, saved: dict[str, Any] | None) -> None:
        """Train the stage from its start, or from a saved state."""
        batch = min(self.plan.batch, len(self.data))
        per_epoch = len(self.data) // batch  # the incomplete batch is dropped, as in the paper's setting
        steps = self.plan.total_steps(len(self.data))
        epochs = math.ceil(steps / per_epoch)
        first, done = (saved["epoch"], saved["epoch"] * per_epoch + saved["step"]) if saved else (0, 0)
        self.show.stage(self.stage.name, epochs, steps - done, batch)
        self.model.train()
        if not saved:
            begin = now(self.device)
            self._hook(self.stage.start, "start", 0)
            self.history.seconds["train"] += now(self.device) - begin
        else:
            restore_model(self.model, saved["model"])  # before the optimizers, which take the trained parameters
        self.optimizers = make_optimizers(self.model, self.plan, full_size=self.full_size, size=len(self.data))
        self.random = torch.Generator(device=self.device)
        self.graph = self._graph()
        if (lr := self.optimizers.scalar_lr) is not None:
            self.history.facts[f"{self.stage.name}_scalar_lr"] = lr
        if saved:
            self.optimizers.restore(saved["optimizers"])
            self.meter.restore(saved["meter"], self.device)
        for epoch in range(first, epochs):
            here, saved = (saved if saved and saved["step"] else None), None  # saved within this epoch
            if self.stage.fresh_optimizers and epoch and not here:
                self.optimizers.reset()
            wanted = min(per_epoch, steps - epoch * per_epoch)
            self._begin = now(self.device) - (here["elapsed"] if here else 0.0)
            self._epoch(epoch, epoch * per_epoch, wanted, steps, batch, here)
            seconds = now(self.device) - self._begin
            row = self.history.add(self.stage.name, wanted, wanted * batch, seconds, self.meter.read())
            loss = math.fsum(v for terms in row["terms"].values() for v in terms.values())
            self.show.epoch(epoch + 1, loss)
            where = f"epoch {epoch + 1} of stage '{self.stage.name}'"
            if not math.isfinite(loss):
                raise Diverged(f"the loss is not finite in {where}")
            _require_finite(self.model, where)
            if probe and ((epoch + 1) % probe.every == 0 or epoch + 1 == epochs):
                seen = {key: row[key] for key in ("stage", "epoch", "images", "seconds")}
                random = partial(stream, self.seed, "probe", self.number, epoch, self.device)
                self.history.probes.append(seen | probe.take(self.model, self.stage, random, self._complete))
            if self.keep.interrupts.due(epoch_over=True):
                self._save(epoch + 1, 0)

    def _complete(self) -> Baseline:
        """Return the model, or, if its density is fitted after training, a copy with a density fitted to the current
        codes.
        """
        if not self.model.has("fit"):
            return self.model
        with self.model.using(None):  # generators cannot be copied
            twin = copy.deepcopy(self.model).eval()
        codes = self.data if self.stage.data == "codes" else extract(twin, self.data, seed=self.seed, stage=-1)
        with torch.no_grad(), twin.using(stream(self.seed, "fit", device=codes.device), lambda name, value: None):
            twin.fit(codes)
        return twin

    def _graph(self) -> StepGraph | None:
        """Return what replays this stage's steps on a CUDA device. Compiled networks use CUDA graphs by themselves."""
        if self.device.type != "cuda" or not self.graphs or self.model.nets.compile:
            return None
        return StepGraph(
            self._take_step,
            self.model,
            self.optimizers,
            self.meter,
            self.random,
            lambda why: self.show.note(f"stage '{self.stage.name}': {why}"),
        )

    def _take_step(self, rows: Tensor, index: Tensor) -> None:
        take_step(self.stage, rows, index, self.optimizers, self.meter)

    def _epoch(self, epoch: int, before: int, wanted: int, steps: int, batch: int, here: dict[str, Any] | None) -> None:
        """Run the epoch's steps up to `wanted`, from the first or a saved one; `before` counts those of past epochs."""
        model, stage = self.model, self.stage
        order = stream(self.seed, "order", self.number, epoch, self.device)
        index_of = torch.randperm(len(self.data), generator=order, device=self.device)
        restart(self.random, self.seed, "train", self.number, epoch, here["random"] if here else None)
        if not here:
            self._hook(stage.before_epoch, "before", epoch)
        if self.graph:
            self.graph.begin_epoch()
        take = self.graph or self._take_step
        step, due = here["step"] if here else 0, self.keep.interrupts.due
        with model.using(self.random, self.meter.add), tf32(model.nets.precision == "tf32"):
            for rows, index in batches(self.data, index_of[step * batch : wanted * batch], batch):
                if model.nets.compile:  # tensors returned by CUDA graphs are valid until the next step
                    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
                model.progress = (before + step) / steps
                self.optimizers.schedule(before + step)
                take(rows, index)
                step += 1
                self.show.step()
                if due() and step < wanted:
                    self._save(epoch, step)
        self._hook(stage.after_epoch, "after", epoch)

    def _save(self, epoch: int, step: int) -> None:
        """Save the state after `step` steps of `epoch`, both counted from 0. The time this takes is not counted."""
        elapsed = now(self.device) - self._begin if step else 0.0
        state = {
            "stage": self.number,
            "epoch": epoch,
            "step": step,
            "elapsed": elapsed,
            "random": self.random.get_state() if step else None,
            "codes": self.data if self.stage.data == "codes" else None,
            "model": model_state(self.model),
            "optimizers": self.optimizers.state(),
            "meter": self.meter.state(),
            "history": vars(self.history),
        }
        spent = math.fsum(self.history.seconds.values()) + elapsed
        self.keep.save(state, spent=spent, where=f"stage '{self.stage.name}' after {epoch} epochs and {step} steps")
        self._begin = now(self.device) - elapsed

    def _hook(self, hook: Callable[[Tensor], None] | None, purpose: str, epoch: int) -> None:
        """Call a hook of the stage. What it logs becomes a fact of the trial."""
        if hook is not None:
            random = stream(self.seed, purpose, self.number, epoch, self.device)
            with torch.no_grad(), self.model.using(random):
                hook(self.data)


def take_step(stage: Stage, rows: Tensor, index: Tensor, optimizers: Updating, meter: Meter) -> None:
    """Run all updates of one batch: `rows` of the stage's data, at the positions `index` of the training set."""
    x = as_float(rows) if stage.data == "images" else rows
    for name, terms in stage.step(x, index):
        optimizers.update(name, sum(terms.values()))  # type: ignore[arg-type]
        for term, value in terms.items():
            meter.add(f"{name}/{term}", value.detach())


def extract(model: Baseline, images: Tensor, *, seed: int, stage: int) -> Tensor:
    """Return `model.extract` for all images (uint8 NCHW), in their order, in eval mode and without gradients."""
    device = next(model.parameters()).device
    in_order = torch.arange(len(images), device=device)
    with torch.no_grad(), model.eval().using(stream(seed, "extract", stage, device=device)):
        parts = [model.extract(as_float(x), i) for x, i in batches(images, in_order, at_once(images.shape[1:]))]
    return torch.cat(parts)


def _require_finite(model: nn.Module, where: str) -> None:
    values = [v for v in model.state_dict().values() if v.is_floating_point()]
    if values and not torch.stack([torch.isfinite(v).all() for v in values]).all():
        raise Diverged(f"a parameter or buffer is not finite after {where}")


def now(device: torch.device) -> float:
    """Return the time in seconds, after waiting for the device to finish its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _extracted(model: Baseline, images: Tensor, seed: int, stage: int, history: History) -> Tensor:
    device = next(model.parameters()).device
    begin = now(device)
    codes = extract(model, images, seed=seed, stage=stage)
    history.seconds["extract"] += now(device) - begin
    return codes
