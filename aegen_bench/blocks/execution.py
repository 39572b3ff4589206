"""How a network's forward pass runs: by which products, under autocast, compiled. None changes what the network is.

Each makes the class of a module a subclass of the same name with other forward passes: parameters, buffers and their
names stay. A subclass and not patched instances, because a deep copy (an EMA of the decoder) must run its own
weights.
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
    """Run its forward passes in bfloat16 where that is safe; weights and outputs are float32."""
    return _wrapped(module, _in_bf16)


def compiled(module: M) -> M:
    """Compile its forward passes, and so their backward passes, for training steps: in train mode with gradients.

    All else (evaluation, sampling, extraction, probes, hooks) runs as if it were not compiled. Batches of a stage are
    of one size, so each network is compiled once a stage and optimizer. Gradients of gradients are an error.
    """
    return _wrapped(module, _compiled)


def _wrapped(module: M, wrap: Callable[[Call], Call]) -> M:
    kind: Any = type(module)
    module.__class__ = _subclass(kind, wrap)
    return module


@functools.cache  # equal networks are of one class, so what was compiled for one serves all
def _subclass(kind: Any, wrap: Callable[[Call], Call]) -> Any:
    return type(kind.__name__, (kind,), {name: wrap(getattr(kind, name)) for name in FORWARDS if hasattr(kind, name)})


def _in_bf16(call: Call) -> Call:
    @functools.wraps(call)
    def run(module: nn.Module, x: Tensor, *rest: Any) -> Tensor:
        with in_bf16(x.device.type):
            return call(module, x, *rest).float()  # type: ignore[no-any-return]

    return run


def in_bf16(device_type: str) -> contextlib.AbstractContextManager[Any]:
    """Autocast to bfloat16. On `meta`, where FLOPs are counted, there is none, and none is needed."""
    return contextlib.nullcontext() if device_type == "meta" else torch.autocast(device_type, dtype=torch.bfloat16)


def _compiled(call: Call) -> Call:
    fast = functools.cache(functools.partial(compile_for, call))

    @functools.wraps(call)
    def run(module: nn.Module, x: Tensor, *rest: Any) -> Any:
        training = module.training and torch.is_grad_enabled()
        return (fast(x.device.type) if training else call)(module, x, *rest)

    return run


def forget_compiled(networks: str) -> None:
    """Drop what was compiled, with its CUDA graphs, unless it was for networks that this text describes, too."""
    if _COMPILED_FOR[0] != networks:
        torch.compiler.reset()
        _COMPILED_FOR[0] = networks


def compile_for(call: Call, device_type: str) -> Call:
    """Compile a function of tensors for a device. On CUDA also as a CUDA graph: the kernels of a small network take
    less time than their launch.
    """
    return torch.compile(call, mode="reduce-overhead" if device_type == "cuda" else None, dynamic=False)


@contextlib.contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Within, CUDA devices may round the factors of float32 products and convolutions to TF32, or may not.

    The flags are the process's and a backward pass reads them when it runs: so this goes around whole steps.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = on
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
