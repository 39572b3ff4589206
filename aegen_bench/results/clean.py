"""Deleting files that are no longer needed: checkpoints of finished trials, weights that no record refers to.

In doubt, files are kept: nothing is deleted while a run holds a lock, or if a folder cannot be listed or a record
cannot be read, and each file is checked again immediately before it is deleted.
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

UNFINISHED = ("failed", "timeout")  # a later run may resume from their checkpoints


@dataclass(frozen=True)
class Abandoned:
    """A file that can be deleted, and why.

    `trial` has the names of the folders of its trial, if known; `identity` changes when the file is written or
    replaced.
    """

    path: Path
    size: int
    why: str
    identity: tuple[int, int, int]
    trial: tuple[str, ...] = ()


def abandoned(root: Path, kept_weights: Path) -> list[Abandoned]:
    """Return the files that can be deleted.

    UserError if that cannot be decided: a run is in progress, a lock cannot be tested, a folder cannot be listed, a
    record cannot be read, or there are no results. A weights folder may serve several results folders, but only this
    one is examined.
    """
    if not root.is_dir():
        raise UserError(f"no results at {root}: use --results to say where they are")
    for names, note in locks.held(root, sure=True):
        raise UserError(f"{'/'.join(names)} is in use by {locks.describe(note)}: clean when it has ended")
    return [*_checkpoints(root), *_weights(root, kept_weights)]


def delete(root: Path, kept_weights: Path, listed: Sequence[Abandoned]) -> Iterator[tuple[Abandoned, str]]:
    """Delete the listed files that can still be deleted, and yield each with the reason if it is kept, else "".

    The list is made again, and checkpoints are deleted under the lock of their trial. Files that were written in the
    meantime are kept.
    """
    again = set(abandoned(root, kept_weights))
    for one in listed:
        if one not in again:
            yield one, "it has been written or is needed since it was listed"
        elif one.trial:
            with locks.claim(locks.lock_path(root, *one.trial)) as mine:
                ended = mine is not None and one in set(_checkpoints_of(one.path.parent, one.trial))
                yield one, _unlink(one) if ended else "its trial has started again"
        elif next(locks.held(root, sure=True), None):
            yield one, "a run has started"
        else:
            yield one, _unlink(one)


def _unlink(one: Abandoned) -> str:
    try:
        if _identity(one.path) != one.identity:
            return "it has been written since it was listed"
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
    """Weights that no record refers to, neither by key nor by content, since either of these may be damaged.

    The names of older files contain only the key. All of these are kept while a record without the sha256 of its
    weights lacks its file, because its key may be damaged.
    """
    records = [store.read_record(path) for path in store.every_record(root, skip=_stop)]
    trunks = [record.trunk for record in records if record.trunk]  # pairs are useless without them
    keys = {record.key for record in records} | {trunk.key for trunk in trunks}
    contents = {record.weights_sha256[:8] for record in records if record.weights_sha256}
    contents |= {trunk.weights_sha256[:8] for trunk in trunks}
    doubtful = any(_misses_its_weights(record, kept) for record in records)
    for file in sorted(kept.glob("*.safetensors")):
        name = re.fullmatch(r"([0-9a-f]{16})(?:-([0-9a-f]{8}))?", file.stem)
        if not name or name[1] in keys or name[2] in contents or (not name[2] and doubtful):
            continue
        if identity := _identity(file):
            yield Abandoned(file, identity[2], f"no record under {root} refers to it (others may)", identity)


def _misses_its_weights(record: Record, kept: Path) -> bool:
    return record.status == "ok" and not record.weights_sha256 and not record.weights_path(kept).is_file()


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return inode, modification time and size of a regular file, which identify its content; None for a link."""
    about = os.lstat(path)
    return (about.st_ino, about.st_mtime_ns, about.st_size) if stat.S_ISREG(about.st_mode) else None


def _stop(path: Path, error: UserError) -> None:
    raise error
