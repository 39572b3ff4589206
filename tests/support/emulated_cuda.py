"""A CUDA device emulated in CPU memory, for machines without one. Its numbers are real; its speed means nothing.

Within `emulated_cuda()`, some storages count as being on the device, and `tensor.device` says so. What a real device
refuses raises an error here, too: operations on tensors of two devices, a generator of the other device, numpy on
device memory. Operations that make the host wait for the device are counted, and they warn or raise as
`torch.cuda.set_sync_debug_mode` says. `torch.cuda.CUDAGraph` is replaced by a class that records the operations of a
capture without any effect on memory, and repeats exactly these on replay, with the same Python numbers.

Not emulated: kernels, streams that run concurrently, memory that a graph reuses, rounding that differs from a CPU's.
"""

from __future__ import annotations

import contextlib
import sys
import types
import warnings
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

__all__ = ["DEVICE", "Device", "Graph", "Misplaced", "emulated_cuda"]

DEVICE = torch.device("cuda", 0)
ROOT = str(Path(__file__).parents[2])
# In addition to the operations that torch tags as depending on values; copies and indexing are checked separately.
WAITING = {"aten::equal", "aten::bincount", "aten::multinomial", "aten::_linalg_check_errors", "aten::_linalg_eigh"}
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
DEPENDS_ON_VALUES = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Misplaced(RuntimeError):
    """Raised for what a real device refuses because a tensor or generator is on another device."""


class Device:
    """The state of the emulated device. `waits` counts how often the host waited, by operation and place in code."""

    def __init__(self, free: int) -> None:
        self.free, self.mode = free, 0
        self.waits: Counter[tuple[str, str]] = Counter()
        self.capture: Graph | None = None
        self.names_device = False  # whether the current call creates its results on the device
        self._storages: dict[int, StorageWeakRef] = {}
        self._pinned: dict[int, StorageWeakRef] = {}

    def has(self, tensor: Tensor) -> bool:
        with torch._C.DisableTorchFunction():
            return not tensor.is_meta and tensor.untyped_storage()._cdata in self._storages

    def place(self, value: Any) -> Any:
        """Make the tensors in `value` count as being on the device, and return `value`."""
        for tensor in tree_leaves(value):
            if isinstance(tensor, Tensor) and not tensor.is_meta:
                _register(self._storages, tensor)
        return value

    def pin(self, tensor: Tensor) -> Tensor:
        _register(self._pinned, tensor)
        return tensor

    def pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._pinned

    def storages(self) -> list[torch.UntypedStorage]:
        """Return all storages on the device that still exist."""
        found = (torch.UntypedStorage._new_with_weak_ptr(ref.cdata) for ref in self._storages.values())
        return [storage for storage in found if storage is not None]

    def wait(self, what: str) -> None:
        """Count that the host waits for the device; warn or raise if the debug mode or a capture requires it."""
        self.waits[what, _caller()] += 1
        if self.capture:
            self.capture.broken = True
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing: {what}")
        if self.mode == 1:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)
        if self.mode == 2:
            raise RuntimeError(f"called a synchronizing CUDA operation: {what} at {_caller()}")

    def require_generator(self, generator: Any, on_device: bool) -> None:
        if generator is None:
            if on_device:
                raise Misplaced(f"a random number of the device's global stream at {_caller()}")
            return
        generator = Generator.made.get(generator._cdata, generator)
        if (generator.device.type == "cuda") is not on_device:
            raise Misplaced(f"Expected a {'cuda' if on_device else 'cpu'} generator, found the other at {_caller()}")
        if getattr(generator, "stuck", False):
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
        if on_device and self.capture and generator not in self.capture.generators:
            self.capture.broken = True
            raise RuntimeError("a generator that is not registered with the graph cannot be captured")


def _register(where: dict[int, StorageWeakRef], tensor: Tensor) -> None:
    storage = tensor.untyped_storage()
    if storage._cdata not in where:
        where[storage._cdata] = StorageWeakRef(storage)  # while this is held, nothing else gets its address
        if len(where) % 4096 == 0:
            for key in [key for key, ref in where.items() if ref.expired()]:
                del where[key]


@contextlib.contextmanager
def _plain() -> Iterator[None]:
    """Context in which torch does not know the emulated device."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def _caller() -> str:
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if (path := frame.f_code.co_filename).startswith(ROOT) and path != __file__:
            return f"{path.removeprefix(ROOT)}:{frame.f_lineno}"
    return "a backward pass"


def tree_leaves(value: Any) -> list[Any]:
    """Return the leaves of nested tuples, lists and dictionaries, like torch's function of this name, but faster."""
    found: list[Any] = []
    _collect((value,), found)
    return found


def _collect(parts: Iterable[Any], found: list[Any]) -> None:
    for part in parts:
        if isinstance(part, Tensor):
            found.append(part)
        elif isinstance(part, tuple | list):
            _collect(part, found)
        elif isinstance(part, dict):
            _collect(part.values(), found)
        else:
            found.append(part)


class Generator(torch._C.Generator):
    """Replaces torch.Generator: generators of the device yield the same numbers as those of the CPU."""

    # By address, because operations receive another object for the same generator.
    made: ClassVar[weakref.WeakValueDictionary[int, Generator]] = weakref.WeakValueDictionary()

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls, device="cpu")  # type: ignore[call-arg]
        made.place = DEVICE if torch.device(device).type == "cuda" else torch.device(device)
        made.stuck = False  # true after a failed capture, as with a real generator
        cls.made[made._cdata] = made
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place  # type: ignore[no-any-return]

    def clone_state(self) -> Generator:
        return Generator(self.device).set_state(self.get_state())  # type: ignore[return-value]

    def graphsafe_set_state(self, state: Any) -> Generator:
        self.stuck = False
        return self.set_state(state.get_state())  # type: ignore[return-value]


class Graph:
    """Replaces torch.cuda.CUDAGraph."""

    device: Device  # set by `emulated_cuda`

    def __init__(self) -> None:
        self.generators: list[Generator] = []
        self.recorded: list[tuple[Any, Any, Any, Any]] = []
        self.broken, self.ended = False, False
        self.replays = 0

    def register_generator_state(self, generator: Generator) -> None:
        self.generators.append(generator)

    def capture_begin(self, **_: Any) -> None:
        with _plain():
            self._memory = [(storage, storage.clone()) for storage in self.device.storages()]
        self._states = [generator.get_state() for generator in self.generators]
        self.device.capture = self

    def capture_end(self) -> None:
        self.device.capture = None
        with _plain():
            for storage, before in self._memory:  # a capture computes nothing
                storage.copy_(before)
        for generator, state in zip(self.generators, self._states, strict=True):
            generator.set_state(state)
            generator.stuck = self.broken
        if self.broken:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self.ended = True

    def replay(self) -> None:
        if not self.ended:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        self.replays += 1
        with _plain(), torch.no_grad():
            for func, args, kwargs, out in self.recorded:
                returns = func._schema.returns
                is_view = any(r.alias_info and not r.alias_info.is_write for r in returns)
                if is_view or "empty" in func._schema.name:
                    continue  # it uses the same memory as before
                new = func(*args, **kwargs)
                if returns and not any(r.alias_info for r in returns):
                    for old, value in zip(tree_leaves(out), tree_leaves(new), strict=True):
                        if isinstance(old, Tensor):
                            old.detach().copy_(value)

    def reset(self) -> None:
        self.recorded, self.ended = [], False


class Stream:
    """Replaces torch.cuda.Stream; everything happens in order anyway."""

    def __init__(self, device: Any = None) -> None:
        pass

    def wait_stream(self, other: Stream) -> None:
        pass


class _Operations(TorchDispatchMode):
    """Checks every operation, also in backward passes: where its tensors are, and whether it makes the host wait."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.gpu = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        if any(t.is_meta for t in tensors):
            return func(*args, **kwargs)
        there = [self.gpu.has(t) for t in tensors]
        on_device = any(there) or (not tensors and self.gpu.names_device)
        if any(there) and func._schema.name != "aten::_has_compatible_shallow_copy_type":  # called when modules move
            self._look(func, args, kwargs, tensors, there)
        if on_device and self._random(func):
            self.gpu.require_generator(next((x for x in leaves if isinstance(x, torch._C.Generator)), None), True)
        out = func(*args, **kwargs)
        if on_device:
            self.gpu.place(out)
            if self.gpu.capture:
                self.gpu.capture.recorded.append((func, args, kwargs, out))
        return out

    @staticmethod
    def _random(func: Any) -> bool:
        return torch.Tag.nondeterministic_seeded in func.tags and "dropout" not in func._schema.name

    def _look(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor], there: list[bool]) -> None:
        name = func._schema.name
        if not all(there):
            elsewhere = [t for t, here in zip(tensors, there, strict=True) if not here]
            if name == "aten::copy_":
                asynchronous = (len(args) > 2 and args[2]) or kwargs.get("non_blocking")
                if not (asynchronous and self.gpu.pinned(elsewhere[0])):
                    self.gpu.wait("a copy between host and device")
            elif name in INDEXING and there[0]:
                self.gpu.wait("an index on the host")
            elif any(t.dim() for t in elsewhere):
                sizes = [(tuple(t.shape), "cuda" if here else "cpu") for t, here in zip(tensors, there, strict=True)]
                raise Misplaced(f"Expected all tensors to be on the same device: {name} of {sizes} at {_caller()}")
        if name in WAITING or (name not in INDEXING and DEPENDS_ON_VALUES & set(func.tags)):
            self.gpu.wait(name)
        if name in INDEXING and any(t is not None and t.dtype == torch.bool for t in args[1]):
            self.gpu.wait("an index of booleans")


class _Calls(TorchFunctionMode):
    """Redirects calls that create tensors on the device to the CPU, and makes the results count as on the device."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.gpu = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        before = self.gpu.names_device
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        self.gpu.names_device = any(map(self.gpu.has, tensors)) or (before and not tensors)
        try:
            return self._called(func, args, kwargs)
        finally:
            self.gpu.names_device = before

    def _called(self, func: Any, args: Any, kwargs: Any) -> Any:
        gpu = self.gpu
        if func is torch._C._nn.one_hot and gpu.names_device:  # on a CPU, it reads the values
            x, classes = args
            return torch.zeros(*x.shape, classes, dtype=x.dtype).scatter_(-1, x[..., None], 1)
        pin = kwargs.pop("pin_memory", False)
        if kwargs.get("device") is None:
            if not gpu.names_device and isinstance(kwargs.get("generator"), Generator):
                gpu.require_generator(kwargs["generator"], False)
            out = func(*args, **kwargs)
            return gpu.pin(out) if pin else out
        asked = torch.device(kwargs["device"]).type
        gpu.names_device = asked == "cuda"
        if "generator" in kwargs and asked != "meta":
            gpu.require_generator(kwargs["generator"], gpu.names_device)
        if not gpu.names_device:
            return func(*args, **kwargs)
        kwargs["device"] = "cpu"
        if func in (torch.tensor, torch.as_tensor):
            gpu.wait("a tensor of Python numbers")
            return gpu.place(func(*args, **kwargs).clone())
        return gpu.place(func(*args, **kwargs))


def _methods(gpu: Device) -> dict[str, Any]:
    """Return replacements for the methods of torch.Tensor that name its device, move it, or read it on the host."""
    base = torch._C.TensorBase

    def to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        device, options = kwargs.pop("device", None), dict(kwargs)
        for name, given in zip(("non_blocking", "copy"), [a for a in args if isinstance(a, bool)], strict=False):
            options[name] = given
        for a in args:
            if isinstance(a, torch.dtype):
                options["dtype"] = a
            elif isinstance(a, Tensor):
                device, options["dtype"] = a.device, a.dtype
            elif isinstance(a, str | torch.device) or (isinstance(a, int) and not isinstance(a, bool)):
                device = a
        return moved(x, device, options)

    def moved(x: Tensor, device: Any, options: dict[str, Any]) -> Tensor:
        kind = None if device is None else torch.device(device).type
        if x.is_meta or kind == "meta":
            return base.to(x, **({} if kind is None else {"device": kind.replace("cuda", "cpu")}), **options)
        asynchronous = options.pop("non_blocking", False)
        was, will = gpu.has(x), gpu.has(x) if kind is None else kind == "cuda"
        out = base.to(x, **options) if options else x
        if will is was:
            return out
        if not (asynchronous and gpu.pinned(x)):
            gpu.wait("a copy between host and device")
        with _plain():
            out = out.clone()
        return gpu.place(out) if will else out  # type: ignore[no-any-return]

    def where(x: Tensor) -> torch.device:
        with torch._C.DisableTorchFunction():
            return DEVICE if gpu.has(x) else base.device.__get__(x)  # type: ignore[attr-defined, no-any-return]

    def on_host_only(name: str) -> Any:
        def call(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            if gpu.has(x):
                raise Misplaced(f"can't convert cuda:0 device type tensor to numpy at {_caller()}")
            return original(x, *args, **kwargs)

        original = getattr(torch.Tensor, name)
        return call

    def to_list(x: Tensor) -> Any:
        if gpu.has(x):
            gpu.wait("tolist()")
        return base.tolist(x)

    return {
        "device": property(where),
        "is_cuda": property(gpu.has),
        "is_cpu": property(lambda x: where(x).type == "cpu"),
        "to": to,
        "cpu": lambda x, *_, **__: moved(x, "cpu", {}),
        "cuda": lambda x, device=DEVICE, *_, **__: moved(x, device, {}),
        "numpy": on_host_only("numpy"),
        "__array__": on_host_only("__array__"),
        "tolist": to_list,
    }


@contextlib.contextmanager
def emulated_cuda(free: int = 80 * 10**9, name: str = "Emulated GPU") -> Iterator[Device]:
    """Context in which torch sees one CUDA device, with `free` bytes of free memory."""
    # Import the compiler before functions are replaced below: at its first import, it notes which functions they are.
    import torch._dynamo.variables

    gpu = Device(free)
    streams = [Stream()]

    class Capturing:
        """Replaces torch.cuda.graph. As there, a capture that fails does not restore the stream."""

        def __init__(self, graph: Graph, stream: Stream | None = None, **_: Any) -> None:
            self.graph, self.stream = graph, stream

        def __enter__(self) -> None:
            gpu.wait("torch.cuda.graph")
            streams.append(self.stream or Stream())
            self.graph.capture_begin()

        def __exit__(self, *error: Any) -> None:
            if error[0] is not None:
                self.graph.broken = True
            self.graph.capture_end()
            streams.pop()

    class OnStream:
        def __init__(self, stream: Stream) -> None:
            self.stream = stream

        def __enter__(self) -> None:
            self.depth = len(streams)
            streams.append(self.stream)

        def __exit__(self, *_: Any) -> None:
            del streams[self.depth :]

    real_autocast, real_enabled = torch.autocast, torch.is_autocast_enabled

    class Autocast(real_autocast):  # type: ignore[misc, valid-type]
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    def may_be_captured(optimizer: torch.optim.Optimizer) -> None:
        if gpu.capture and not all(group["capturable"] for group in optimizer.param_groups):
            raise RuntimeError("Attempting CUDA graph capture of step() but param_groups' capturable is False.")

    def set_mode(mode: int | str) -> None:
        gpu.mode = {"default": 0, "warn": 1, "error": 2}.get(mode, mode)  # type: ignore[arg-type, assignment]

    properties = types.SimpleNamespace(
        name=name, total_memory=free, multi_processor_count=1, major=9, minor=0, uuid="GPU-0000"
    )
    patches = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "init": lambda: None,
        "synchronize": lambda device=None: gpu.wait("torch.cuda.synchronize"),
        "mem_get_info": lambda device=None: (gpu.free, gpu.free),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 1,
        "reset_peak_memory_stats": lambda device=None: None,
        "empty_cache": lambda: None,
        "get_device_name": lambda device=None: name,
        "get_device_properties": lambda device=None: properties,
        "set_sync_debug_mode": set_mode,
        "get_sync_debug_mode": lambda: gpu.mode,
        "is_current_stream_capturing": lambda: gpu.capture is not None,
        "CUDAGraph": type("CUDAGraph", (Graph,), {"device": gpu}),
        "graph": Capturing,
        "Stream": Stream,
        "stream": OnStream,
        "current_stream": lambda device=None: streams[-1],
    }
    with contextlib.ExitStack() as stack:
        for attribute, value in patches.items():
            stack.enter_context(mock.patch.object(torch.cuda, attribute, value))
        for attribute, value in _methods(gpu).items():
            stack.enter_context(mock.patch.object(torch.Tensor, attribute, value))
        stack.enter_context(mock.patch.object(torch, "Generator", Generator))
        stack.enter_context(mock.patch.object(torch, "autocast", Autocast))
        stack.enter_context(mock.patch.object(torch, "is_autocast_enabled", lambda kind="cuda": real_enabled("cpu")))
        optimizer: Any = torch.optim.Optimizer
        stack.enter_context(mock.patch.object(optimizer, "_accelerator_graph_capture_health_check", may_be_captured))
        stack.enter_context(_Calls(gpu))
        stack.enter_context(_Operations(gpu))
        yield gpu
