"""Joining the results of several machines: what is not here is copied, what is here is compared and never replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aegen_bench.errors import UserError
from aegen_bench.files import read_bytes, write_bytes
from aegen_bench.results import locks, store
from aegen_bench.results.record import Evaluation, Number, Record

__all__ = ["merge"]

NEIGHBOURS = ("history.json", "samples.png", "artefacts.npz")
LARGEST_NEIGHBOUR = 1 << 30  # bytes
TRAINED = ("status", "stages", "parameters", "layers", "collapsed", "trunk", "weights_sha256")
"""What two records of one key must agree in, besides their numbers: all that training left but its clock."""
CLOCK = ("seconds", "seconds_per_epoch")


def merge(folders: Sequence[Path], root: Path) -> Iterator[tuple[bool, str]]:
    """Join result folders into `root` and yield, for each record that is not simply here already, whether it is a
    conflict, and a line that says what was done with it.

    A record of a trial that is not here, or failed here alone, is copied with the regular files that belong to it. Of
    two records of one key, the metrics that ours lacks are added; another key, or another number, is a conflict, and
    ours stays. Raises UserError for a folder that is none, and where a file cannot be read or written: no half of one
    is left, and merging again goes on.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"no results folder at {folder}")
        if folder.resolve() == root.resolve():
            raise UserError(f"{folder} is the folder to merge into: name the others")
    for folder in folders:
        skipped: list[UserError] = []
        for path, theirs in store.records(folder, on_corrupt=lambda _, error: skipped.append(error)):  # noqa: B023
            yield from _one(path, theirs, root)
        yield from ((True, f"conflict: {error}") for error in skipped)


def _one(path: Path, theirs: Record, root: Path) -> Iterator[tuple[bool, str]]:
    here, label = Path(root, *theirs.place, "record.json"), theirs.label
    if path.is_symlink():
        yield True, f"conflict: {path} is a link and was not copied"
        return
    with locks.claim(locks.lock_path(root, *theirs.place)) as mine:
        if mine is None:
            yield True, f"conflict: {label}: a run is at it here; merge when it has ended"
            return
        try:
            ours = store.read_record(here) if here.is_file() else None
        except UserError as error:
            yield True, f"conflict: {label}: {error}"
            return
        # A trial that failed is tried again by any run: nothing is lost with its record.
        lost = ours is not None and ours.status == "failed", theirs.status == "failed"
        if ours is None or lost == (True, False):
            for name in NEIGHBOURS:  # the record last: only whole trials have one
                beside = path.with_name(name)
                if beside.is_symlink():  # its target may be any file of this machine
                    yield True, f"conflict: {label}: {name} is a link and was not copied"
                elif beside.is_file():
                    _copy(beside, here.with_name(name))
            _copy(path, here)
            yield False, f"new: {label}"
        elif lost != (False, True):
            try:
                yield from _compared(here, ours, theirs, label, path)
            except UserError as error:
                yield True, f"conflict: {label}: {error}"


def _copy(source: Path, target: Path) -> None:
    try:
        content = read_bytes(source, LARGEST_NEIGHBOUR, follow=False)
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror or error}") from error
    write_bytes(target, content)


def _compared(here: Path, ours: Record, theirs: Record, label: str, path: Path) -> Iterator[tuple[bool, str]]:
    if ours.key != theirs.key:
        yield True, f"conflict: {label}: key {ours.key} here, {theirs.key} in {path}"
        return
    for field in TRAINED:
        if _timeless(getattr(ours, field)) != _timeless(getattr(theirs, field)):
            yield True, f"conflict: {label}: another '{field}' in {path}"
            return
    added = []
    for protocol, entry in theirs.metrics.items():
        before = ours.metrics.get(protocol)
        if before == entry:
            continue
        parts = {}
        if not ours.metrics:
            parts = {"facts": _new(ours.facts, theirs.facts), "seconds": _new(ours.seconds, theirs.seconds)}
        store.add_evaluation(here, protocol, _lacking(before, entry), **parts)
        ours = store.read_record(here)
        if ours.metrics[protocol] != before:
            added.append(protocol)
    if added:
        yield False, f"completed: {label}: protocol {', '.join(added)}"


def _lacking(ours: Evaluation | None, theirs: Evaluation) -> Evaluation:
    """Their evaluation without what need not agree: failures of what we have, and who computed a number."""
    if ours is None:
        return theirs
    settings = {k: v for k, v in theirs.settings.items() if k not in ours.settings or k in ours.failed}
    failed = {k: why for k, why in theirs.failed.items() if k not in ours.settings}
    return Evaluation(draws=theirs.draws, model=theirs.model, settings=settings, failed=failed)


def _new(ours: Mapping[str, Number], theirs: Mapping[str, Number]) -> dict[str, Number]:
    return {name: value for name, value in theirs.items() if name not in ours}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(part) for name, part in value.items() if name not in CLOCK}
    return value
