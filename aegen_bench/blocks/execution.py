"""How a network's forward pass runs: under autocast, and compiled in training steps. Neither changes what it is.

Both make the module's class a subclass of the same name, whose forward passes are wrapped: parameters, buffers and
their names stay. A subclass and not patched instances, because a deep copy (an EMA of the decoder) must run its own
weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["autocast", "compiled"]

FORWARDS = ("forward", "features")
M = TypeVar("M", bound=nn.Module)
Call = Callable[..., Any]


def autocast(module: M) -> M:
    """Run its forward passes in bfloat16 where that is safe; weights and outputs are float32."""
    return _wrapped(module, _in_bf16)


def compiled(module: M) -> M:
    """Compile its forward passes, and so their backward passes, for training steps: in train mode with gradients.

    All else (evaluation, sampling, extraction, probes, hooks) runs as if it were not compiled. Batches of a stage are
    of one size, so each network is compiled once a stage and optimizer. Gradients of gradients are an error.
    """
    return _wrapped(module, _compiled)


def _wrapped(module: M, wrap: Callable[[Call], Call]) -> M:
    kind = type(module)
    wrapped = {name: wrap(getattr(kind, name)) for name in FORWARDS if hasattr(kind, name)}
    module.__class__ = type(kind.__name__, (kind,), wrapped)
    return module


def _in_bf16(call: Call) -> Call:
    @functools.wraps(call)
    def run(module: nn.Module, x: Tensor, *rest: Any) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return call(module, x, *rest).float()  # type: ignore[no-any-return]

    return run


def _compiled(call: Call) -> Call:
    @functools.cache
    def fast(device_type: str) -> Call:
        # On CUDA also a CUDA graph: the kernels of a small network take less time than their launch.
        return torch.compile(call, mode="reduce-overhead" if device_type == "cuda" else None, dynamic=False)

    @functools.wraps(call)
    def run(module: nn.Module, x: Tensor, *rest: Any) -> Any:
        training = module.training and torch.is_grad_enabled()
        return (fast(x.device.type) if training else call)(module, x, *rest)

    return run
