"""Checkpoints in the folder of a trial, written atomically; the last two are kept (docs/results-format.md).

A file consists of the sha256 of the rest and a dictionary written by `torch.save`, which is read as plain data: nothing
in it is executed. Planning looks for checkpoints, so torch is only imported where it is used.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegen_bench.errors import UserError
from aegen_bench.files import read_bytes, write_bytes
from aegen_bench.training.stopping import Interrupts

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Checkpoints", "model_state", "paths", "restore_model"]

KEPT = 2
LARGEST = 1 << 38  # bytes
MOST_THREADS = 4096
ENTRIES = {"identity": dict, "stage": int, "epoch": int, "step": int, "threads": int, "model": dict, "history": dict}
"""Entries that a state must have, with their types, to be considered at all."""


@dataclass(frozen=True)
class Checkpoints:
    """Where, when and under which identity training is saved. Without a folder nothing is written.

    `identity` has what must be equal for another process to continue: key, versions, data, kind of device and
    everything else that affects rounding. `note` shows a message to the user.
    """

    folder: Path | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    interrupts: Interrupts = field(default_factory=Interrupts)
    note: Callable[[str], None] = print

    def read(self) -> dict[str, Any] | None:
        """Return the newest intact state, or None if there is none or its identity differs."""
        for path in reversed(paths(self.folder)) if self.folder else ():
            state = _unpacked(path)
            if state is None:
                self.note(f"{path} is not used, because it cannot be read")
                continue
            theirs = state["identity"]
            if not (other := [name for name in self.identity if theirs.get(name) != self.identity[name]]):
                return state
            self.note(f"{path} is not used, because it was made with another {', '.join(other)}")
            return None
        return None

    def save(self, state: dict[str, Any], *, spent: float, where: str) -> None:
        """Write `state`, then raise `Stopped` or `TimedOut` if `interrupts` say so.

        `spent` is the trial's training time so far in seconds. Failing to write is only a warning, since training can
        go on without checkpoints.
        """
        import torch

        if self.folder:
            before = paths(self.folder)
            number = 1 + (_number(before[-1]) if before else 0)
            packed = io.BytesIO()
            torch.save(state | {"identity": dict(self.identity), "threads": torch.get_num_threads()}, packed)
            data = packed.getvalue()
            try:
                write_bytes(self.folder / f"checkpoint-{number}.pt", hashlib.sha256(data).digest() + data)
                for path in before[: 1 - KEPT]:
                    path.unlink(missing_ok=True)
            except (UserError, OSError) as error:
                self.note(f"warning: no checkpoint: {error}")
        self.interrupts.go_on(spent, where)

    def clear(self) -> None:
        """Remove the checkpoints, including unfinished files of killed processes."""
        if self.folder:
            for path in [*paths(self.folder), *self.folder.glob(".checkpoint-*.tmp")]:
                path.unlink(missing_ok=True)


def paths(folder: Path) -> list[Path]:
    """Return the checkpoints in a trial's folder, oldest first."""
    found = [path for path in folder.glob("checkpoint-*.pt") if path.stem.partition("-")[2].isdecimal()]
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def _unpacked(path: Path) -> dict[str, Any] | None:
    import torch

    try:
        content = read_bytes(path, LARGEST)
    except OSError:
        return None
    digest, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != digest:
        return None
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # intact, but written by an incompatible torch, or made up
        return None
    good = isinstance(state, dict) and all(isinstance(state.get(name), kind) for name, kind in ENTRIES.items())
    return state if good and 0 < state["threads"] <= MOST_THREADS else None


def model_state(model: nn.Module) -> dict[str, Any]:
    """Return all that a step may change in a module: parameters, buffers (also non-persistent ones), modes."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "tensors": {name: value.detach() for name, value in tensors.items()},
        "training": {name: module.training for name, module in model.named_modules()},
        "trained": {name: value.requires_grad for name, value in model.named_parameters()},
        "progress": getattr(model, "_progress", 0.0),
    }


def restore_model(model: nn.Module, state: dict[str, Any]) -> None:
    """Restore a module in place to what `model_state` returned."""
    import torch

    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            value.copy_(state["tensors"][name])
    for name, module in model.named_modules():
        module.training = state["training"][name]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(state["trained"][name])
    model.progress = state["progress"]
