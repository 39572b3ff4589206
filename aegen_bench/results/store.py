"""What lies on disk: ROOT/PROFILE/DATASET/ROW/seed-K/record.json and its neighbours (docs/results-format.md)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegen_bench.errors import UserError, unknown
from aegen_bench.files import write_json

if TYPE_CHECKING:
    import pandas
__all__ = [
    "ANCHORS",
    "EXTERNAL",
    "NOT_TRAINING",
    "NO_TRIALS",
    "SCHEMA",
    "CorruptRecord",
    "add_evaluation",
    "keep_aside",
    "lacking",
    "load",
    "locked",
    "read_record",
    "records",
    "stamp",
    "standing",
    "trial_folder",
]

SCHEMA, NEWER = 1, "a newer version wrote it"
EXTERNAL, ANCHORS = NO_TRIALS = "external", "anchors"  # profiles of image sets that no trial made
STATUSES = ("ok", "diverged", "failed", "timeout")
_NUMBER = (int, float, type(None))
_FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("key", "profile", "dataset", "row", "status", "reason"), str),
    "seed": int,
    "peak_memory": _NUMBER,
    "collapsed": (bool, type(None)),
    **dict.fromkeys(("metrics", "stages", "seconds", "parameters", "layers", "facts", "config", "environment"), dict),
}
NOT_TRAINING = ("probe", "overrides", "shadows", "dagger", "source")
"""Parts of a record's `config` that do not change what its trial trained."""


class CorruptRecord(UserError):
    """A record that cannot be read; the text names its path. Such a file is skipped, never overwritten."""


def trial_folder(root: str | Path, profile: str, dataset: str, row: str, seed: int) -> Path:
    """Return ROOT/PROFILE/DATASET/ROW/seed-K; a name that would lead out of its folder raises UserError."""
    for name in (profile, dataset, row):
        if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
            raise UserError(f"'{name}' cannot be the name of a folder: use a name without slashes")
    return Path(root, profile, dataset, row, f"seed-{seed}")


def read_record(path: Path) -> dict[str, Any]:
    """Return one record, checked; CorruptRecord when it is not JSON, lacks a field or has another schema."""
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"no record at {path}: give the folder of a finished trial") from None
    except OSError as error:
        raise CorruptRecord(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CorruptRecord(f"{path} is not a record: {error}; move it away to run the trial again") from error
    if fault := _fault(record):
        mend = "update aegen-bench" if fault == NEWER else "move it away to run the trial again"
        raise CorruptRecord(f"{path} is not a record of schema {SCHEMA}: {fault}; {mend}")
    return record  # type: ignore[no-any-return]


def _fault(record: object) -> str:
    """Return what is wrong with a parsed record, in a few words; empty when nothing is."""
    if not isinstance(record, dict):
        return "not an object"
    if (schema := record.get("schema")) != SCHEMA:
        return NEWER if isinstance(schema, int) and schema > SCHEMA else f"its schema is {schema!r}"
    for field, kind in _FIELDS.items():
        if field not in record:
            return f"'{field}' is missing"
        if not isinstance(record[field], kind):
            return f"'{field}' cannot be {record[field]!r:.40}"
    if record["status"] not in STATUSES:
        return f"'status' cannot be '{record['status']}'"
    numbers = [("seconds", record["seconds"]), ("parameters", record["parameters"])]
    numbers += [(f"stages.{name}", stage) for name, stage in record["stages"].items()]
    for protocol, entry in record["metrics"].items():
        if not isinstance(entry, dict) or not isinstance(entry.get("draws"), list):
            return f"'metrics.{protocol}' has no list of draws"
        numbers += [(f"metrics.{protocol}.draws", draw) for draw in entry["draws"]]
        numbers.append((f"metrics.{protocol}.model", entry.get("model")))
        if not all(isinstance(entry.get(part), dict) for part in ("settings", "failed")):
            return f"'metrics.{protocol}' has no settings or no list of failures"
    for name, group in numbers:
        if not isinstance(group, dict) or not all(isinstance(value, _NUMBER) for value in group.values()):
            return f"'{name}' holds something that is no number"
    return ""


def stamp(path: Path) -> int | None:
    """Return what changes when a record is written, None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def records(
    root: str | Path, *, profile: str | None = None, on_corrupt: Callable[[Path, CorruptRecord], None] | None = None
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield (path, record) by profile, dataset, row and seed; a corrupt one goes to `on_corrupt` and is skipped."""
    found = []
    for folder in _folders(Path(root)) if profile is None else [Path(root, profile)]:
        for dataset in _folders(folder):
            for row in _folders(dataset):
                seeds = [(int(p.name[5:]), p) for p in _folders(row) if re.fullmatch(r"seed-\d+", p.name)]
                found += [path / "record.json" for _, path in sorted(seeds)]
    for path in found:
        try:
            record = read_record(path)
            here = (record["profile"], record["dataset"], record["row"], f"seed-{record['seed']}")
            if here != path.parts[-5:-1]:
                raise CorruptRecord(f"{path} is the record of {'/'.join(here)}: move it there")
        except CorruptRecord as error:
            if on_corrupt:
                on_corrupt(path, error)
        except UserError:
            continue  # a trial that has begun and has no record yet
        else:
            yield path, record


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(path / entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    except FileNotFoundError:
        return []


def add_evaluation(path: Path, protocol: str, entry: dict[str, Any], **parts: dict[str, Any]) -> None:
    """Add what was measured under a protocol id to a record, the only change a record allows.

    `entry` has draws, model, settings and failed. Under an id that is there already it fills in what is missing,
    null or failed; a number that differs from one already recorded raises UserError and changes nothing. `parts`
    are what the first evaluation of a trial adds to its `facts` and `seconds`.
    """
    with locked(path):
        record = read_record(path)
        _add(record, path, protocol, entry, parts)
        write_json(path, record)


def _add(record: dict[str, Any], path: Path, protocol: str, entry: dict[str, Any], parts: dict[str, Any]) -> None:
    for part, added in parts.items():
        record[part] |= added
    have = record["metrics"].setdefault(protocol, {"draws": [], "model": {}, "settings": {}, "failed": {}})
    if have["draws"] and entry["draws"] and len(have["draws"]) != len(entry["draws"]):
        raise UserError(
            f"{path} has {len(have['draws'])} draws under protocol {protocol}, not {len(entry['draws'])}: "
            "a record is never changed, evaluate under another protocol"
        )
    have["draws"] = have["draws"] or [{} for _ in entry["draws"]]
    pairs = [(have["model"], entry["model"]), *zip(have["draws"], entry["draws"], strict=False)]
    # The id stands for the protocol: how its sentence was worded then is kept.
    settings = {k: v for k, v in entry["settings"].items() if k != "protocol" or k not in have["settings"]}
    for old, new in [*pairs, (have["settings"], settings)]:
        for name, value in new.items():
            if old.get(name) is not None and name not in have["failed"] and old[name] != value:
                raise UserError(
                    f"{path} already has another '{name}' under protocol {protocol}: a record is never changed, "
                    "evaluate under another protocol"
                )
            old[name] = value
    measured = set(entry["settings"]).union(*(new for _, new in pairs))
    have["failed"] = {name: why for name, why in have["failed"].items() if name not in measured} | entry["failed"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within, no other process changes the record: what two add at once is not lost. May be nested."""
    from filelock import FileLock

    lock = FileLock(path.with_suffix(".lock"), is_singleton=True)
    try:
        lock.acquire()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def keep_aside(path: Path) -> Path | None:
    """Make room for a new record: an old one gets its key into its name, unless it failed; its images are removed."""
    if not path.is_file():
        return None
    old, aside = read_record(path), None
    if old["status"] != "failed":
        names = (path.with_name(f"record.{old['key']}.{number}.json") for number in count(1))
        aside = path.rename(next(name for name in names if not name.exists()))
    for name in ("artefacts.npz", "samples.png"):
        path.with_name(name).unlink(missing_ok=True)
    return aside


def lacking(record: dict[str, Any], protocol: str, metrics: Iterable[str]) -> set[str]:
    """Return those of a protocol's metrics that a record has not tried under the protocol's id, or that failed."""
    entry = record["metrics"].get(protocol, {"settings": {}, "failed": {}})
    return {name for name in metrics if name not in entry["settings"] or name in entry["failed"]}


def standing(path: Path, key: str, real: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the record that is there if it is of this key and, where it says so, was measured against these real
    images ({protocol id: sha256}).
    """
    if not path.is_file():
        return None
    record = read_record(path)
    about = {protocol: entry["settings"].get("protocol", {}) for protocol, entry in record["metrics"].items()}
    same = all(about.get(protocol, {}).get("real_sha256", sha256) == sha256 for protocol, sha256 in real.items())
    return record if same and record["key"] == key else None


def load(path: str | Path = "results", *, profile: str | None = None) -> pandas.DataFrame:
    """Return all results as one table, a row a trial and metric (columns: docs/results-format.md).

    `attrs` holds what belongs to no single number: `protocols`, `overrides`, `dagger`, `corrupt`. UserError when
    the folder, or the profile in it, does not exist.
    """
    from aegen_bench.results.frame import frame

    root = Path(path)
    if not root.is_dir():
        raise UserError(
            f"no results at {root}: `aegen-bench run --profile smoke` makes some in a minute, "
            "or say where they are with --results"
        )
    if profile is not None and not (root / profile).is_dir():
        raise unknown("profile with results", profile, [folder.name for folder in _folders(root)])
    corrupt: list[tuple[Path, str]] = []
    read = records(root, profile=profile, on_corrupt=lambda where, error: corrupt.append((where, str(error))))
    return frame((record for _, record in read), corrupt)
