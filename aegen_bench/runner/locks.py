"""Who works on what: a lock file for each thing that one process at a time may do, under RESULTS/.locks.

The system frees a lock when its process dies, so a dead process blocks nobody. The note beside a lock names its
holder (host, pid, start) and says how far it is; a note beside a free lock was left by a process that was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aegen_bench.errors import UserError

__all__ = [
    "ELSEWHERE",
    "HOST",
    "Claim",
    "abandoned",
    "claim",
    "deaths",
    "describe",
    "held",
    "lock_path",
    "taken",
    "whose",
]

ELSEWHERE = "left to another run"
FOLDER = ".locks"
HOST = socket.gethostname()
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
        unfinished = self.note.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            try:
                unfinished.write_text(json.dumps(self.facts))
                os.replace(unfinished, self.note)
            finally:
                unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def claim(path: Path, *, patience: float = PATIENCE, **facts: Any) -> Iterator[Claim | None]:
    """Hold the lock `path` within, with a note of `facts` too; None where another process holds it for `patience`
    seconds more (-1: for as long as it takes).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, thread_local=False).acquire(timeout=patience)
    except Timeout:
        yield None
        return
    except OSError as error:
        raise UserError(f"cannot lock {path}: {error.strerror or error}") from error
    with lock:
        mine = Claim(_note(path))
        mine.tell(deaths=deaths(path), **facts)
        try:
            yield mine
        finally:
            mine.note.unlink(missing_ok=True)


def whose(path: Path) -> dict[str, Any]:
    """Return the note beside a lock; empty where there is none."""
    try:
        note: dict[str, Any] = json.loads(_note(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return note


def abandoned(path: Path) -> bool:
    """Whether the process that held this lock is dead."""
    return _note(path).is_file() and not taken(path)


def deaths(path: Path) -> int:
    """How many processes in a row have died while they held this lock, which nobody holds now."""
    if not (note := whose(path)):
        return 0
    before = note.get("deaths", 0)
    return 1 + (before if isinstance(before, int) else 0)


def held(results: Path) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the names and the note of every lock that a living process holds."""
    root = results / FOLDER
    for note in sorted(root.rglob("*.json")):
        path = note.with_suffix(".lock")
        if (said := whose(path)) and taken(path):
            yield note.relative_to(root).with_suffix("").parts, said


def describe(note: dict[str, Any]) -> str:
    """'process 4711 on mars', the holder that a note names."""
    return f"process {note['pid']} on {note['host']}" if note else "another process"


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def taken(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        with FileLock(path, thread_local=False).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
