"""How the forward pass of a network runs: under autocast, compiled, with TF32. The network itself stays the same.

Each function replaces the class of a module by a subclass of the same name with a different forward pass; parameters,
buffers and their names stay. It is a subclass rather than a patched instance, because a deep copy (an EMA of the
decoder) must run with its own weights.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["autocast", "compile_for", "compiled", "forget_compiled", "in_bf16", "tf32"]

FORWARDS = ("forward", "features")
_COMPILED_FOR: list[str] = [""]
M = TypeVar("M", bound=nn.Module)
Call = Callable[..., Any]


def autocast(module: M) -> M:
    """Run the forward passes of `module` in bfloat16 where that is safe; weights and outputs stay float32."""
    return _wrapped(module, _in_bf16)


def compiled(module: M) -> M:
    """Compile the forward and backward passes of `module` for training steps, that is, in train mode with gradients.

    Everything else (evaluation, sampling, extraction, probes, hooks) runs uncompiled. All batches of a stage have the
    same size, so each network is compiled once per stage and optimizer. Second-order gradients are an error.
    """
    return _wrapped(module, _compiled)


def _wrapped(module: M, wrap: Callable[[Call], Call]) -> M:
    kind: Any = type(module)
    module.__class__ = _subclass(kind, wrap)
    return module


@functools.cache  # equal networks have the same class, so they share compiled code
def _subclass(kind: Any, wrap: Callable[[Call], Call]) -> Any:
    return type(kind.__name__, (kind,), {name: wrap(getattr(kind, name)) for name in FORWARDS if hasattr(kind, name)})


def _in_bf16(call: Call) -> Call:
    @functools.wraps(call)
    def run(module: nn.Module, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        with in_bf16(x.device.type):
            return call(module, x, *rest, **named).float()  # type: ignore[no-any-return]

    return run


def in_bf16(device_type: str) -> contextlib.AbstractContextManager[Any]:
    """Return a context with autocast to bfloat16; on `meta`, where FLOPs are counted, one that does nothing."""
    return contextlib.nullcontext() if device_type == "meta" else torch.autocast(device_type, dtype=torch.bfloat16)


def _compiled(call: Call) -> Call:
    fast = functools.cache(functools.partial(compile_for, call))

    @functools.wraps(call)
    def run(module: nn.Module, x: Tensor, *rest: Any, **named: Any) -> Any:
        training = module.training and torch.is_grad_enabled()
        return (fast(x.device.type) if training else call)(module, x, *rest, **named)

    return run


def forget_compiled(networks: str) -> None:
    """Drop compiled code and its CUDA graphs, unless the last call had the same description of `networks`."""
    if _COMPILED_FOR[0] != networks:
        torch.compiler.reset()
        _COMPILED_FOR[0] = networks


def compile_for(call: Call, device_type: str) -> Call:
    """Compile a function of tensors for a device; on CUDA as a CUDA graph, since the kernels of a small network run
    faster than they are launched.
    """
    return torch.compile(call, mode="reduce-overhead" if device_type == "cuda" else None, dynamic=False)


@contextlib.contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Context in which CUDA may or may not use TF32 in float32 matrix products and convolutions.

    The flags are global and are read when a backward pass runs, so wrap whole steps.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = on
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
