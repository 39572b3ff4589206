"""What lies on disk and nobody needs: checkpoints of trials that have ended, weights that no record names.

Whatever is in doubt stays: clean stops where a run holds a lock, where a folder cannot be listed and where a record
cannot be read, and each file is looked at again at the moment when it goes.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aegen_bench.errors import UserError
from aegen_bench.results import locks, store
from aegen_bench.results.record import Record

__all__ = ["Abandoned", "abandoned", "delete"]

UNFINISHED = ("failed", "timeout")  # a later run may go on from their checkpoints


@dataclass(frozen=True)
class Abandoned:
    """A file that can go, and why. `trial` has the folders' names of the trial that it belongs to, where it is known;
    `identity` changes when another file takes its place or it is written.
    """

    path: Path
    size: int
    why: str
    identity: tuple[int, int, int]
    trial: tuple[str, ...] = ()


def abandoned(root: Path, kept_weights: Path) -> list[Abandoned]:
    """Return the files that can go. UserError while a run works on the folder, where a lock cannot be asked, a folder
    cannot be listed or a record cannot be read, or where there are no results: then nobody can say what is needed.

    A weights folder may serve several results folders: of those that are not looked at here, the reason says so.
    """
    if not root.is_dir():
        raise UserError(f"no results at {root}: say where they are with --results")
    for names, note in locks.held(root, sure=True):
        raise UserError(f"{'/'.join(names)} is being done by {locks.describe(note)}: clean when it has ended")
    return [*_checkpoints(root), *_weights(root, kept_weights)]


def delete(root: Path, kept_weights: Path, listed: Sequence[Abandoned]) -> Iterator[tuple[Abandoned, str]]:
    """Delete what was listed and is still abandoned, and yield each file with why it stays, empty where it went.

    The list is made anew, and a checkpoint goes under its trial's lock. A file that was written since stays.
    """
    again = set(abandoned(root, kept_weights))
    for one in listed:
        if one not in again:
            yield one, "it was written, or is needed, since it was listed"
        elif one.trial:
            with locks.claim(locks.lock_path(root, *one.trial)) as mine:
                ended = mine is not None and one in set(_checkpoints_of(one.path.parent, one.trial))
                yield one, _unlink(one) if ended else "its trial has begun again"
        elif next(locks.held(root, sure=True), None):
            yield one, "a run has begun"
        else:
            yield one, _unlink(one)


def _unlink(one: Abandoned) -> str:
    try:
        if _identity(one.path) != one.identity:
            return "it was written since it was listed"
        one.path.unlink()
    except OSError as error:
        return f"cannot delete it: {error.strerror or error}"
    return ""


def _checkpoints(root: Path) -> Iterator[Abandoned]:
    for folder in store.trial_folders(root, skip=_stop):
        yield from _checkpoints_of(folder, folder.parts[-4:])


def _checkpoints_of(folder: Path, trial: tuple[str, ...]) -> Iterator[Abandoned]:
    path = folder / "record.json"
    if not os.path.lexists(path):
        return
    record = store.read_record(path)
    if record.status in UNFINISHED or record.place != trial:
        return
    for file in sorted(folder.glob("checkpoint-*.pt")):
        if re.fullmatch(r"checkpoint-[0-9]+\.pt", file.name) and (identity := _identity(file)):
            yield Abandoned(file, identity[2], f"its trial has ended: {record.status}", identity, trial)


def _weights(root: Path, kept: Path) -> Iterator[Abandoned]:
    """Weights that no record names by its key and none by their content: if either is damaged, the other holds them.

    An older file has the key alone for a name. While a record without the weights' sha256 misses its file, those all
    stay: its key may be damaged.
    """
    records = [store.read_record(path) for path in store.every_record(root, skip=_stop)]
    trunks = [record.trunk for record in records if record.trunk]  # of pairs: they are of no use without
    keys = {record.key for record in records} | {trunk.key for trunk in trunks}
    contents = {record.weights_sha256[:8] for record in records if record.weights_sha256}
    contents |= {trunk.weights_sha256[:8] for trunk in trunks}
    doubtful = any(_misses_its_weights(record, kept) for record in records)
    for file in sorted(kept.glob("*.safetensors")):
        name = re.fullmatch(r"([0-9a-f]{16})(?:-([0-9a-f]{8}))?", file.stem)
        if not name or name[1] in keys or name[2] in contents or (not name[2] and doubtful):
            continue
        if identity := _identity(file):
            yield Abandoned(file, identity[2], f"no record under {root} names it (others may)", identity)


def _misses_its_weights(record: Record, kept: Path) -> bool:
    return record.status == "ok" and not record.weights_sha256 and not record.weights_path(kept).is_file()


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What tells one content of a regular file from another: inode, time of writing, size. None for a link."""
    about = os.lstat(path)
    return (about.st_ino, about.st_mtime_ns, about.st_size) if stat.S_ISREG(about.st_mode) else None


def _stop(path: Path, error: UserError) -> None:
    raise error
