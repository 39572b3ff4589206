"""Prior and Pair: the contract between a density of codes and the harness, and the model that a trunk and a prior make.

A prior is one file in `baselines/priors/` with one subclass of `Prior`. It learns the codes of a finished
auto-encoder, the trunk, and draws new ones; its hyperparameters are the keyword arguments of `__init__(self, nets, *,
...)`. As a method does, it draws every random number from `self.randn`, `self.rand` or `self.randint`, keeps its state
in parameters and buffers whose shapes are fixed in `__init__`, and never sees a device, a seed, an optimizer or a path.

Compulsory is `sample`. A prior that is trained defines `loss`, one with a closed form `fit`, one that needs neither
defines neither. The harness standardises codes: u has mean 0 and deviation 1 in each dimension, over the training set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline, Seeded, Stage, Updates
from aegen_bench.blocks.flows import CouplingFlow
from aegen_bench.blocks.latent import Standardise
from aegen_bench.blocks.nets import Nets

__all__ = ["Pair", "Prior"]

M = TypeVar("M", bound=nn.Module)


class Prior(Seeded):
    """Base class of every prior. Override `sample`, and of the rest what differs from the default."""

    standardised: ClassVar[bool] = True
    """False for a prior that was agreed on before training, as N(0, I) is: its codes are the trunk's own, unscaled."""

    def __init__(self, nets: Nets) -> None:
        super().__init__()
        self.nets = nets
        self.register_buffer("_place", torch.empty(0), persistent=False)  # so that one without parameters has a device

    # ---- what a prior defines -------------------------------------------------------------------

    def sample(self, e: Tensor) -> Tensor:
        """Noise -> codes u [n, d]; a function of `e` alone, row by row."""
        raise NotImplementedError(f"{type(self).__name__} must define sample(self, e)")

    def noise(self, n: int) -> Tensor:
        """n draws of all the randomness of sampling, one row a sample. Default N(0, I), [n, d]."""
        return self.randn(n, self.nets.d)

    def loss(self, u: Tensor, index: Tensor) -> Mapping[str, Tensor]:
        """{term: scalar} of a batch of codes u [b, d]; `index` is the position of each among the training codes."""
        raise NotImplementedError(f"{type(self).__name__} is not trained")

    def before_epoch(self, u: Tensor) -> None:
        """Called before each epoch of training with all codes [n, d], without gradients."""

    def fit(self, u: Tensor) -> None:
        """Fit what has a closed form to all codes u [n, d] and copy it into buffers. Default: nothing."""

    def log_prob(self, u: Tensor) -> Tensor:
        """log p(u) of codes, [n], in nats, where the prior has one."""
        raise NotImplementedError(f"{type(self).__name__} has no density")

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups that list every trained parameter; of settings (lr, weight_decay, betas) only what differs.

        Default: one group of all parameters.
        """
        return [{"params": list(self.parameters())}]

    # ---- what the base class gives --------------------------------------------------------------

    def sized(self, make: Callable[[int], M]) -> M:
        """Return `make(width)` for the width at which it has as many parameters as the paper's flow of these codes.

        So learned priors have budgets that compare: within 20% where one more unit is not more than that. The number
        of parameters must be a parabola of the width, as it is for layers that are all as wide.
        """
        with torch.random.fork_rng(devices=[]):  # what is drawn for a network that is only counted
            wanted = _count(CouplingFlow(self.nets.d, self.nets.flow_width))
            one, two, three = (_count(make(width)) for width in (1, 2, 3))
        bend, slope = (three - 2 * two + one) / 2, two - one
        # one + slope (w - 1) + bend (w - 1) (w - 2), through the three that were counted
        square, linear, constant = bend, slope - 3 * bend, one - slope + 2 * bend - wanted
        if square:
            width = (math.sqrt(max(0.0, linear**2 - 4 * square * constant)) - linear) / (2 * square)
        else:
            width = -constant / linear
        return make(max(1, round(width)))

    # ---- for the harness ------------------------------------------------------------------------

    def has(self, hook: str) -> bool:
        """Whether the prior defines `hook` itself instead of taking the default."""
        return getattr(type(self), hook) is not getattr(Prior, hook)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class Pair(Baseline):
    """A trained trunk, which stays as it is, and a prior of its codes: a method like any other.

    Its codes are `encode` of the trunk, in eval mode: for a variational trunk the posterior means.
    """

    def __init__(self, trunk: Baseline, density: Prior) -> None:
        super().__init__(trunk.nets)
        self.trunk, self.density = trunk.requires_grad_(False), density
        self.standard = Standardise(trunk.nets.d)

    def stages(self) -> list[Stage]:
        if not self.density.has("loss"):
            return []
        before = self.before_epoch if self.density.has("before_epoch") else None
        return [Stage("prior", self.step, data="codes", start=self.start, before_epoch=before)]

    def start(self, codes: Tensor) -> None:
        """Measure the scale of all codes [n, d]."""
        if self.density.standardised:
            self.standard.fit(codes)

    def before_epoch(self, codes: Tensor) -> None:
        self.density.before_epoch(self.standard(codes))

    def step(self, x: Tensor, index: Tensor) -> Updates:
        yield "prior", self.density.loss(self.standard(x), index)

    def fit(self, codes: Tensor) -> None:
        if not self.density.has("loss"):
            self.start(codes)
        self.density.fit(self.standard(codes))

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {"prior": self.density.groups()}

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        codes = self.trunk.encode(x)
        if not codes.is_floating_point() or codes.shape[1:] != (self.nets.d,):
            kind = f"{codes.dtype} of shape {tuple(codes.shape)}"
            raise ValueError(f"a prior needs codes that are floats [n, {self.nets.d}]; this trunk's are {kind}")
        return codes

    def noise(self, n: int) -> Tensor:
        return self.density.noise(n)

    def prior(self, e: Tensor) -> Tensor:
        u = self.density.sample(e)
        if u.shape != (len(e), self.nets.d):
            given, wanted = tuple(u.shape), (len(e), self.nets.d)
            raise ValueError(f"{type(self.density).__name__}.sample gives codes of shape {given}, not {wanted}")
        return self.standard.inverse(u)

    def log_prior(self, z: Tensor) -> Tensor:
        return self.density.log_prob(self.standard(z)) - self.standard.scale.log().sum()

    @property
    def has_density(self) -> bool:
        return self.density.has("log_prob")

    def encode(self, x: Tensor) -> Tensor:
        return self.trunk.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.trunk.decode(z)

    # What is read of the training's progress is read by the prior.

    @property
    def progress(self) -> float:
        return self.density.progress

    @progress.setter
    def progress(self, value: float) -> None:
        self._progress = self.density.progress = value

    @property
    def progress_was_read(self) -> bool:
        return self.density.progress_was_read

    @progress_was_read.setter
    def progress_was_read(self, value: bool) -> None:
        self.density.progress_was_read = value

    @contextmanager
    def using(
        self, stream: torch.Generator | None, sink: Callable[[str, Tensor], None] | None = None
    ) -> Iterator[None]:
        with super().using(stream, sink), self.trunk.using(stream, sink), self.density.using(stream, sink):
            yield
