"""Locks under RESULTS/.locks: one file for each thing that only one process at a time may do.

The operating system releases a lock when its process dies, so dead processes block nobody. The note next to a lock
names its holder (host, pid, start) and its progress. A note next to a free lock was left by a process that was killed.
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
LONGEST = 3 * 24 * 3600.0  # seconds to wait at most
SILENT = 600.0  # seconds without an update after which a holder may be dead; updates come every few seconds
PATIENCE = 1.0  # seconds: short, but longer than `held` takes to test a lock


def lock_path(results: Path, *names: str) -> Path:
    """Return the path of a lock in a results folder. The names of a trial are profile, dataset, row, seed-K."""
    return Path(results, FOLDER, *names[:-1], f"{names[-1]}.lock")


@dataclass
class Claim:
    """A lock held by this process, and its note."""

    note: Path
    facts: dict[str, Any] = field(default_factory=lambda: {"host": HOST, "pid": os.getpid(), "start": time.time()})

    def tell(self, **facts: Any) -> None:
        """Update the note with the progress of the work. Failing to write it is ignored."""
        self.facts |= facts
        with contextlib.suppress(UserError):
            write_json(self.note, self.facts, durable=False)


@contextlib.contextmanager
def claim(path: Path, *, patience: float = PATIENCE, **facts: Any) -> Iterator[Claim | None]:
    """Hold the lock `path`, with `facts` in its note. Yields None if another process still holds it after `patience`
    seconds.
    """
    held = lock(path, patience)
    if held is None:
        yield None
        return
    try:
        mine = Claim(_note(path))
        mine.tell(deaths=deaths(path), **facts)
        try:
            yield mine
        finally:
            mine.note.unlink(missing_ok=True)
    finally:
        held.release()


@contextlib.contextmanager
def wait_for(path: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock `path` of `what`. If it has to wait, `say` is called once with what it waits for."""
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(claim(path))
        if mine is None:
            say(f"waiting for {what}, held by {holder(path)}")
            mine = stack.enter_context(claim(path, patience=LONGEST))
        if mine is None:
            raise UserError(f"{holder(path)} has held {what} for {LONGEST / 3600:.0f} hours: end it, or delete {path}")
        yield


class _Note(BaseModel):
    """The content of a note: who holds the lock, and the facts of `progress.facts`."""

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
    """Return the note next to a lock; empty if there is no readable one."""
    try:
        return _Note.model_validate(read_json(_note(path), LARGEST_NOTE)).model_dump()
    except (OSError, ValueError):
        return {}


def abandoned(path: Path) -> bool:
    """Whether the process that held this lock is dead; False if the file system cannot tell."""
    try:
        return _note(path).is_file() and not taken(path)
    except UserError:
        return False


def deaths(path: Path) -> int:
    """Return how many processes in a row have died while holding this lock, which is free now."""
    if not (note := whose(path)):
        return 0
    return 1 + int(note["deaths"])


def held(results: Path, *, sure: bool = False) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the names and the note of every lock that a living process holds.

    This tests the locks themselves, because notes may be missing (on a full disk) or damaged. Locks that cannot be
    tested are left out; with `sure`, they raise UserError.
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
    """Return the holder in a note: 'process 4711 on mars'."""
    return f"process {note['pid']} on {note['host']}" if note else "another process"


def holder(path: Path) -> str:
    """Return the process that holds a lock. If it is on another host and has been silent for long, add what to do if it
    is dead, because on some network file systems its lock survives it.
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
    """Whether a living process holds the lock; UserError if the file system cannot tell."""
    held = lock(path, 0.0)
    if held is None:
        return True
    held.release()
    return False
