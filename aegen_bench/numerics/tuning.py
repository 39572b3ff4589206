"""Two ways to speed up CPUs: matrix products by oneDNN, and keeping freed memory. They only affect rounding.

On a CPU, torch multiplies float32 matrices with MKL, which uses only AVX2 on AMD processors with AVX-512, at half the
speed. oneDNN, which torch uses for convolutions, makes use of AVX-512. They sum in different orders, so results differ
by float32 rounding. Besides, malloc returns large blocks to the system, which has to zero their pages when they are
requested again. Together, both changes make training 1.7 times as fast (docs/performance.md).

The environment variable AEGEN_BENCH_TUNING=off turns both off.
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
WORTH = 2**16  # number of weights above which a product gains more than its call costs


def _on() -> bool:
    return os.environ.get("AEGEN_BENCH_TUNING", "on") != "off"


@functools.cache
def library(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the library for float32 matrix products on this CPU.

    It is 'oneDNN' on an AMD processor with AVX-512 under Linux, if torch has the operator; otherwise 'BLAS', the one
    that torch was built with.
    """
    try:
        amd = "AuthenticAMD" in cpuinfo.read_text()
    except OSError:
        amd = False
    faster = _on() and amd and torch.backends.cpu.get_cpu_capability() == "AVX512" and _works()
    return "oneDNN" if faster else "BLAS"


def _works() -> bool:
    """Whether the operator, which torch does not document, exists and gives the expected result."""
    with torch.device("cpu"):  # the first caller may be counting FLOPs on the device `meta`
        x, weight, bias = torch.ones(2, 3), torch.eye(4, 3), torch.arange(4.0)
    try:
        return torch.equal(_multiply(x, weight, bias), functional.linear(x, weight, bias))
    except (AttributeError, RuntimeError):
        return False


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether `product` applies: float32 on a CPU, x [n, in], and enough weights [out, in]."""
    fits = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.ndim == 2 and len(x) > 0
    return fits and weight.numel() >= WORTH


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, by whichever of the two libraries is faster here."""
    multiply = product if library() == "oneDNN" and pays(x, weight) else functional.linear
    return multiply(x, weight, bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias, [n, out], by oneDNN: x [n, in], weight [out, in], bias [out], float32 on a CPU."""
    result: Tensor = _Product.apply(x, weight, bias)
    return result


class _Product(torch.autograd.Function):
    """The gradients are products themselves, so second-order gradients work as well."""

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
    # torch.compile must not see the operator: it assumes that this one's weights never change.
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
    """A linear layer that uses oneDNN for inputs that are float32, on the CPU and large enough."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x weight^T + bias, [n, out], for x [n, in]."""
        if pays(x, self.weight) and not torch.is_autocast_enabled("cpu"):
            return product(x, self.weight, self.bias)
        return super().forward(x)


def quickened(module: M) -> M:
    """Make the linear layers of `module` use the faster library on this processor, and return it."""
    if library() == "oneDNN":
        for layer in module.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = Linear
    return module


# ---- memory --------------------------------------------------------------------------------------


@contextlib.contextmanager
def keeping_memory() -> Iterator[None]:
    """Context in which freed memory stays with the process for the next tensor (only with glibc's malloc, on Linux).

    On exit it is returned, and so is GPU memory kept by torch, so that trials sharing the GPU see what is free. By
    default malloc returns large blocks to the system, which zeroes their pages when they are requested again: 50 MB per
    step of a VAE at 28 px, 430 MB at 64 px, a fifth of the time.
    """
    _malloc(mmap=2**30, trim=2**31 - 1)
    try:
        yield
    finally:
        _malloc(mmap=2**25, trim=2**26)  # the upper limits of malloc's dynamic thresholds, which setting them disables
        with contextlib.suppress(RuntimeError):  # after a failed kernel, every call of the device fails
            torch.cuda.empty_cache()  # does nothing if CUDA was never used


def _malloc(*, mmap: int, trim: int) -> None:
    """Set glibc's thresholds in bytes, and return free memory to the system. Does nothing without glibc.

    When freed, blocks larger than `mmap`, and free memory above `trim` at the end of the heap, go back to the system.
    """
    import ctypes

    if not _on():
        return
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, mmap)
        libc.mallopt(M_TRIM_THRESHOLD, trim)
        libc.malloc_trim(0)
