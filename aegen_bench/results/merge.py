"""Merging the results of several machines: missing records are copied, existing ones compared and never replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aegen_bench.errors import UserError
from aegen_bench.files import read_bytes, write_bytes
from aegen_bench.results import locks, store, timings
from aegen_bench.results.record import NEIGHBOURS, Evaluation, Number, Record

__all__ = ["merge"]

LARGEST_NEIGHBOUR = 1 << 30  # bytes
TRAINED = ("status", "stages", "parameters", "layers", "collapsed", "trunk", "weights_sha256")
"""Fields in which two records with the same key must agree besides their scores: all results of training but times."""
CLOCK = ("seconds", "seconds_per_epoch")


def merge(folders: Sequence[Path], root: Path) -> Iterator[tuple[bool, str]]:
    """Merge results folders into `root`. For each record that is not identical to one here, yield whether it is a
    conflict, and a line that says what was done.

    A record is copied, with the regular files that belong to it, if there is none here, or only a failed one. If both
    have the same key, missing metrics are added to ours; a different key or number is a conflict, and ours is kept.
    Of two timing runs with the same id, the newer one is kept.

    UserError if a folder does not exist or a file cannot be read or written; files are never left incomplete, and
    merging can be repeated.
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
        for _, timing in timings.read(folder, on_corrupt=skipped.append):
            try:
                added = timings.add(root, timing)
            except UserError as error:
                skipped.append(error)
            else:
                if added:
                    yield False, f"new: times of {timing.row} on {timing.dataset}, {timing.place}"
        yield from ((True, f"conflict: {error}") for error in skipped)


def _one(path: Path, theirs: Record, root: Path) -> Iterator[tuple[bool, str]]:
    here, label = Path(root, *theirs.place, "record.json"), theirs.label
    if path.is_symlink():
        yield True, f"conflict: {path} is a link and was not copied"
        return
    with locks.claim(locks.lock_path(root, *theirs.place)) as mine:
        if mine is None:
            yield True, f"conflict: {label}: a run is in progress here; merge when it has ended"
            return
        try:
            ours = store.read_record(here) if here.is_file() else None
        except UserError as error:
            yield True, f"conflict: {label}: {error}"
            return
        # Every run tries failed trials again, so their records can be replaced.
        theirs_failed = theirs.status == "failed"
        if ours is None or (ours.status == "failed" and not theirs_failed):
            for name in NEIGHBOURS:  # the record comes last, so that only complete trials have one
                beside = path.with_name(name)
                if beside.is_symlink():  # it may point to any file of this machine
                    yield True, f"conflict: {label}: {name} is a link and was not copied"
                elif beside.is_file():
                    _copy(beside, here.with_name(name))
            _copy(path, here)
            yield False, f"new: {label}"
        elif not theirs_failed:
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
            yield True, f"conflict: {label}: a different '{field}' in {path}"
            return
    added, refused = list[str](), None
    for protocol, entry in theirs.metrics.items():
        before = ours.metrics.get(protocol)
        if before == entry:
            continue
        parts = {}
        if not ours.metrics:
            parts = {"facts": _new(ours.facts, theirs.facts), "seconds": _new(ours.seconds, theirs.seconds)}
        try:
            store.add_evaluation(here, protocol, _lacking(before, entry), **parts)
        except UserError as error:
            refused = error
            break
        ours = store.read_record(here)
        if ours.metrics[protocol] != before:
            added.append(protocol)
    if added:
        yield False, f"completed: {label}: protocol {', '.join(added)}"
    if refused:
        raise refused


def _lacking(ours: Evaluation | None, theirs: Evaluation) -> Evaluation:
    """Return their evaluation without what need not agree: failures of metrics that we have, and who computed them."""
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
