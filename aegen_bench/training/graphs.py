"""Training steps as CUDA graphs: a step is captured once and then replayed, with all of its kernels in one launch.

A step of a small network is some hundred kernels, each of which takes less time to run than to launch. A replay runs
the same kernels on the same memory in the same order, so its numbers are those of a step that was not captured, to the
bit. A method needs no change for it. What is captured is Python's view of one step; so a stage whose steps differ, or
that waits for the device, is not captured, and its user is told why.
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

WARM_UP = 3  # steps before the capture: the first fills caches and the optimizers' state, the others are compared
PLAIN = (bool, int, float, str, type(None))
Step = Callable[[Tensor, Tensor], None]


class StepGraph:
    """Takes the steps of one stage in the place of `step(rows, index)`.

    The first steps are taken as they are. Then one is captured, and replayed from there on. It is captured anew when a
    learning rate changes, which is a Python number, and when a hook has changed what the step sees of the model.

    All tensors of a step that outlive it must keep their memory: parameters, buffers, the state of the optimizers and
    the sums of the meter are only changed in place. `random` is the one generator of the stage, reseeded each epoch.
    `note` is told why a stage is not captured.
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
        # Nothing can be captured on the default stream.
        self._aside = torch.cuda.Stream(random.device)  # type: ignore[no-untyped-call]
        self._taken, self._off = 0, False
        self._seen: list[Any] | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._rates: list[float] = []  # what the graph holds: learning rates,
        self._captured_of: list[Any] = []  # the model,
        self._counts: dict[str, float] = {}  # and what a step adds to the meter

    @property
    def captured(self) -> bool:
        """Whether steps are replays by now."""
        return self._graph is not None

    def begin_epoch(self) -> None:
        """Hooks have run since the last step: what they changed in place, a replay sees; anything else it would not."""
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
        """Take a step as it is, and find out whether it can be captured."""
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
            self._rows, self._index = rows.clone(), index.clone()  # where a replay finds its batch
            self._capture()
        if self._graph is None:
            self._step(rows, index)
            return
        self._rows.copy_(rows)
        self._index.copy_(index)
        self._graph.replay()
        self._meter.count(self._counts)

    def _capture(self) -> None:
        """Capture a step; nothing is computed. Whatever goes wrong, the next step finds all as it was."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._random)
        unharmed, modes = self._random.clone_state(), [(part, part.training) for part in self._model.modules()]
        self._model.progress_was_read = False
        try:
            # The first context puts the stream back, which the last does not when the capture fails.
            with (
                self._on_the_side(),
                self._meter.without_effect() as counts,
                torch.cuda.graph(graph, stream=self._aside),
            ):
                self._step(self._rows, self._index)
        except Exception as error:  # an operation that cannot be captured, no memory, or an error of a method's own
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
        """Within, work is queued on the stream of the capture, after what came before and before what follows.

        Warm-up steps too: autograd runs what it keeps of a parameter on the stream where it first saw it.
        """
        usual = torch.cuda.current_stream(self._random.device)
        self._aside.wait_stream(usual)
        try:
            with torch.cuda.stream(self._aside):
                yield
        finally:
            usual.wait_stream(self._aside)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations within: their names with the shapes of tensors and every Python number.

    Two steps whose notes are equal differ in nothing but the values of tensors, so a replay of the one is the other.
    `elsewhere` is the first operation that is not on `device`, which no graph would have.
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
    """The first of a chain of errors: that of the end of a failed capture says nothing."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextlib.contextmanager
def _waits() -> Iterator[list[str]]:
    """Within, what makes the host wait for the device is noted."""
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
    """What a captured step holds of a model: where its tensors lie, which are trained, and the plain values of all its
    parts, such as their modes.
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
