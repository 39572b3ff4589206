"""The only training loop: stages, optimizers, schedules, clock, probes, divergence.

The loop adds to the bare loop everybody writes: a running sum a term, on the device, read once an epoch. The training set stays on
the device as uint8 and is indexed there; nothing in an epoch waits for the device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline, Stage
from aegen_bench.errors import Diverged, UserError
from aegen_bench.optimizers import Optimizers, make_optimizers
from aegen_bench.progress import Progress
from aegen_bench.seeding import stream
from aegen_bench.schedule import StagePlan

__all__ = ["History", "Probe", "as_float", "collapsed", "extract", "train"]

EVALUATION_BATCH = 500


@dataclass
class History:
    """What training leaves behind: a row an epoch and a row a probe, totals by stage, and seconds by kind of work.

    `seconds` of a row is the training time so far, over all stages; probes are not in it. It is filled while training runs, so a
    trial that diverges or fails keeps the epochs it finished.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "extract": 0.0, "fit": 0.0})


@dataclass(frozen=True)
class Probe:
    """Every `every` epochs: `measure(model)` in eval mode, and an image stage's `step` in eval mode over `train` and `test`.

    `train` and `test` are uint8 NCHW on the device. The first yield of `step` is all that runs, without gradients.
    """

    every: int
    train: Tensor
    test: Tensor
    measure: Callable[[Baseline], dict[str, float]]


class Meter:
    """Running means of named scalars, in float64 on the device; reading them is the only synchronisation."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, name: str, value: Tensor, weight: float = 1.0) -> None:
        if name in self._sums:
            self._sums[name] += value if weight == 1.0 else value * weight
            self._weights[name] += weight
        else:
            self._sums[name] = value.to(torch.float64, copy=True) * weight
            self._weights[name] = weight

    def read(self) -> dict[str, float]:
        """Return the means and begin anew."""
        values = torch.stack([s.cpu() for s in self._sums.values()]).tolist() if self._sums else []
        means = {name: v / self._weights[name] for name, v in zip(self._sums, values, strict=True)}
        self._sums, self._weights = {}, {}
        return means


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

    `images` is the training set, uint8 NCHW on the model's device; `plans` has one plan a stage name. `full_size` is the number of
    training images of the whole dataset when `images` is a subset (for the learning rate of learned scalars). What the method
    logs outside `step` goes to `fact`. Raises `Diverged` within the epoch's end in which a number stopped being finite.
    """
    show = progress or Progress()
    for number, stage in enumerate(model.stages()):
        if stage.name not in plans:
            raise UserError(f"stage '{stage.name}' of {type(model).__name__} has no budget (plans: {', '.join(plans)})")
        data = images
        if stage.data == "codes":
            data = _timed(history, "extract", images.device, lambda n=number: extract(model, images, seed=seed, stage=n))  # type: ignore[misc]
        run = _StageRun(model, stage, number, data, plans[stage.name], seed, full_size or len(images), history, show, fact)
        run.run(probe)
    if model.has("fit"):
        codes = _timed(history, "extract", images.device, lambda: extract(model, images, seed=seed, stage=-1))
        with torch.no_grad(), model.eval().using(stream(seed, "fit", device=images.device), fact):
            _timed(history, "fit", images.device, lambda: model.fit(codes))
        _require_finite(model, "fit")
    model.eval()


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
    fact: Callable[[str, Tensor], None] | None

    def run(self, probe: Probe | None) -> None:
        model, stage, plan = self.model, self.stage, self.plan
        batch = min(plan.batch, len(self.data))
        per_epoch = len(self.data) // batch  # the incomplete batch is dropped, as in the paper's setting
        steps = plan.total_steps(len(self.data))
        epochs = math.ceil(steps / per_epoch)
        self.show.stage(stage.name, epochs, steps, batch)
        totals = {"epochs": 0, "steps": 0, "images": 0, "seconds": 0.0, "seconds_per_epoch": 0.0}
        self.history.stages[stage.name] = totals
        meter, first = Meter(), 0.0
        model.train()
        self._hook(stage.start, "start", 0, self.fact)
        optimizers = make_optimizers(model, plan, full_size=self.full_size, size=len(self.data))
        for epoch in range(epochs):
            if stage.fresh_optimizers and epoch:
                optimizers = make_optimizers(model, plan, full_size=self.full_size, size=len(self.data))
            wanted = min(per_epoch, steps - epoch * per_epoch)
            begin = _now(self.data.device)
            self._epoch(epoch, epoch * per_epoch, wanted, steps, batch, optimizers, meter)
            seconds = _now(self.data.device) - begin
            first = first if epoch else seconds
            totals["epochs"] += 1
            totals["steps"] += wanted
            totals["images"] += wanted * batch
            totals["seconds"] += seconds
            # The first epoch warms caches and allocators: it is left out of the per-epoch figure wherever there are others.
            totals["seconds_per_epoch"] = (totals["seconds"] - first) / epoch if epoch else seconds
            self.history.seconds["train"] += seconds
            row = {"stage": stage.name, "epoch": epoch + 1, "images": totals["images"]}
            row |= {"seconds": self.history.seconds["train"]} | _split(meter.read())
            self.history.epochs.append(row)
            loss = math.fsum(v for terms in row["terms"].values() for v in terms.values())
            self.show.epoch(epoch + 1, loss)
            if not math.isfinite(loss):
                raise Diverged(f"the loss is not finite in epoch {epoch + 1} of stage '{stage.name}'")
            _require_finite(model, f"epoch {epoch + 1} of stage '{stage.name}'")
            if probe and ((epoch + 1) % probe.every == 0 or epoch + 1 == epochs):
                self._probe(probe, epoch, row)

    def _epoch(
        self, epoch: int, done: int, wanted: int, steps: int, batch: int, optimizers: Optimizers, meter: Meter
    ) -> None:
        model, stage, data = self.model, self.stage, self.data
        device = data.device
        order = torch.randperm(len(data), generator=stream(self.seed, "order", self.number, epoch, device), device=device)
        self._hook(stage.before_epoch, "before", epoch, None)
        with model.using(stream(self.seed, "train", self.number, epoch, device), meter.add):
            for index in order[: wanted * batch].split(batch):
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
        self._hook(stage.after_epoch, "after", epoch, None)

    def _hook(
        self, hook: Callable[[Tensor], None] | None, purpose: str, epoch: int, sink: Callable[[str, Tensor], None] | None
    ) -> None:
        if hook is not None:
            random = stream(self.seed, purpose, self.number, epoch, self.data.device)
            with torch.no_grad(), self.model.using(random, sink):
                hook(self.data)

    def _probe(self, probe: Probe, epoch: int, row: dict[str, Any]) -> None:
        entry = {key: row[key] for key in ("stage", "epoch", "images", "seconds")}
        self.model.eval()
        with torch.no_grad():
            if self.stage.data == "images":
                for name, images in (("probe_train", probe.train), ("probe_test", probe.test)):
                    entry[name] = self._losses(images, epoch)
            entry["metrics"] = probe.measure(self.model)
        self.model.train()
        self.history.probes.append(entry)

    def _losses(self, images: Tensor, epoch: int) -> dict[str, Any]:
        """The first update's terms and logs, averaged over `images`."""
        meter = Meter()
        random = stream(self.seed, "probe", self.number, epoch, images.device)
        positions = torch.arange(len(images), device=images.device)
        for index in positions.split(EVALUATION_BATCH):
            share = len(index) / len(images)
            with self.model.using(random, lambda name, value, w=share: meter.add(name, value, w)):  # type: ignore[misc]
                updates = self.stage.step(as_float(images[index]), index)
                name, terms = next(updates)
                updates.close()  # type: ignore[attr-defined]
            for term, value in terms.items():
                meter.add(f"{name}/{term}", value.detach(), share)
        return _split(meter.read())


def extract(model: Baseline, images: Tensor, *, seed: int, stage: int) -> Tensor:
    """Return `model.extract` over all images (uint8 NCHW), in eval mode and without gradients; rows in the images' order."""
    model.eval()
    with torch.no_grad(), model.using(stream(seed, "extract", stage, device=images.device)):
        positions = torch.arange(len(images), device=images.device)
        parts = [model.extract(as_float(images[i]), i) for i in positions.split(EVALUATION_BATCH)]
    return torch.cat(parts)


def as_float(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [0, 1]; the only preprocessing."""
    return images.float().div_(255)


def collapsed(history: History, images: Tensor) -> bool:
    """Whether the last image epoch's mean 0.5 SSE is no better than predicting the mean image of `images` (uint8 NCHW) gives."""
    last = next((row["logs"]["half_sse"] for row in reversed(history.epochs) if "half_sse" in row["logs"]), None)
    if last is None:
        return False
    flat = images.flatten(1)
    mean = sum(part.double().sum(0) for part in flat.split(4096)) / len(flat)
    squares = sum(float((part.double() - mean).square().sum()) for part in flat.split(4096))
    return last >= 0.5 * squares / 255**2 / len(flat)


def _split(means: dict[str, float]) -> dict[str, Any]:
    """Sort means into loss terms by optimizer (`model/nll`) and logged quantities (`half_sse`)."""
    terms: dict[str, dict[str, float]] = {}
    logs: dict[str, float] = {}
    for name, value in means.items():
        optimizer, slash, term = name.partition("/")
        if slash:
            terms.setdefault(optimizer, {})[term] = value
        else:
            logs[name] = value
    return {"terms": terms, "logs": logs}


def _require_finite(model: nn.Module, where: str) -> None:
    values = [v for v in model.state_dict().values() if v.is_floating_point()]
    if values and not torch.stack([torch.isfinite(v).all() for v in values]).all():
        raise Diverged(f"a parameter or buffer is not finite after {where}")


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _timed(history: History, kind: str, device: torch.device, work: Callable[[], Any]) -> Any:
    begin = _now(device)
    result = work()
    history.seconds[kind] += _now(device) - begin
    return result
