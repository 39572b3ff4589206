"""The shipped methods in a small size for tests, and helpers that inspect their losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aegen_bench import seeding
from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Pair
from aegen_bench.study import catalog

BASELINES = Path(__file__).parents[2] / "baselines"
NETS = Nets((1, 8, 8), d=4, flow_width=8, n_train=24)
X = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(8)


class Fixed(nn.Module):
    """A network that returns the same tensor for every input."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer


class Largest(TorchDispatchMode):
    """Context that finds the number of elements of the largest tensor that any operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(t.numel() for t in tree_leaves(out) if isinstance(t, Tensor))])
        return out


class Waits(TorchDispatchMode):
    """Context that counts operations that would wait for a GPU: `.item()`, `float()` and `if` on a tensor, and results
    whose shape depends on values (`nonzero`, `unique`, a boolean index).
    """

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waits = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags)
        if func is torch.ops.aten.index.Tensor:  # with integers, the shape does not depend on their values
            waits = any(index is not None and index.dtype == torch.bool for index in args[1])
        self.count += bool(waits)
        return func(*args, **(kwargs or {}))


def build(name: str, nets: Nets = NETS, seed: int = 0, **arguments: Any) -> Any:
    """Return an untrained method, or for `TRUNK+PRIOR` a pair, whose prior receives the arguments."""
    trunk, _, prior = name.partition("+")
    if prior:
        return Pair(build(trunk, nets, seed), build(f"priors/{prior}", nets, seed, **arguments))
    path, base = BASELINES / f"{name}.py", "Prior" if name.startswith("priors/") else "Baseline"
    with seeding.initialising(seed):
        return catalog.import_class(catalog.read(path.stem, path, base))(nets, **arguments)


def updates(model: Any, step: Any = None, data: Tensor = X) -> list[dict[str, Tensor]]:
    """Return the terms of each update that `step` yields, by default the step of the model."""
    with model.using(seeding.stream(0, "train")):
        return [dict(terms) for _, terms in (step or model.step)(data, torch.arange(len(data)))]


def losses(model: Any, step: Any = None, data: Tensor = X) -> dict[str, Tensor]:
    """Return the terms of a step that has one update."""
    (terms,) = updates(model, step, data)
    return terms


def noise_of_step(model: Any, *shape: int) -> Tensor:
    """Return what the first call of `randn` in `updates` returns."""
    with model.using(seeding.stream(0, "train")):
        return model.randn(*shape)


SLOW = """
import signal, time
from pathlib import Path
from aegen_bench.baseline import Baseline

HOLD = Path(__file__).parents[1] / "hold"

def told_to_stop():
    return getattr(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), "signal", 0)

class Slow(Baseline):
    '''A linear auto-encoder whose third step lasts while there is a file `hold`, or until it is told to stop.'''

    def __init__(self, nets):
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.steps = 0

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)

    def step(self, x, index):
        self.steps += 1
        while self.steps > 2 and HOLD.exists() and not told_to_stop():
            time.sleep(0.02)
        yield "model", {"reconstruction": self.recon(self.decoder(self.encoder(x)), x)}
"""
