"""What makes a CPU faster: products by oneDNN, and freed memory that is kept. Neither changes more than the rounding.

torch multiplies float32 matrices on a CPU by MKL, which on an AMD processor keeps to AVX2 where the processor has
AVX-512: half of the rate. oneDNN, which does torch's convolutions, takes what the processor has. Each sums in an order
of its own, so their results differ by float32 rounding. And malloc gives large blocks back to the system, which clears
their pages when they are asked for again. Together they train 1.7 times as fast (docs/performance.md).

The environment variable AEGEN_BENCH_TUNING=off switches both off.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["keeping_memory", "library", "linear", "pays", "product", "quickened"]

M = TypeVar("M", bound=nn.Module)
WORTH = 2**16  # weights from which on a product gains more than its call costs


def _on() -> bool:
    return os.environ.get("AEGEN_BENCH_TUNING", "on") != "off"


@functools.cache
def library(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Which of the two multiplies float32 matrices on this machine's CPU: 'oneDNN' where it is an AMD processor with
    AVX-512, as Linux tells, and torch has the operator; else 'BLAS', that which torch was built with.
    """
    try:
        amd = "AuthenticAMD" in cpuinfo.read_text()
    except OSError:
        amd = False
    faster = _on() and amd and torch.backends.cpu.get_cpu_capability() == "AVX512" and _works()
    return "oneDNN" if faster else "BLAS"


def _works() -> bool:
    """Whether the operator, which is none that torch documents, is there and does what is expected of it."""
    with torch.device("cpu"):  # the first to ask may be about to count FLOPs on the device `meta`
        x, weight, bias = torch.ones(2, 3), torch.eye(4, 3), torch.arange(4.0)
    try:
        return torch.equal(_multiply(x, weight, bias), functional.linear(x, weight, bias))
    except (AttributeError, RuntimeError):
        return False


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether `product` is for these: float32 on a CPU, x [n, in] and enough weights [out, in]."""
    fits = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.ndim == 2 and len(x) > 0
    return fits and weight.numel() >= WORTH


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """torch's function of that name, by whichever of the two is the faster here."""
    multiply = product if library() == "oneDNN" and pays(x, weight) else functional.linear
    return multiply(x, weight, bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [n, in], weight [out, in], bias [out] -> x weight^T + bias [n, out], float32 on a CPU, by oneDNN."""
    result: Tensor = _Product.apply(x, weight, bias)
    return result


class _Product(torch.autograd.Function):
    """The gradients of a product are products, and so have gradients too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (dy,), (x, weight), (of_x, of_weight, of_bias) = gradients, ctx.saved_tensors, ctx.needs_input_grad
        return (
            product(dy, weight.t()) if of_x else None,
            product(dy.t(), x.t()) if of_weight else None,
            dy.sum(0) if of_bias else None,
        )


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # torch.compile takes the operator itself for one of a network whose weights never change: it must not see it.
    multiply = _opaque if torch.compiler.is_compiling() else _onednn
    return multiply(x, weight, bias)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


_opaque = torch.library.custom_op("aegen_bench::product", _onednn, mutates_args=(), device_types="cpu")


@_opaque.register_fake
def _shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(len(x), len(weight))


# ---- linear layers ------------------------------------------------------------------------------


class Linear(nn.Linear):
    """A linear layer that multiplies by oneDNN what is float32, on the CPU and large enough."""

    def forward(self, x: Tensor) -> Tensor:
        if pays(x, self.weight) and not torch.is_autocast_enabled("cpu"):
            return product(x, self.weight, self.bias)
        return super().forward(x)


def quickened(module: M) -> M:
    """Give its linear layers the products that are the faster ones on this machine's processor."""
    if library() == "oneDNN":
        for layer in module.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = Linear
    return module


# ---- memory --------------------------------------------------------------------------------------


@contextlib.contextmanager
def keeping_memory() -> Iterator[None]:
    """Within, memory that is freed stays with the process for the next tensor (glibc's malloc, so Linux alone). At the
    end it goes back, and so does what torch keeps of a GPU's: trials that share the GPU see how much is free.

    By itself malloc gives large blocks back to the system, which clears their pages when they are asked for anew: 50 MB
    a step of a VAE at 28 px, 430 MB at 64 px, a fifth of its time.
    """
    _malloc(mmap=2**30, trim=2**31 - 1)
    try:
        yield
    finally:
        _malloc(mmap=2**25, trim=2**26)  # where malloc's own would end, which setting it stops from growing
        with contextlib.suppress(RuntimeError):  # of a device that fails every call, since a trial's kernel did
            torch.cuda.empty_cache()  # nothing where CUDA was never used


def _malloc(*, mmap: int, trim: int) -> None:
    """Set glibc's thresholds in bytes: blocks larger than `mmap`, and more than `trim` of free memory at the end of the
    heap, go back to the system when they are freed. What is free goes back now. Nothing where there is no glibc.
    """
    import ctypes

    if not _on():
        return
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, mmap)
        libc.mallopt(M_TRIM_THRESHOLD, trim)
        libc.malloc_trim(0)
