"""Records on disk: ROOT/PROFILE/DATASET/ROW/seed-K/record.json and the files next to it (docs/results-format.md)."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegen_bench import files
from aegen_bench.errors import UserError, unknown
from aegen_bench.files import is_name, read_json, write_json
from aegen_bench.results.record import NEIGHBOURS, NOT_PROFILES, CorruptRecord, Evaluation, NewerSchema, Number, Record

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Skip",
    "add_evaluation",
    "every_record",
    "keep_aside",
    "load",
    "locked",
    "profiles",
    "read_record",
    "records",
    "stamp",
    "standing",
    "trial_folder",
    "trial_folders",
    "write_record",
]

LARGEST_RECORD = 4 << 20  # bytes; a record of a full profile has 20 KB

Skip = Callable[[Path, UserError], None]
"""Called for each file that is not a record, and for each folder that cannot be listed."""


# ---- places -----------------------------------------------------------------------------------


def trial_folder(root: str | Path, profile: str, dataset: str, row: str, seed: int) -> Path:
    """Return ROOT/PROFILE/DATASET/ROW/seed-K; UserError for an invalid name or seed."""
    for name in (profile, dataset, row):
        if not is_name(name):
            raise UserError(f"{name!r} cannot be the name of a folder: use plain text without slashes")
    if not 0 <= seed < 2**63:
        raise UserError(f"seed {seed}: a seed must be a whole number from 0 to 2^63 - 1")
    return Path(root, profile, dataset, row, f"seed-{seed}")


def profiles(root: Path, skip: Skip | None = None) -> list[str]:
    """Return the names of a results folder's subfolders that may contain the trials of a profile, or image sets."""
    return [path.name for path in _folders(root, skip) if path.name not in NOT_PROFILES]


def trial_folders(
    root: str | Path, *, profile: str | None = None, dataset: str | None = None, skip: Skip | None = None
) -> Iterator[Path]:
    """Yield the folder of every trial, or of one profile or dataset, sorted by profile, dataset, row and seed. A folder
    need not have a record.

    All code walks over results with this function. It follows links to folders, ignores hidden folders, and passes
    folders that cannot be listed to `skip`.
    """
    for folder in _folders(Path(root), skip) if profile is None else [Path(root, profile)]:
        for place in _folders(folder, skip) if dataset is None else [folder / dataset]:
            for row in _folders(place, skip):
                seeds = [(int(path.name[5:]), path) for path in _folders(row, skip) if _SEED.fullmatch(path.name)]
                yield from (path for _, path in sorted(seeds))


def every_record(root: Path, *, skip: Skip) -> Iterator[Path]:
    """Yield every file under a folder, at any depth, with the name of a record or of a former record.

    Links to folders are followed, and each folder is visited once.
    """
    entered, waiting = set[tuple[int, int]](), [root]
    while waiting:
        folder = waiting.pop()
        about = folder.stat()
        if (about.st_dev, about.st_ino) in entered:
            continue
        entered.add((about.st_dev, about.st_ino))
        waiting += _folders(folder, skip, hidden=True)
        yield from (path for path in sorted(folder.glob("record*.json")) if _RECORD.fullmatch(path.name))


_RECORD = re.compile(r"record(\..+)?\.json")
_SEED = re.compile(r"seed-[0-9]{1,19}")


def _folders(path: Path, skip: Skip | None, *, hidden: bool = False) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries if (hidden or entry.name[0] != ".") and _is_folder(entry)]
    except FileNotFoundError:
        return []
    except OSError as error:
        if skip:
            skip(path, UserError(f"cannot list {path}: {error.strerror or error}"))
        return []
    return sorted(path / name for name in names)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


# ---- records ----------------------------------------------------------------------------------


def read_record(path: Path) -> Record:
    """Read and validate one record. UserError if there is none, CorruptRecord if the file is not a record."""
    try:
        return Record.parse(read_json(path, LARGEST_RECORD))
    except FileNotFoundError:
        raise UserError(f"no record at {path}: choose the folder of a finished trial") from None
    except OSError as error:
        raise CorruptRecord(f"cannot read {path}: {error.strerror or error}") from error
    except NewerSchema:
        raise CorruptRecord(f"{path} was written by a newer version: update aegen-bench") from None
    except ValueError as error:
        raise CorruptRecord(f"{path} is not a record: {error}; move it away to run the trial again") from error


def records(
    root: str | Path, *, profile: str | None = None, dataset: str | None = None, on_corrupt: Skip | None = None
) -> Iterator[tuple[Path, Record]]:
    """Yield (path, record), or those of one profile or dataset, sorted by profile, dataset, row and seed.

    Corrupt or misplaced records and folders that cannot be listed are passed to `on_corrupt` and skipped.
    """
    for folder in trial_folders(root, profile=profile, dataset=dataset, skip=on_corrupt):
        path = folder / "record.json"
        try:
            record = read_record(path)
            if record.place != path.parts[-5:-1]:
                raise CorruptRecord(f"{path} is the record of {record.label}: move it there")
        except CorruptRecord as error:
            if on_corrupt:
                on_corrupt(path, error)
        except UserError:
            continue  # a trial that has started and has no record yet
        else:
            yield path, record


def stamp(path: Path) -> int | None:
    """Return a number that changes whenever the record is written; None if there is no record."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically. UserError, and nothing is written, if it could not be read again."""
    try:
        content = record.content()
    except ValueError as error:
        raise UserError(f"not written, since it could not be read again: {path}: {error}") from error
    write_json(path, content)


def add_evaluation(path: Path, protocol: str, entry: Evaluation, **parts: Mapping[str, Number]) -> Record:
    """Add scores under a protocol id to a record, which is the only change that records allow, and return the record.

    Under an existing id this fills in what is missing, null or failed. UserError, and no change, if a number differs
    from a recorded one. `parts` are added to the record's `facts` and `seconds` by the first evaluation of a trial.
    """
    with locked(path):
        record = read_record(path)
        for part, added in parts.items():
            getattr(record, part).update(added)
        _add(record, path, protocol, entry)
        write_record(path, record)
        return record


def _add(record: Record, path: Path, protocol: str, entry: Evaluation) -> None:
    have = record.metrics.setdefault(protocol, Evaluation.nothing())
    if have.draws and entry.draws and len(have.draws) != len(entry.draws):
        raise UserError(
            f"{path} has {len(have.draws)} draws under protocol {protocol}, not {len(entry.draws)}: "
            "a record is never changed, evaluate under another protocol"
        )
    have.draws = have.draws or [{} for _ in entry.draws]
    pairs = [(have.model, entry.model), *zip(have.draws, entry.draws, strict=False)]
    # The id identifies the protocol, so the old wording of its description is kept.
    settings = {k: v for k, v in entry.settings.items() if k != "protocol" or k not in have.settings}
    both: list[tuple[dict[str, Any], Mapping[str, Any]]] = [*pairs, (have.settings, settings)]
    for old, new in both:
        for name, value in new.items():
            if old.get(name) is not None and name not in have.failed and old[name] != value:
                raise UserError(
                    f"{path} already has a different '{name}' under protocol {protocol}: a record is never changed, "
                    "evaluate under another protocol"
                )
            old[name] = value
    measured = set(entry.settings).union(*(new for _, new in pairs))
    have.failed = {name: why for name, why in have.failed.items() if name not in measured} | entry.failed


_HELD: set[Path] = set()  # the records that this process has locked


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Context in which no other process changes the record, so that concurrent additions are not lost. Reentrant."""
    if path in _HELD:
        yield
        return
    with files.locked(path.with_suffix(".lock")):
        _HELD.add(path)
        try:
            yield
        finally:
            _HELD.remove(path)


def keep_aside(path: Path) -> Path | None:
    """Rename an old record, unless it failed, so that its name contains its key, and remove the images and the
    history next to it. (Checkpoints have their own history.)
    """
    if not path.is_file():
        return None
    old, aside = read_record(path), None
    if old.status != "failed":
        names = (path.with_name(f"record.{old.key}.{number}.json") for number in count(1))
        aside = path.rename(next(name for name in names if not name.exists()))
    for name in NEIGHBOURS:
        path.with_name(name).unlink(missing_ok=True)
    return aside


def standing(path: Path, key: str, real: Mapping[str, str]) -> Record | None:
    """Return the record at `path` if it has this key and these real images ({protocol id: sha256}), else None."""
    if not path.is_file():
        return None
    record = read_record(path)
    return record if record.stands_for(key, real) else None


def load(path: str | Path = "results", *, profile: str | None = None) -> pandas.DataFrame:
    """Return all results as one table with a row per trial and metric.

    Args:
        path: The results folder.
        profile: Only this profile.

    Returns:
        A DataFrame with the columns of docs/results-format.md; its `attrs` have what does not belong to a single
        number, such as `protocols`, `reasons` and `corrupt`, the files that were skipped.

    Raises:
        UserError: The folder, or the profile in it, does not exist.
    """
    from aegen_bench.results.frame import frame

    root = Path(path)
    if not root.is_dir():
        there = "" if root == Path("results") else f" --results {shlex.quote(str(root))}"
        raise UserError(
            f"no results at {root}: `aegen-bench run --profile smoke{there}` makes some in a minute, "
            "or use --results to say where they are"
        )
    if profile is not None and profile not in profiles(root):
        raise unknown("profile with results", profile, profiles(root))
    corrupt: list[tuple[Path, str]] = []
    read = records(root, profile=profile, on_corrupt=lambda where, error: corrupt.append((where, str(error))))
    return frame((record for _, record in read), corrupt)
