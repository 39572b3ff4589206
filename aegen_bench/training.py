"""The only training loop: stages, optimizers, schedules, clock, probes, divergence.

The loop adds to the bare loop everybody writes: a running sum a term, on the device, read once an epoch. The training
set stays on the device as uint8 and is indexed there; nothing in an epoch waits for the device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline, Stage
from aegen_bench.errors import Diverged, UserError
from aegen_bench.history import History, Meter
from aegen_bench.numerics.chunks import rows
from aegen_bench.optimizers import Optimizers, make_optimizers
from aegen_bench.progress import Progress
from aegen_bench.schedule import StagePlan
from aegen_bench.seeding import stream

__all__ = ["Probe", "as_float", "extract", "train"]

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Probe:
    """Every `every` epochs: `measure(model)` in eval mode, and an image stage's `step` in eval mode over `train` and
    `test`.

    `train` and `test` are uint8 NCHW on the device. The first yield of `step` is all that runs, without gradients.
    """

    every: int
    train: Tensor
    test: Tensor
    measure: Callable[[Baseline], dict[str, float]]


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
) -> None:
    """Train `model` in place through all of its stages, then fit its density if it has one.

    `images` is the training set, uint8 NCHW on the model's device; `plans` has one plan a stage name. `full_size` is
    the number of training images of the whole dataset when `images` is a subset (for the learning rate of learned
    scalars). What the method logs outside `step` goes to `fact`. Raises `Diverged` within the epoch's end in which a
    number stopped being finite.
    """
    show = progress or Progress()
    with model.using(None, fact):
        for number, stage in enumerate(model.stages()):
            if stage.name not in plans:
                have = ", ".join(plans)
                raise UserError(f"stage '{stage.name}' of {type(model).__name__} has no budget (plans: {have})")
            data = images if stage.data == "images" else _extracted(model, images, seed, number, history)
            plan, full = plans[stage.name], full_size or len(images)
            _StageRun(model, stage, number, data, plan, seed, full, history, show).run(probe)
        if model.has("fit"):
            _fit(model, images, seed, history)
    model.eval()


def _fit(model: Baseline, images: Tensor, seed: int, history: History) -> None:
    codes = _extracted(model, images, seed, -1, history)
    begin = _now(images.device)
    with torch.no_grad(), model.eval().using(stream(seed, "fit", device=images.device)):
        model.fit(codes)
    history.seconds["fit"] += _now(images.device) - begin
    _require_finite(model, "fit")


@dataclass
class _StageRun:
    """One stage of one training: what its epochs share."""

    model: Baseline
    stage: Stage
    number: int
    data: Tensor
    plan: StagePlan
    seed: int
    full_size: int
    history: History
    show: Progress

    def run(self, probe: Probe | None) -> None:
        batch = min(self.plan.batch, len(self.data))
        per_epoch = len(self.data) // batch  # the incomplete batch is dropped, as in the paper's setting
        steps = self.plan.total_steps(len(self.data))
        epochs = math.ceil(steps / per_epoch)
        self.show.stage(self.stage.name, epochs, steps, batch)
        self.model.train()
        begin = _now(self.data.device)
        self._hook(self.stage.start, "start", 0)
        self.history.seconds["train"] += _now(self.data.device) - begin
        optimizers, meter = self._optimizers(), Meter()
        for epoch in range(epochs):
            if self.stage.fresh_optimizers and epoch:
                optimizers = self._optimizers()
            wanted = min(per_epoch, steps - epoch * per_epoch)
            begin = _now(self.data.device)
            self._epoch(epoch, epoch * per_epoch, wanted, steps, batch, optimizers, meter)
            seconds = _now(self.data.device) - begin
            row = self.history.add(self.stage.name, wanted, wanted * batch, seconds, meter.read())
            loss = math.fsum(v for terms in row["terms"].values() for v in terms.values())
            self.show.epoch(epoch + 1, loss)
            where = f"epoch {epoch + 1} of stage '{self.stage.name}'"
            if not math.isfinite(loss):
                raise Diverged(f"the loss is not finite in {where}")
            _require_finite(self.model, where)
            if probe and ((epoch + 1) % probe.every == 0 or epoch + 1 == epochs):
                self._probe(probe, epoch, row)

    def _optimizers(self) -> Optimizers:
        return make_optimizers(self.model, self.plan, full_size=self.full_size, size=len(self.data))

    def _epoch(
        self, epoch: int, done: int, wanted: int, steps: int, batch: int, optimizers: Optimizers, meter: Meter
    ) -> None:
        model, stage, data = self.model, self.stage, self.data
        device = data.device
        random = stream(self.seed, "order", self.number, epoch, device)
        order = torch.randperm(len(data), generator=random, device=device)
        self._hook(stage.before_epoch, "before", epoch)
        with model.using(stream(self.seed, "train", self.number, epoch, device), meter.add):
            for index in torch.split(order[: wanted * batch], batch):
                model.progress = done / steps
                optimizers.schedule(done)
                x = data[index]
                if stage.data == "images":
                    x = as_float(x)
                for name, terms in stage.step(x, index):
                    optimizers.update(name, sum(terms.values()))  # type: ignore[arg-type]
                    for term, value in terms.items():
                        meter.add(f"{name}/{term}", value.detach())
                done += 1
                self.show.step()
        self._hook(stage.after_epoch, "after", epoch)

    def _hook(self, hook: Callable[[Tensor], None] | None, purpose: str, epoch: int) -> None:
        """Call a hook of the stage; what it logs is a fact of the trial."""
        if hook is not None:
            random = stream(self.seed, purpose, self.number, epoch, self.data.device)
            with torch.no_grad(), self.model.using(random):
                hook(self.data)

    def _probe(self, probe: Probe, epoch: int, row: dict[str, Any]) -> None:
        entry = {key: row[key] for key in ("stage", "epoch", "images", "seconds")}
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        with torch.no_grad():
            if self.stage.data == "images":
                entry["probe_train"] = self._losses(probe.train, epoch)
                if self.model.has("encode"):  # without an encoder, codes belong to training images alone
                    entry["probe_test"] = self._losses(probe.test, epoch)
            # A density that is fitted after training cannot be sampled yet.
            entry["metrics"] = {} if self.model.has("fit") else probe.measure(self.model)
        for module, training in modes:  # a part that the method put in eval mode stays there
            module.training = training
        self.history.probes.append(entry)

    def _losses(self, images: Tensor, epoch: int) -> dict[str, Any]:
        """The first update's terms and logs, averaged over `images`."""
        meter = Meter()
        random = stream(self.seed, "probe", self.number, epoch, images.device)
        positions = torch.arange(len(images), device=images.device)
        for index in torch.split(positions, _at_once(images)):
            share = len(index) / len(images)
            with self.model.using(random, lambda name, value, w=share: meter.add(name, value, w)):  # type: ignore[misc]
                updates = self.stage.step(as_float(images[index]), index)
                name, terms = next(updates)
                updates.close()  # type: ignore[attr-defined]
            for term, value in terms.items():
                meter.add(f"{name}/{term}", value.detach(), share)
        return meter.read()


def extract(model: Baseline, images: Tensor, *, seed: int, stage: int) -> Tensor:
    """`model.extract` over all images (uint8 NCHW), in their order, in eval mode and without gradients."""
    model.eval()
    with torch.no_grad(), model.using(stream(seed, "extract", stage, device=images.device)):
        positions = torch.arange(len(images), device=images.device)
        parts = [model.extract(as_float(images[i]), i) for i in torch.split(positions, _at_once(images))]
    return torch.cat(parts)


def _at_once(images: Tensor) -> int:
    return rows(EVALUATION_BATCH, math.prod(images.shape[1:]))


def as_float(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [0, 1]; the only preprocessing."""
    return images.float().div_(255)


def _require_finite(model: nn.Module, where: str) -> None:
    values = [v for v in model.state_dict().values() if v.is_floating_point()]
    if values and not torch.stack([torch.isfinite(v).all() for v in values]).all():
        raise Diverged(f"a parameter or buffer is not finite after {where}")


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _extracted(model: Baseline, images: Tensor, seed: int, stage: int, history: History) -> Tensor:
    begin = _now(images.device)
    codes = extract(model, images, seed=seed, stage=stage)
    history.seconds["extract"] += _now(images.device) - begin
    return codes
