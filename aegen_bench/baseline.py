"""Baseline and Stage: the whole contract between a method and the harness, and its manual.

A method is one file in `baselines/` with one subclass of `Baseline`. Its hyperparameters are the keyword arguments of
`__init__(self, nets, *, ...)`; their defaults are the paper's values and the yaml sets them by name. `nets` makes the
shared networks, sized for the dataset (see `aegen_bench.blocks.nets.Nets`).

Compulsory are `step` and `decode`. A sample is `decode(prior(noise(n)))`, a reconstruction `decode(encode(x))`; both
are taken in eval mode without gradients, and batching, rounding to uint8 and seeding are the harness's. A method
never sees the device, seeds, optimizer objects, epochs, paths, metrics or the dataset's name. Its state is parameters
and buffers whose shapes are fixed in `__init__`, so the `state_dict` alone restores it. Every random number comes
from `self.randn`, `self.rand` or `self.randint`.
"""

from __future__ import annotations

import dis
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from aegen_bench.blocks.losses import half_sse
from aegen_bench.blocks.nets import Nets

__all__ = ["Baseline", "Seeded", "Stage", "Step", "Updates"]

Updates = Iterator[tuple[str, Mapping[str, Tensor]]]
Step = Callable[[Tensor, Tensor], Updates]


@dataclass(frozen=True)
class Stage:
    """One training stage; its budget, batch size and schedule come from the yaml by `name`.

    `data` says what `step` gets: "images", float [b, C, S, S] in [0, 1], or "codes", rows of what `extract` made of
    the training set. The hooks get the stage's whole data on the device (images as uint8 NCHW, codes as `extract`
    left them), in train mode and without gradients: `start` once, `before_epoch` and `after_epoch` around each epoch.
    A set of images that a GPU has no room for is streamed to `step`; a stage with hooks that use them is then an error.
    `fresh_optimizers` makes the optimizers anew at each epoch. They are always new at the start of a stage.
    """

    name: str
    step: Step
    data: Literal["images", "codes"] = "images"
    start: Callable[[Tensor], None] | None = None
    before_epoch: Callable[[Tensor], None] | None = None
    after_epoch: Callable[[Tensor], None] | None = None
    fresh_optimizers: bool = False

    @property
    def looks_at_all(self) -> bool:
        """Whether a hook uses the stage's whole data, which it gets in any case."""
        return any(
            hook is not None and _uses_argument(hook) for hook in (self.start, self.before_epoch, self.after_epoch)
        )


class Seeded(nn.Module):
    """What methods and priors have in common: random streams and logged quantities, both the harness's."""

    progress_was_read: bool = False
    _progress: float = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._stream: torch.Generator | None = None
        self._sink: Callable[[str, Tensor], None] = _forget

    def log(self, name: str, value: Tensor | float) -> None:
        """Record a quantity: in `step` its average over the epoch, elsewhere a fact of the trial. Never part of the
        loss.
        """
        if "/" in name:
            raise ValueError(f"log('{name}'): a name without '/', which is for loss terms")
        self._sink(name, value.detach() if isinstance(value, Tensor) else torch.full((), value, device=self._device))

    def randn(self, *shape: int) -> Tensor:
        """Standard normal numbers on the module's device, from the stream of the present purpose."""
        return torch.randn(shape, generator=self._stream, device=self._device)

    def rand(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), likewise."""
        return torch.rand(shape, generator=self._stream, device=self._device)

    def randint(self, high: int, *shape: int) -> Tensor:
        """Integers in [0, high), likewise; seeds for numpy and scikit-learn are drawn with it."""
        return torch.randint(high, shape, generator=self._stream, device=self._device)

    @property
    def _device(self) -> torch.device:
        if self._stream is not None:
            return self._stream.device
        return next(chain(self.parameters(), self.buffers())).device

    @property
    def progress(self) -> float:
        """Fraction of the current stage that is done, in [0, 1), for schedules inside a loss.

        It is another Python number at each step, so steps that read it cannot be captured as a CUDA graph; on a GPU
        they take longer.
        """
        self.progress_was_read = True
        return self._progress

    @progress.setter
    def progress(self, value: float) -> None:
        self._progress = value

    # ---- for the harness ------------------------------------------------------------------------

    @contextmanager
    def using(
        self, stream: torch.Generator | None, sink: Callable[[str, Tensor], None] | None = None
    ) -> Iterator[None]:
        """Within: random numbers come from `stream`; logged quantities go to `sink`, or where they went before."""
        before = self._stream, self._sink
        self._stream, self._sink = stream, sink or self._sink
        try:
            yield
        finally:
            self._stream, self._sink = before


class Baseline(Seeded):
    """Base class of every method. Override `step` and `decode`, and of the rest what differs from the default."""

    likelihood: ClassVar[bool] = False
    """True for a method whose loss is a likelihood of the pixels: another `recon` than `sse` is then an error."""

    def __init__(self, nets: Nets) -> None:
        super().__init__()
        self.nets = nets

    # ---- what a method defines ------------------------------------------------------------------

    def step(self, x: Tensor, index: Tensor) -> Updates:
        """Yield `(optimizer name, {term: scalar loss})` once per update, in the order of the updates.

        The harness sums the terms, takes the gradient with respect to that optimizer's parameters only, steps it and
        resumes the generator, always to its end: text after the last yield sees the updated weights. `index` is the
        position of each row in the training set. Compute with tensors only: a host synchronisation (`.item()`, `if
        loss > 1`) slows every step. On a GPU one step is captured and replayed (docs/gpus.md): what Python does in it
        must be the same each time.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step(self, x, index)")

    def decode(self, z: Tensor) -> Tensor:
        """Codes -> float images [n, C, S, S] in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must define decode(self, z)")

    def noise(self, n: int) -> Tensor:
        """n draws of all the randomness of sampling, one row a sample; figures interpolate between rows. Default N(0,
        I).
        """
        return self.randn(n, self.nets.d)

    def prior(self, e: Tensor) -> Tensor:
        """Noise -> codes; a function of `e` alone. Default: the identity."""
        return e

    def log_prior(self, z: Tensor) -> Tensor:
        """Codes [n, ...] -> the natural log of the density [n] that `prior(noise(n))` has there, if it is known.

        Optional; the likelihood of test codes is measured with it. Where neither `noise` nor `prior` is overridden it
        is that of N(0, I).
        """
        if not self.has_density:
            raise NotImplementedError(f"{type(self).__name__} defines no log_prior(self, z)")
        flat = z.flatten(1)
        return -0.5 * (flat.square().sum(1) + flat.shape[1] * math.log(2 * math.pi))

    @property
    def has_density(self) -> bool:
        """Whether `log_prior` can be asked."""
        return self.has("log_prior") or not (self.has("noise") or self.has("prior"))

    def encode(self, x: Tensor) -> Tensor:
        """Images -> codes (the posterior mean). Without it reconstructions and interpolations read "not applicable"."""
        raise NotImplementedError(f"{type(self).__name__} has no encoder")

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        """What `codes` stages and `fit` see of a batch of images: one tensor, batch first, any dtype."""
        return self.encode(x)

    def fit(self, codes: Tensor) -> None:
        """Fit a density to the extracted codes after training, and copy it into buffers. Default: nothing to fit."""

    def stages(self) -> Sequence[Stage]:
        """The training stages in their order. Default: one, `train`, of `step` on images."""
        return [Stage("train", self.step)]

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        """{name: parameter groups} listing every trained parameter; of settings (lr, weight_decay, betas) only what
        differs.

        A trained parameter of shape () is a learned scalar: the harness gives it a group of its own, without weight
        decay, and with a larger learning rate where a profile shortens the schedule (`training/optimizers.py`).
        """
        return {"model": [{"params": list(self.parameters())}]}

    # ---- what the base class gives --------------------------------------------------------------

    def recon(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Batch mean of the row's reconstruction loss. Logs the unweighted 0.5 SSE as `half_sse` beside it."""
        loss = self.nets.recon(x_hat, x).mean()
        if self.nets.recon is half_sse:
            self.log("half_sse", loss)
        else:
            with torch.no_grad():
                self.log("half_sse", half_sse(x_hat, x).mean())
        return loss

    # ---- for the harness ------------------------------------------------------------------------

    def has(self, hook: str) -> bool:
        """Whether the method defines `hook` itself instead of taking the default."""
        return getattr(type(self), hook) is not getattr(Baseline, hook)


def _uses_argument(hook: Callable[[Tensor], None]) -> bool:
    """Whether a function of one argument mentions it anywhere; where that cannot be seen, it does."""
    function: Any = inspect.unwrap(hook)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount] if code else ()
    if code is None or len(names) != 1 + inspect.ismethod(hook):
        return True
    local = (i.argval for i in dis.get_instructions(code) if "FAST" in i.opname or i.opname == "MAKE_CELL")
    return any(names[-1] in (found if isinstance(found, tuple) else (found,)) for found in local)  # 3.13: two in one


def _forget(name: str, value: Tensor) -> None:
    """Outside the harness, logged quantities go nowhere."""
