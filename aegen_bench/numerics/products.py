"""float32 matrix products by oneDNN, for processors where torch's own choice is the slower one.

torch multiplies float32 matrices on a CPU by MKL, which on an AMD processor keeps to AVX2 where the processor has
AVX-512: half of the rate. oneDNN, which does torch's convolutions, takes what the processor has. Each sums in an order
of its own, so their results differ by float32 rounding.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["library", "linear", "pays", "product"]

WORTH = 2**16  # weights from which on a product gains more than its call costs


@functools.cache
def library(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Which of the two multiplies float32 matrices on this machine's CPU: 'oneDNN' where it is an AMD processor with
    AVX-512, as Linux tells, and torch has the operator; else 'BLAS', that which torch was built with.
    """
    try:
        amd = "AuthenticAMD" in cpuinfo.read_text()
    except OSError:
        amd = False
    faster = amd and torch.backends.cpu.get_cpu_capability() == "AVX512" and _works()
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
