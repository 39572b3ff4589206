"""Who works on what: a lock file for each thing that one process at a time may do, under RESULTS/.locks.

The system frees a lock when its process dies, so a dead process blocks nobody. The note beside a lock names its
holder (host, pid, start) and says how far it is; a note beside a free lock was left by a process that was killed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from aegen_bench.errors import UserError
from aegen_bench.files import read_json, write_json

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
LARGEST_NOTE = 1 << 16  # bytes
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
    """Whether the process that held this lock is dead."""
    return _note(path).is_file() and not taken(path)


def deaths(path: Path) -> int:
    """How many processes in a row have died while they held this lock, which nobody holds now."""
    if not (note := whose(path)):
        return 0
    return 1 + int(note["deaths"])


def held(results: Path) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the names and the note of every lock that a living process holds. The locks are asked, not the notes: on a
    full disk there is none, and one may be damaged.
    """
    root = results / FOLDER
    for path in sorted(root.rglob("*.lock")):
        if taken(path):
            yield path.relative_to(root).with_suffix("").parts, whose(path)


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
