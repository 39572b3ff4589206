"""Baseline and Stage: the complete contract between a method and the harness.

A method is one file in `baselines/` with one subclass of `Baseline`. Its hyperparameters are the keyword arguments of
`__init__(self, nets, *, ...)`; their defaults are the paper's values, and the yaml sets them by name. `nets` makes the
shared networks, sized for the dataset (see `aegen_bench.blocks.nets.Nets`).

`step` and `decode` are required. A sample is `decode(prior(noise(n)))`, a reconstruction is `decode(encode(x))`. Both
run in eval mode without gradients; the harness takes care of batching, rounding to uint8 and seeding. A method never
sees the device, seeds, optimizer objects, epochs, paths, metrics or the dataset's name. Its state consists of
parameters and buffers whose shapes are fixed in `__init__`, so that the `state_dict` alone restores it. All random
numbers come from `self.randn`, `self.rand` or `self.randint`.
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
    """One training stage. The yaml sets its number of epochs or steps, batch size and schedule under its `name`.

    `data` says what `step` receives: "images", float [b, C, S, S] in [0, 1], or "codes", batches of what `extract`
    returned for the training set. The hooks receive all data of the stage on the device (images as uint8 NCHW, codes
    as `extract` returned them), in train mode and without gradients: `start` once, `before_epoch` and `after_epoch`
    around each epoch. If the images do not fit into a GPU's memory they are streamed to `step`, and a stage with hooks
    that use them is an error. `fresh_optimizers` creates new optimizers for each epoch; a new stage always gets new
    ones.
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
        """Whether a hook uses the data that it receives, that is, all data of the stage."""
        return any(
            hook is not None and _uses_argument(hook) for hook in (self.start, self.before_epoch, self.after_epoch)
        )


class Seeded(nn.Module):
    """What methods and priors have in common: random numbers and logging, both connected to the harness."""

    progress_was_read: bool = False
    _progress: float = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._stream: torch.Generator | None = None
        self._sink: Callable[[str, Tensor], None] = _forget

    def log(self, name: str, value: Tensor | float) -> None:
        """Record a scalar that is not part of the loss: within `step` its mean over the epoch goes to `history.json`;
        elsewhere it becomes a fact of the trial in `record.json`. ValueError if the name contains a "/" or the value
        is not a scalar.
        """
        if "/" in name:
            raise ValueError(f"log('{name}'): a name without '/', which is for loss terms")
        if isinstance(value, Tensor) and value.ndim:
            raise ValueError(f"log('{name}'): shape {tuple(value.shape)}, but a scalar is needed: take its mean")
        self._sink(name, value.detach() if isinstance(value, Tensor) else torch.full((), value, device=self._device))

    def randn(self, *shape: int) -> Tensor:
        """Standard normal numbers of this shape, float32 on the module's device, from the harness's random stream."""
        return torch.randn(shape, generator=self._stream, device=self._device)

    def rand(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of this shape, float32 on the module's device, from the harness's random stream."""
        return torch.rand(shape, generator=self._stream, device=self._device)

    def randint(self, high: int, *shape: int) -> Tensor:
        """Integers in [0, high) of this shape, int64 on the module's device, from the harness's random stream.

        Use it to draw seeds for numpy and scikit-learn.
        """
        return torch.randint(high, shape, generator=self._stream, device=self._device)

    @property
    def _device(self) -> torch.device:
        if self._stream is not None:
            return self._stream.device
        return next(chain(self.parameters(), self.buffers())).device

    @property
    def progress(self) -> float:
        """Fraction of the current stage that is done, in [0, 1), for schedules inside a loss.

        It is a Python number that changes at every step, so steps that read it cannot be captured as a CUDA graph and
        are slower on a GPU.
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
        """Context in which random numbers come from `stream`, and logged values go to `sink` (default: as before)."""
        before = self._stream, self._sink
        self._stream, self._sink = stream, sink or self._sink
        try:
            yield
        finally:
            self._stream, self._sink = before


class Baseline(Seeded):
    """Base class of all methods. Override `step` and `decode`, and any other hook whose default does not fit."""

    likelihood: ClassVar[bool] = False
    """True for a method whose loss is a likelihood of the pixels: any `recon` other than `sse` is then an error."""

    def __init__(self, nets: Nets) -> None:
        super().__init__()
        self.nets = nets

    # ---- what a method defines ------------------------------------------------------------------

    def step(self, x: Tensor, index: Tensor) -> Updates:
        """One training step: yield `(optimizer name, {term: scalar loss})` once per update, in the order of updates.

        `x` is a batch, images or codes as declared by the stage; `index`, int64 [b], is the position of each row in the
        training set. After each yield, the harness sums the terms, computes the gradient with respect to the parameters
        of that optimizer only, steps the optimizer and resumes the generator. It always runs the generator to its end,
        so code after the last yield sees the updated weights.

        Compute with tensors only: a host synchronisation (`.item()`, `if loss > 1`) slows down every step. On a GPU a
        step is captured once and replayed (docs/gpus.md), so its Python code must do the same thing every time.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step(self, x, index)")

    def decode(self, z: Tensor) -> Tensor:
        """Return the images of codes [n, ...]: float [n, C, S, S] in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must define decode(self, z)")

    def noise(self, n: int) -> Tensor:
        """Return all randomness of n samples, [n, ...] with one row per sample. Default: N(0, I), [n, d].

        Figures interpolate between rows, unless they are integers.
        """
        return self.randn(n, self.nets.d)

    def prior(self, e: Tensor) -> Tensor:
        """Map noise [n, ...] to codes [n, ...], deterministically and row by row. Default: the identity."""
        return e

    def log_prior(self, z: Tensor) -> Tensor:
        """Return the log density of `prior(noise(n))` at codes [n, ...], in nats: [n].

        Optional; it is used to measure the likelihood of test codes. If neither `noise` nor `prior` is overridden, it
        is the density of N(0, I); otherwise the default raises NotImplementedError.
        """
        if not self.has_density:
            raise NotImplementedError(f"{type(self).__name__} defines no log_prior(self, z)")
        flat = z.flatten(1)
        return -0.5 * (flat.square().sum(1) + flat.shape[1] * math.log(2 * math.pi))

    @property
    def has_density(self) -> bool:
        """Whether `log_prior` is available."""
        return self.has("log_prior") or not (self.has("noise") or self.has("prior"))

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes of images [n, C, S, S] in [0, 1], for a variational method the posterior means: [n, ...].

        Optional; without it, metrics of reconstructions, interpolations and codes are reported as not applicable.
        """
        raise NotImplementedError(f"{type(self).__name__} has no encoder")

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        """Return what stages on codes and `fit` receive for a batch of images: one tensor [b, ...] of any dtype.

        `x` and `index` are those of `step`. Default: `encode(x)`.
        """
        return self.encode(x)

    def fit(self, codes: Tensor) -> None:
        """Fit a density to all extracted codes [n, ...] after training and store it in buffers. Default: do nothing."""

    def stages(self) -> Sequence[Stage]:
        """Return the training stages in order. Default: a single stage `train` that runs `step` on images."""
        return [Stage("train", self.step)]

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        """Return {optimizer name: parameter groups}, as for torch.optim.Adam, which together list every trained
        parameter. Of the settings (lr, weight_decay, betas), include only those that differ from the yaml's.

        A trained parameter of shape () is a learned scalar. The harness puts it into a separate group without weight
        decay, with a larger learning rate if a profile shortens the schedule (`training/optimizers.py`).
        """
        return {"model": [{"params": list(self.parameters())}]}

    # ---- what the base class gives --------------------------------------------------------------

    def recon(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Return the row's reconstruction loss, averaged over the batch: shape (). Also logs 0.5 SSE as `half_sse`.

        `x_hat` and `x` are images [b, C, S, S].
        """
        loss = self.nets.recon(x_hat, x).mean()
        if self.nets.recon is half_sse:
            self.log("half_sse", loss)
        else:
            with torch.no_grad():
                self.log("half_sse", half_sse(x_hat, x).mean())
        return loss

    # ---- for the harness ------------------------------------------------------------------------

    def has(self, hook: str) -> bool:
        """Whether the method overrides `hook`."""
        return getattr(type(self), hook) is not getattr(Baseline, hook)


def _uses_argument(hook: Callable[[Tensor], None]) -> bool:
    """Whether a function of one argument uses it anywhere; assumed if that cannot be determined."""
    function: Any = inspect.unwrap(hook)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount] if code else ()
    if code is None or len(names) != 1 + inspect.ismethod(hook):
        return True
    local = (i.argval for i in dis.get_instructions(code) if "FAST" in i.opname or i.opname == "MAKE_CELL")
    return any(names[-1] in (found if isinstance(found, tuple) else (found,)) for found in local)  # 3.13: two in one


def _forget(name: str, value: Tensor) -> None:
    """Outside the harness, logged values are discarded."""
