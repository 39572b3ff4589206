"""The method under check, and the tiny networks and images that keep a check short."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aegen_bench import seeding
from aegen_bench.baseline import Baseline
from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Pair, Prior
from aegen_bench.study import catalog
from aegen_bench.study.catalog import Method
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan
from aegen_bench.trial import sampling

__all__ = ["GREY", "SAMPLES", "Subject", "images_of", "located", "made_up", "owned", "train_a_little"]

GREY = Nets((1, 8, 8), d=4, flow_width=8, n_train=24)
PLAN = StagePlan(epochs=2, batch=8, lr=1e-3)
SAMPLES = 6


@dataclass(frozen=True)
class Subject:
    """The method under check: its source, class and arguments. A prior is checked on a plain auto-encoder."""

    entry: Method
    cls: type[Any]
    values: Mapping[str, Any]

    def build(self, seed: int, nets: Nets = GREY) -> Baseline:
        """Return an untrained instance. Equal seeds give equal weights."""
        with seeding.initialising(seed):
            made = self.cls(nets, **self.values)
            return Pair(_plain_trunk()(nets), made) if isinstance(made, Prior) else made


def _plain_trunk() -> type[Any]:
    return catalog.import_class(catalog.read("ae", catalog.shipped() / "baselines" / "ae.py"))


def located(error: Exception, entry: Method) -> str:
    """Return the error on one line, with the innermost line of the method's source in its traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(entry.path)]
    where = f"{entry.path.name}, line {frames[-1].lineno}, in {frames[-1].name}: " if frames else ""
    return f"{where}{type(error).__name__}: {error}"


def train_a_little(model: Baseline) -> None:
    """Train two epochs per stage with the training loop of the harness."""
    plans = {stage.name: PLAN for stage in model.stages()}
    train(model, made_up(model.nets), plans, seed=1, history=History())


def made_up(nets: Nets) -> Tensor:
    """Return a training set of noise, uint8 NCHW."""
    return torch.randint(256, (nets.n_train, *nets.shape), generator=seeding.stream(1, "images")).to(torch.uint8)


def owned(model: Baseline) -> dict[str, list[Tensor]]:
    """Return the trained parameters of each optimizer."""
    declared = model.optimizers().items()
    return {name: [p for group in groups for p in group["params"] if p.requires_grad] for name, groups in declared}


def images_of(name: str, images: Tensor, nets: Nets) -> Iterator[str]:
    """Yield what is wrong with `images`, which should be `SAMPLES` valid images."""
    if isinstance(images, Tensor) and not torch.isfinite(images).all():
        yield f"{name} returns NaN or infinity, but images must be in [0, 1]"
    elif found := sampling.fault(name, images, (SAMPLES, *nets.shape)):
        yield found
