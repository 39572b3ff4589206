"""Checks of one training step: on another device, with another batch size, and its speed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aegen_bench import seeding
from aegen_bench.baseline import Baseline, Stage
from aegen_bench.blocks.nets import Nets
from aegen_bench.conformance.subject import GREY, SAMPLES, Subject, located, made_up, owned
from aegen_bench.numerics.pixels import as_float
from aegen_bench.study import catalog

__all__ = ["other_device", "pace"]

BATCHES = 8, 16
TIMED, TIMED_BATCH = Nets((1, 8, 8), d=8, flow_width=32, n_train=64), 32
LIMIT = 10
ROUNDS = 3, 6


def other_device(subject: Subject, model: Baseline) -> Iterator[str]:
    """Check, on the `meta` device, for tensors left on the CPU and for synchronisation: both are bugs on a GPU.

    Also check that the number of operations does not grow with the batch, since such loops in Python are slow.
    """
    try:
        model.to("meta")
        for stage in model.stages():
            small, large = (_operations(model, stage, batch) for batch in BATCHES)
            if small != large:
                counts = f"{small} operations for a batch of {BATCHES[0]} and {large} for one of {BATCHES[1]}"
                yield f"stage '{stage.name}': a step takes {counts}: avoid loops over the batch in Python"
        with _OneDevice(), torch.no_grad():  # type: ignore[no-untyped-call]
            model.eval().decode(model.prior(model.noise(SAMPLES)))
    except Exception as error:
        cause = "a tensor created on the CPU, or code that needs its value (.item(), float(), if)"
        yield f"fails on devices other than the CPU, perhaps because of {cause}: {located(error, subject.entry)}"


def _operations(model: Baseline, stage: Stage, batch: int) -> int:
    x, index = torch.empty(batch, *GREY.shape, device="meta"), torch.arange(batch, device="meta")
    data, seen = _data(model, stage, x, index), _OneDevice()  # type: ignore[no-untyped-call]
    with seen:
        _step(model, stage, data, index)
    return seen.operations


class _OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Rejects what `meta` would accept, such as a matrix product with a CPU tensor. Scalars may be on the CPU."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        tensors = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors if t.ndim}
        if len(devices) > 1:
            raise RuntimeError(f"{func} receives tensors on {' and '.join(sorted(devices))}")
        return func(*args, **(kwargs or {}))


def pace(subject: Subject) -> Iterator[str]:
    """Compare the fastest of several steps with that of GLF, with the same networks, images and batch, in turn.

    The clock is that of the processor, which other work does not advance. More steps are measured if the method seems
    slow, since other work still takes caches and memory.
    """
    glf = catalog.read("glf", catalog.shipped() / "baselines" / "glf.py")
    yardstick = Subject(glf, catalog.import_class(glf), {}).build(1, TIMED)
    model = subject.build(1, TIMED)
    (plain,) = yardstick.stages()
    for stage in model.stages():
        fastest = {"own": math.inf, "GLF": math.inf}
        for round_ in range(ROUNDS[1]):
            if round_ >= ROUNDS[0] and fastest["own"] <= LIMIT * fastest["GLF"]:
                break
            for name, taken in (("own", _seconds(model, stage)), ("GLF", _seconds(yardstick, plain))):
                fastest[name] = min(fastest[name], taken)
        if (times := fastest["own"] / fastest["GLF"]) > LIMIT:
            than = f"{times:.0f} times as long as one of GLF with the same networks, images and batch"
            yield f"stage '{stage.name}': a step takes {than}: over {LIMIT} times is too slow"


def _seconds(model: Baseline, stage: Stage) -> float:
    x, index = as_float(made_up(TIMED)[:TIMED_BATCH]), torch.arange(TIMED_BATCH)
    with model.using(seeding.stream(1, "check")):
        data = _data(model, stage, x, index)
        begin = time.process_time()
        _step(model, stage, data, index)
        return time.process_time() - begin


def _data(model: Baseline, stage: Stage, x: Tensor, index: Tensor) -> Tensor:
    """Return the data that the stage's step receives for these images."""
    with torch.no_grad():
        return model.eval().extract(x, index) if stage.data == "codes" else x


def _step(model: Baseline, stage: Stage, data: Tensor, index: Tensor) -> None:
    """Run a training step without the optimizers."""
    parameters = owned(model)
    model.train().zero_grad(set_to_none=True)
    for name, terms in stage.step(data, index):
        sum(terms.values(), torch.zeros((), device=data.device)).backward(inputs=parameters[name])  # type: ignore[no-untyped-call]
