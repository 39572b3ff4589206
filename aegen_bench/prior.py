"""Prior and Pair: the contract between a prior and the harness, and the model made of a trunk and a prior.

A prior is one file in `baselines/priors/` with one subclass of `Prior`. It models the codes of a trained auto-encoder,
the trunk, and samples new ones. Its hyperparameters are the keyword arguments of `__init__(self, nets, *, ...)`. Like a
method, it draws all random numbers with `self.randn`, `self.rand` or `self.randint`, keeps its state in parameters and
buffers whose shapes are fixed in `__init__`, and never sees a device, a seed, an optimizer or a path.

`sample` is required. A trained prior also defines `loss`, and one with a closed form defines `fit`. The harness
standardises the codes: u has mean 0 and standard deviation 1 in each dimension over the training set.
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

__all__ = ["Pair", "Prior", "unsuitable"]

M = TypeVar("M", bound=nn.Module)


class Prior(Seeded):
    """Base class of all priors. Override `sample`, and any other hook whose default does not fit."""

    standardised: ClassVar[bool] = True
    """False for a prior that is fixed before training, such as N(0, I): it receives the trunk's codes unscaled."""

    def __init__(self, nets: Nets) -> None:
        super().__init__()
        self.nets = nets
        self.register_buffer("_place", torch.empty(0), persistent=False)  # gives a prior without parameters a device

    # ---- what a prior defines -------------------------------------------------------------------

    def sample(self, e: Tensor) -> Tensor:
        """Map noise [n, ...] to codes u [n, d], deterministically and row by row."""
        raise NotImplementedError(f"{type(self).__name__} must define sample(self, e)")

    def noise(self, n: int) -> Tensor:
        """Return all randomness of n samples, [n, ...] with one row per sample. Default: N(0, I), [n, d]."""
        return self.randn(n, self.nets.d)

    def loss(self, u: Tensor, index: Tensor) -> Mapping[str, Tensor]:
        """Return {term: scalar loss} for a batch of codes u [b, d]. The harness minimises the sum of the terms.

        `index`, int64 [b], is the position of each code in the training set.
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained")

    def before_epoch(self, u: Tensor) -> None:
        """Called before each training epoch with all codes u [n, d], without gradients. Default: do nothing."""

    def fit(self, u: Tensor) -> None:
        """Fit a closed form to all codes u [n, d] after training and store it in buffers. Default: do nothing."""

    def log_prob(self, u: Tensor) -> Tensor:
        """Return log p(u) of codes u [n, d], in nats: [n]. Optional; the default raises NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} has no density")

    def groups(self) -> list[dict[str, Any]]:
        """Return parameter groups, as for torch.optim.Adam, which together list every trained parameter. Of the
        settings (lr, weight_decay, betas), include only those that differ from the yaml's.

        Default: one group of all parameters.
        """
        return [{"params": list(self.parameters())}]

    # ---- what the base class gives --------------------------------------------------------------

    def sized(self, make: Callable[[int], M]) -> M:
        """Return `make(width)` with the width at which it has as many parameters as the paper's flow on these codes.

        This makes learned priors comparable: their sizes are within 20% of each other, unless a single unit makes a
        larger difference. The number of parameters must be quadratic in the width, as it is if all layers have the same
        width.
        """
        with torch.random.fork_rng(devices=[]):  # the networks made here are only counted
            wanted = _count(CouplingFlow(self.nets.d, self.nets.flow_width))
            one, two, three = (_count(make(width)) for width in (1, 2, 3))
        bend, slope = (three - 2 * two + one) / 2, two - one
        # one + slope (w - 1) + bend (w - 1) (w - 2) interpolates the three counts.
        square, linear, constant = bend, slope - 3 * bend, one - slope + 2 * bend - wanted
        if square:
            width = (math.sqrt(max(0.0, linear**2 - 4 * square * constant)) - linear) / (2 * square)
        else:
            width = -constant / linear
        return make(max(1, round(width)))

    # ---- for the harness ------------------------------------------------------------------------

    def has(self, hook: str) -> bool:
        """Whether the prior overrides `hook`."""
        return getattr(type(self), hook) is not getattr(Prior, hook)


def unsuitable(codes: Tensor, d: int) -> str:
    """Return why no prior can model these codes of a trunk, or "" if they are floats [n, d]."""
    if codes.is_floating_point() and codes.shape[1:] == (d,):
        return ""
    return f"a prior needs codes that are floats [n, {d}]; this trunk's are {codes.dtype} of shape {tuple(codes.shape)}"


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class Pair(Baseline):
    """A trained trunk, which stays fixed, and a prior on its codes. To the harness it is a method like any other.

    The codes are those of the trunk's `encode` in eval mode, so for a variational trunk the posterior means.
    """

    def __init__(self, trunk: Baseline, density: Prior) -> None:
        super().__init__(trunk.nets)
        self.trunk, self.density = trunk.requires_grad_(False), density
        self.standard = Standardise(trunk.nets.d)

    def stages(self) -> list[Stage]:
        """One stage on codes, `prior`, or none for a prior that is not trained."""
        if not self.density.has("loss"):
            return []
        before = self.before_epoch if self.density.has("before_epoch") else None
        return [Stage("prior", self.step, data="codes", start=self.start, before_epoch=before)]

    def start(self, codes: Tensor) -> None:
        """Measure the mean and standard deviation of all codes [n, d]."""
        if self.density.standardised:
            self.standard.fit(codes)

    def before_epoch(self, codes: Tensor) -> None:
        """Pass all codes [n, d], standardised, to the prior's hook."""
        self.density.before_epoch(self.standard(codes))

    def step(self, x: Tensor, index: Tensor) -> Updates:
        """One update of the prior on a batch of codes x [b, d]."""
        yield "prior", self.density.loss(self.standard(x), index)

    def fit(self, codes: Tensor) -> None:
        """Fit the prior to all codes [n, d], which are measured first if no stage did so."""
        if not self.density.has("loss"):
            self.start(codes)
        self.density.fit(self.standard(codes))

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {"prior": self.density.groups()}

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        """Return the trunk's codes [b, d]; ValueError if they are not floats of this shape."""
        codes = self.trunk.encode(x)
        if why := unsuitable(codes, self.nets.d):
            raise ValueError(why)
        return codes

    def noise(self, n: int) -> Tensor:
        return self.density.noise(n)

    def prior(self, e: Tensor) -> Tensor:
        """Map noise to codes [n, d] on the trunk's scale; ValueError if the prior returns any other shape."""
        u = self.density.sample(e)
        if u.shape != (len(e), self.nets.d):
            given, wanted = tuple(u.shape), (len(e), self.nets.d)
            raise ValueError(f"{type(self.density).__name__}.sample returns codes of shape {given}, not {wanted}")
        return self.standard.inverse(u)

    def log_prior(self, z: Tensor) -> Tensor:
        """Return the prior's log density at codes [n, d] on the trunk's scale, in nats: [n]."""
        return self.density.log_prob(self.standard(z)) - self.standard.scale.log().sum()

    @property
    def has_density(self) -> bool:
        return self.density.has("log_prob")

    def encode(self, x: Tensor) -> Tensor:
        return self.trunk.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.trunk.decode(z)

    # The prior is what may read the training progress.

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
