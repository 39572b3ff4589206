"""Training steps as CUDA graphs: a step is captured once and then replayed, with all of its kernels in one launch.

A step of a small network consists of some hundred kernels that run faster than they can be launched. A replay runs the
same kernels on the same memory in the same order, so its results are bit-identical to those of an ordinary step, and
methods need no change. A capture fixes what Python does in one step, so a stage whose steps differ, or that
synchronise with the device, is not captured, and a note says why.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aegen_bench.baseline import Baseline
from aegen_bench.training.history import Meter
from aegen_bench.training.optimizers import Optimizers

__all__ = ["WARM_UP", "Operations", "StepGraph"]

WARM_UP = 3  # ordinary steps before capture: the first fills caches and optimizer state, the others are compared
PLAIN = (bool, int, float, str, type(None))
Step = Callable[[Tensor, Tensor], None]


class StepGraph:
    """Runs the steps of one stage in place of `step(rows, index)`.

    The first steps run normally. Then one is captured, and replayed from then on. It is captured again when a learning
    rate changes, which is a Python number, and when a hook has changed something that a replay would miss.

    Tensors that outlive a step must keep their memory: parameters, buffers, optimizer state and the sums of the meter
    are only changed in place. `random` is the generator of the stage, which is reseeded for each epoch. `note` receives
    the reason if a stage is not captured.
    """

    def __init__(
        self,
        step: Step,
        model: Baseline,
        optimizers: Optimizers,
        meter: Meter,
        random: torch.Generator,
        note: Callable[[str], None],
    ) -> None:
        self._step, self._model, self._optimizers = step, model, optimizers
        self._meter, self._random, self._note = meter, random, note
        # The default stream cannot be captured.
        self._aside = torch.cuda.Stream(random.device)  # type: ignore[no-untyped-call]
        self._taken, self._off = 0, False
        self._seen: list[Any] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._rates: list[float] = []  # captured with the graph: learning rates,
        self._captured_of: list[Any] = []  # the state of the model,
        self._counts: dict[str, float] = {}  # and the weights that a step adds to the meter

    @property
    def captured(self) -> bool:
        """Whether steps are replayed at present."""
        return self._graph is not None

    def begin_epoch(self) -> None:
        """Call after hooks have run. A replay sees what they changed in place; after any other change, capture anew."""
        if self._graph and self._captured_of != _of(self._model):
            self._graph = None

    def __call__(self, rows: Tensor, index: Tensor) -> None:
        if not self._off and self._taken >= WARM_UP:
            self._replay(rows, index)
        elif self._off:
            self._step(rows, index)
        else:
            self._taken += 1
            with self._on_the_side():
                self._warm_up(rows, index)

    def _warm_up(self, rows: Tensor, index: Tensor) -> None:
        """Run an ordinary step and find out whether it can be captured."""
        if self._taken == 1:
            self._step(rows, index)
            return
        self._model.progress_was_read = False
        with Operations(rows.device) as operations, _waits() as waits:
            self._step(rows, index)
        before, self._seen = self._seen, operations.done
        if waits:
            self._give_up("it waits for the device")
        elif self._model.progress_was_read:
            self._give_up("it reads `progress`, a number that changes from step to step")
        elif operations.elsewhere:
            self._give_up(f"it computes on another device ({operations.elsewhere})")
        elif before is not None and before != operations.done:
            self._give_up("its operations differ from step to step")

    def _replay(self, rows: Tensor, index: Tensor) -> None:
        if self._graph and self._rates != self._optimizers.rates:
            self._graph = None
        if self._graph is None:
            self._rows, self._index = rows.clone(), index.clone()  # replays read their batch from these
            self._capture()
        if self._graph is None:
            self._step(rows, index)
            return
        self._rows.copy_(rows)
        self._index.copy_(index)
        self._graph.replay()
        self._meter.count(self._counts)

    def _capture(self) -> None:
        """Capture a step, which computes nothing. A failure leaves everything as it was for the next step."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._random)
        unharmed, modes = self._random.clone_state(), [(part, part.training) for part in self._model.modules()]
        self._model.progress_was_read = False
        try:
            # The first context restores the stream, which the last one does not do if the capture fails.
            with (
                self._on_the_side(),
                self._meter.without_effect() as counts,
                torch.cuda.graph(graph, stream=self._aside),
            ):
                self._step(self._rows, self._index)
        except Exception as error:  # an operation that cannot be captured, no memory, or an error of the method
            self._random.graphsafe_set_state(unharmed)
            for part, training in modes:
                part.training = training
            self._give_up(_cause(error))
            return
        if self._model.progress_was_read:
            self._give_up("it reads `progress`, a number that changes from step to step")
        elif not self._meter.knows(counts):
            self._give_up("what it logs differs from step to step")
        else:
            self._graph, self._counts = graph, counts
            self._rates, self._captured_of = self._optimizers.rates, _of(self._model)

    def _give_up(self, why: str) -> None:
        if not self._off:
            self._note(f"its steps are not captured as a CUDA graph: {why}")
        self._off, self._graph, self._seen = True, None, None

    @contextlib.contextmanager
    def _on_the_side(self) -> Iterator[None]:
        """Context that queues work on the stream of the capture, after earlier and before later work.

        Warm-up steps need it as well, because autograd accumulates gradients on the stream that first used a parameter.
        """
        usual = torch.cuda.current_stream(self._random.device)
        self._aside.wait_stream(usual)
        try:
            with torch.cuda.stream(self._aside):
                yield
        finally:
            usual.wait_stream(self._aside)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations: their names, the shapes of tensors and all Python numbers.

    Two steps with equal records differ only in the values of tensors, so either can be replayed for the other.
    `elsewhere` is the first operation on another device than `device`, which a graph would not include.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device, self.elsewhere = device, ""
        self.done: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs or {}))
        if not func.name().startswith("profiler::"):
            self.done.append((func.name(), *map(_noted, leaves)))
        tensors = [x for x in (*leaves, *tree_leaves(out)) if isinstance(x, Tensor)]
        if not self.elsewhere and any(x.device != self._device for x in tensors):
            self.elsewhere = func.name()
        return out


def _noted(x: Any) -> Any:
    if isinstance(x, Tensor):
        return tuple(x.shape), x.dtype
    return "generator" if isinstance(x, torch._C.Generator) else repr(x)


def _cause(error: BaseException) -> str:
    """The first in a chain of errors; the one raised at the end of a failed capture is uninformative."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextlib.contextmanager
def _waits() -> Iterator[list[str]]:
    """Context that collects operations for which the host waits for the device."""
    found: list[str] = []
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for warning in caught:
        if "synchronizing CUDA operation" in str(warning.message):
            found.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _of(model: Baseline) -> list[Any]:
    """The state of a model that a capture fixes: addresses of tensors, which of them are trained, and the Python values
    of all modules, such as their modes.
    """
    tensors = [(t.data_ptr(), t.requires_grad) for t in (*model.parameters(), *model.buffers())]
    passing = ("_progress", "progress_was_read")
    plain = [
        (name, value)
        for part in model.modules()
        for name, value in vars(part).items()
        if type(value) in PLAIN and name not in passing
    ]
    return [tensors, plain]
