"""Who works on what: a lock file for each thing that one process at a time may do, under RESULTS/.locks.

The system frees a lock when its process dies, so a dead process blocks nobody. The note beside a lock names its
holder (host, pid, start) and says how far it is; a note beside a free lock was left by a process that was killed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from aegen_bench.errors import UserError
from aegen_bench.files import lock, read_json, write_json

__all__ = [
    "ELSEWHERE",
    "HOST",
    "Claim",
    "abandoned",
    "claim",
    "deaths",
    "describe",
    "held",
    "holder",
    "lock_path",
    "taken",
    "wait_for",
    "whose",
]

ELSEWHERE = "left to another run"
FOLDER = ".locks"
HOST = socket.gethostname()
LARGEST_NOTE = 1 << 16  # bytes
LONGEST = 3 * 24 * 3600.0  # seconds that anything is waited for
SILENT = 600.0  # seconds without a word of a process that tells every few
PATIENCE = 1.0  # seconds: as short as it can be, and longer than `held` holds a lock to try it


def lock_path(results: Path, *names: str) -> Path:
    """Return the lock of something in a results folder: of a trial by its profile, dataset, row, seed-K."""
    return Path(results, FOLDER, *names[:-1], f"{names[-1]}.lock")


@dataclass
class Claim:
    """A lock that this process holds, and the note that says so."""

    note: Path
    facts: dict[str, Any] = field(default_factory=lambda: {"host": HOST, "pid": os.getpid(), "start": time.time()})

    def tell(self, **facts: Any) -> None:
        """Add to the note how far the work is. Costs a small file; a disk that refuses it stops nothing."""
        self.facts |= facts
        with contextlib.suppress(UserError):
            write_json(self.note, self.facts, durable=False)


@contextlib.contextmanager
def claim(path: Path, *, patience: float = PATIENCE, **facts: Any) -> Iterator[Claim | None]:
    """Hold the lock `path` within, with a note of `facts` too; None where another process holds it for `patience`
    seconds more.
    """
    held = lock(path, patience)
    if held is None:
        yield None
        return
    with held:
        mine = Claim(_note(path))
        mine.tell(deaths=deaths(path), **facts)
        try:
            yield mine
        finally:
            mine.note.unlink(missing_ok=True)


@contextlib.contextmanager
def wait_for(path: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock `path` of `what` within. Where it must be waited for, `say` is told once on what and for whom."""
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(claim(path))
        if mine is None:
            say(f"waits for {what}: {holder(path)} has it")
            mine = stack.enter_context(claim(path, patience=LONGEST))
        if mine is None:
            raise UserError(f"{holder(path)} has had {what} for {LONGEST / 3600:.0f} hours: end it, or delete {path}")
        yield


class _Note(BaseModel):
    """What a note may say: who holds the lock, and the figures of `progress.facts`."""

    model_config = ConfigDict(strict=True)

    host: str
    pid: int
    start: float
    run: str = ""
    deaths: int = 0
    stage: str = "begins"
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    rate: float = 0.0
    left: float | None = None
    of: str = ""
    share: float = 0.0


def whose(path: Path) -> dict[str, Any]:
    """Return the note beside a lock; empty where there is none that can be read."""
    try:
        return _Note.model_validate(read_json(_note(path), LARGEST_NOTE)).model_dump()
    except (OSError, ValueError):
        return {}


def abandoned(path: Path) -> bool:
    """Whether the process that held this lock is dead; not where the file system does not tell."""
    try:
        return _note(path).is_file() and not taken(path)
    except UserError:
        return False


def deaths(path: Path) -> int:
    """How many processes in a row have died while they held this lock, which nobody holds now."""
    if not (note := whose(path)):
        return 0
    return 1 + int(note["deaths"])


def held(results: Path, *, sure: bool = False) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the names and the note of every lock that a living process holds. The locks are asked, not the notes: on a
    full disk there is none, and one may be damaged. A lock that cannot be asked is left out; UserError if `sure`.
    """
    root = results / FOLDER
    for path in sorted(root.rglob("*.lock")):
        try:
            if not taken(path):
                continue
        except UserError:
            if sure:
                raise
            continue
        yield path.relative_to(root).with_suffix("").parts, whose(path)


def describe(note: dict[str, Any]) -> str:
    """'process 4711 on mars', the holder that a note names."""
    return f"process {note['pid']} on {note['host']}" if note else "another process"


def holder(path: Path) -> str:
    """The process that holds a lock; of one on another host that has been silent for long, what to do if it is dead: on
    some network file systems its lock outlives it.
    """
    note = whose(path)
    with contextlib.suppress(OSError):
        silent = time.time() - _note(path).stat().st_mtime
        if note and note["host"] != HOST and silent > SILENT:
            return f"{describe(note)} (silent for {silent / 60:,.0f} minutes; if it is dead, delete {path})"
    return describe(note)


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def taken(path: Path) -> bool:
    """Whether a living process holds the lock; UserError where the file system does not tell."""
    held = lock(path, 0.0)
    if held is None:
        return True
    held.release()
    return False
