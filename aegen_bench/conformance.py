"""Whether a baseline keeps the contract of `aegen_bench.baseline`: what `aegen-bench check` and the contract test run.

The networks are tiny and the training is the harness's own, six steps a stage: a baseline takes about a second.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aegen_bench import catalog, seeding
from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.nets import Nets
from aegen_bench.errors import Diverged, UserError
from aegen_bench.history import History
from aegen_bench.schedule import StagePlan
from aegen_bench.training import as_float, train

__all__ = ["check"]

NETS = Nets((1, 8, 8), d=4, flow_width=8, n_train=24)
PLAN = StagePlan(epochs=2, batch=8, lr=1e-3)
SAMPLES = 6


def check(entry: catalog.Entry) -> list[str]:
    """Return in plain words what is wrong with a baseline, a finding each; an empty list if it keeps the contract."""
    found: list[str] = []
    try:
        cls = catalog.import_class(entry)
        found.extend(_weights(cls))
        model = _build(cls, seed=1)
        for examine in (_training, _sampling, _encoding, _reloading):
            found.extend(examine(model))
    except (UserError, Diverged) as error:
        found.append(str(error))
    except Exception as error:
        found.append(_located(error, entry))
    else:
        found.extend(_other_device(model, entry))
    return list(dict.fromkeys(" ".join(line.split()) for line in found))


def _build(cls: type[Baseline], seed: int) -> Baseline:
    with seeding.initialising(seed):
        return cls(NETS)


def _weights(cls: type[Baseline]) -> Iterator[str]:
    first, same, other = (_build(cls, seed) for seed in (1, 1, 2))
    if name := _difference(first, same):
        yield f"__init__: two instances of one seed differ in {name}: draw from torch's global stream only"
    if not _difference(first, other):
        yield "__init__: the weights do not depend on the seed"


def _training(model: Baseline) -> Iterator[str]:
    """Train it, watched, and a second instance for comparison."""
    twin, found, before = _build(type(model), seed=1), list[str](), _global_streams()
    reached: set[Tensor] = set()
    watched = [_watch(stage, model, found, reached) for stage in model.stages()]
    model.__dict__["stages"] = lambda: watched
    try:
        _train(model)
    finally:  # a training that fails is explained by what was seen before
        yield from found
    del model.__dict__["stages"]
    yield from _foreign_randomness("training", before)
    silent = [name for name, p in model.named_parameters() if p.requires_grad and p not in reached]
    if silent:
        yield f"no loss term of any stage has a gradient for {', '.join(silent[:5])}: nothing trains it"
    _train(twin)
    if name := _difference(model, twin):
        yield f"two trainings of one seed differ in {name}: draw from self.randn, self.rand or self.randint"


def _difference(a: Baseline, b: Baseline) -> str:
    """The first entry in which two state_dicts differ, or nothing."""
    pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
    return next((name for (name, value), other in pairs if not torch.equal(value, other)), "")


def _train(model: Baseline) -> None:
    train(model, _images(), {stage.name: PLAN for stage in model.stages()}, seed=1, history=History())


def _watch(stage: Stage, model: Baseline, found: list[str], reached: set[Tensor]) -> Stage:
    """The same stage, whose every update is looked at on its way to the harness."""
    owned = _owned(model)

    def step(data: Tensor, index: Tensor) -> Updates:
        updates = stage.step(data, index)
        if not isinstance(updates, Iterator):
            raise UserError(f"stage '{stage.name}': step returns where it must yield (optimizer name, {{term: loss}})")
        for update in updates:
            match update:
                case (str() as name, Mapping() as terms) if terms:
                    for term, loss in terms.items():
                        where = f"stage '{stage.name}': term '{term}' of optimizer '{name}'"
                        found.extend(_term(where, loss, owned.get(name, []), reached))
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
    if not touched:
        yield f"{where} has no gradient for any parameter of that optimizer: what is no loss goes to self.log"
    reached |= touched


def _sampling(model: Baseline) -> Iterator[str]:
    def generate(e: Tensor) -> Tensor:
        return model.decode(model.prior(e))

    before = _global_streams()
    with torch.no_grad(), model.eval().using(seeding.stream(1, "check")):
        e = model.noise(SAMPLES)
        if len(e) != SAMPLES:
            yield f"noise({SAMPLES}) has {len(e)} rows"
        for name, call in (("prior(e)", model.prior), ("decode(prior(e))", generate)):
            whole, again, halves = call(e), call(e), torch.cat([call(part) for part in e.chunk(2)])
            if not torch.equal(whole, again):
                yield f"{name} differs from call to call: all randomness of sampling belongs in noise(n)"
            elif not torch.allclose(whole.double(), halves.double(), atol=1e-5):
                yield f"{name} of a batch is not that of its halves: a sample must not depend on its neighbours"
        yield from _images_of("decode(prior(e))", whole)
    yield from _foreign_randomness("sampling", before)
    if not torch.equal(_samples(model, 1), _samples(model, 1)):
        yield "noise(n) of one stream differs from call to call: draw from self.randn, self.rand or self.randint"
    if torch.equal(_samples(model, 1), _samples(model, 2)):
        yield "the samples do not depend on the noise"


def _encoding(model: Baseline) -> Iterator[str]:
    x, index = as_float(_images()[:SAMPLES]), torch.arange(SAMPLES)
    with torch.no_grad(), model.eval().using(seeding.stream(1, "check")):
        if model.has("encode"):
            yield from _images_of("decode(encode(x))", model.decode(model.encode(x)))
        if model.has("encode") or model.has("extract"):
            codes = model.extract(x, index)
            if len(codes) != SAMPLES:
                yield f"extract gives shape {tuple(codes.shape)} for {SAMPLES} images: a row an image is needed"


def _images_of(name: str, images: Tensor) -> Iterator[str]:
    wanted = (SAMPLES, *NETS.shape)
    if images.shape != wanted:
        yield f"{name} gives shape {tuple(images.shape)}, the images are {wanted}"
    elif not images.is_floating_point():
        yield f"{name} gives {images.dtype}, images are floats in [0, 1]"
    elif not (images.min() >= 0 and images.max() <= 1):
        yield f"{name} has values from {float(images.min()):.3g} to {float(images.max()):.3g}, images lie in [0, 1]"


def _reloading(model: Baseline) -> Iterator[str]:
    fresh = _build(type(model), seed=2)
    try:
        fresh.load_state_dict(model.state_dict())
    except RuntimeError as error:
        yield f"the trained state_dict does not load into a new instance: {error}"
        return
    if not torch.equal(_samples(model, 1), _samples(fresh, 1)):
        yield "a new instance with the trained state_dict gives other samples: keep all state in parameters and buffers"


def _other_device(model: Baseline, entry: catalog.Entry) -> Iterator[str]:
    """On the `meta` device a tensor left on the CPU and a wait for the host are errors, as they are faults on a GPU."""
    try:
        model.to("meta")
        x, index, owned = torch.empty(8, *NETS.shape, device="meta"), torch.arange(8, device="meta"), _owned(model)
        with _OneDevice():  # type: ignore[no-untyped-call]
            for stage in model.stages():
                with torch.no_grad():
                    data = model.eval().extract(x, index) if stage.data == "codes" else x
                model.train()
                for name, terms in stage.step(data, index):
                    sum(terms.values(), x.new_zeros(())).backward(inputs=owned[name])  # type: ignore[no-untyped-call]
            with torch.no_grad():
                model.eval().decode(model.prior(model.noise(SAMPLES)))
    except Exception as error:
        cause = "a tensor made on the CPU, or a wait for its value (.item(), float(), if)"
        yield f"fails on another device than the CPU, perhaps by {cause}: {_located(error, entry)}"


class _OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses what `meta` alone lets pass, as a matrix product with a CPU tensor. Scalars may lie on the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors if t.ndim}
        if len(devices) > 1:
            raise RuntimeError(f"{func} gets tensors on {' and '.join(sorted(devices))}")
        return func(*args, **(kwargs or {}))


def _samples(model: Baseline, seed: int) -> Tensor:
    with torch.no_grad(), model.eval().using(seeding.stream(seed, "noise")):
        return model.decode(model.prior(model.noise(SAMPLES)))


def _images() -> Tensor:
    return torch.randint(256, (NETS.n_train, *NETS.shape), generator=seeding.stream(1, "images")).to(torch.uint8)


def _owned(model: Baseline) -> dict[str, list[Tensor]]:
    return {name: [p for group in groups for p in group["params"]] for name, groups in model.optimizers().items()}


def _global_streams() -> dict[str, Any]:
    return {"torch": torch.get_rng_state().tolist(), "numpy": str(np.random.get_state()), "random": random.getstate()}


def _foreign_randomness(what: str, before: dict[str, Any]) -> Iterator[str]:
    for name, state in _global_streams().items():
        if state != before[name]:
            yield f"{what} draws from the global stream of {name}: use self.randn, self.rand or self.randint"


def _located(error: Exception, entry: catalog.Entry) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(entry.path)]
    where = f"line {frames[-1].lineno}, in {frames[-1].name}: " if frames else ""
    return f"{where}{type(error).__name__}: {error}"
