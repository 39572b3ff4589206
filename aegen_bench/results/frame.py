"""Records as one pandas table with a row per trial and metric, as returned by `aegen_bench.results.load`."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aegen_bench.environment import timed_on
from aegen_bench.results.record import NOT_TRAINING, Number, Record, stages_with_trunk

__all__ = ["frame"]

TRIAL = ("profile", "dataset", "row", "seed", "status", "collapsed", "key", "device", "config")
VALUE = {"protocol": object, "real": object, "kind": object, "metric": object, "draw": np.int64, "value": np.float64}
Value = tuple[str, str, str, str, int, float]  # protocol, real images, kind, metric, draw, value


def frame(records: Iterable[Record], corrupt: list[tuple[Path, str]]) -> pd.DataFrame:
    """Return the long table of valid records. Columns and `attrs` are described in docs/results-format.md."""
    trials: list[tuple[Any, ...]] = []
    counts: list[int] = []
    values: list[Value] = []
    protocols: dict[str, dict[str, Any]] = {}
    overrides: dict[str, dict[str, list[str]]] = {}
    dagger: dict[tuple[str, str], list[str]] = {}
    layers: dict[tuple[str, str, str], dict[str, tuple[str, Number]]] = {}
    probed: dict[tuple[str, str], bool] = {}
    pairs: dict[tuple[str, str], tuple[str, str]] = {}
    made: dict[str, Counter[str]] = {}
    reasons: dict[tuple[str, str, str, int], str] = {}
    notes: dict[tuple[str, str, str, str], dict[str, str]] = {}
    records = list(records)
    trunks = _trunks(records)
    for record in records:
        before = len(values)
        values.extend(_values(record, trunks))
        counts.append(len(values) - before)
        trials.append(
            (
                record.profile,
                record.dataset,
                record.row,
                record.seed,
                record.status,
                bool(record.collapsed),
                record.key,
                timed_on(record.environment),
                _digest(record.config),
            )
        )
        for protocol, scored in record.metrics.items():
            protocols.setdefault(protocol, scored.about)
        entry = record.profile, record.dataset, record.row
        for protocol, scored in record.metrics.items():
            said = {name: str(about["note"]) for name, about in scored.settings.items() if "note" in about}
            if said:
                notes.setdefault((*entry, protocol), {}).update(said)
        if record.status == "ok":
            sizes = record.parameters
            layers.setdefault(entry, {part: (text, sizes.get(part)) for part, text in record.layers.items()})
        if record.config.get("probe"):
            probed[record.profile, record.row] = True
        if trunk := (record.config.get("trunk") or {}).get("row"):
            pairs[record.profile, record.row] = str(trunk), str(record.config.get("prior"))
        made.setdefault(record.profile, Counter())[_maker(record.environment)] += 1
        if record.reason:
            reasons[(*entry, record.seed)] = record.reason
        where = overrides.setdefault(record.profile, {})
        for sentence in record.config.get("overrides", []):
            rows = where.setdefault(sentence, [])
            if record.row not in rows:
                rows.append(record.row)
        for extractor in record.config.get("dagger", []):
            known = dagger.setdefault((record.profile, record.row), [])
            if extractor not in known:
                known.append(extractor)

    owner = np.repeat(np.arange(len(trials)), counts)
    columns: dict[str, Any] = {}
    for i, name in enumerate(TRIAL):
        kind = {"seed": np.int64, "collapsed": np.bool_}.get(name, object)
        columns[name] = np.array([trial[i] for trial in trials], dtype=kind)[owner]
    columns |= {name: np.array([value[i] for value in values], kind) for i, (name, kind) in enumerate(VALUE.items())}
    # Text as plain objects rather than pandas' strings, because it is mostly used in Python loops.
    table = pd.DataFrame({name: pd.Series(array, dtype=array.dtype) for name, array in columns.items()})
    about: dict[str, dict[Any, Any]] = {"protocols": protocols, "overrides": overrides, "dagger": dagger}
    about |= {"layers": layers, "probed": probed, "environments": made, "reasons": reasons, "notes": notes}
    about["pairs"] = pairs
    table.attrs = {**{name: _Fixed(facts) for name, facts in about.items()}, "corrupt": corrupt}
    return table


class _Fixed(dict[Any, Any]):
    """A dictionary that is never changed, so that pandas' deep copies of `attrs` cost nothing."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Fixed:
        return self


def _maker(environment: dict[str, Any]) -> str:
    """Return one line on the machine, the commit and the versions of a training."""
    git, versions = environment.get("git", {}), environment.get("versions", {})
    commit = git.get("commit", "")[:12] + (" with changes" if git.get("dirty") else "")
    parts = [environment.get("device") or "device unknown", f"commit {commit}" if commit else "commit unknown"]
    parts += [f"Python {environment['python']}"] if environment.get("python") else []
    return ", ".join([*parts, *(f"{name} {number}" for name, number in versions.items())])


def _digest(config: dict[str, Any]) -> str:
    """Return a hash, 12 hex digits, of a trial's training settings without the seed, equal for all trials of a cell."""
    first = {"numerics": 1}  # that of records which do not state it
    training = first | {name: value for name, value in config.items() if name not in NOT_TRAINING}
    return hashlib.sha256(json.dumps(training, sort_keys=True).encode()).hexdigest()[:12]


Trunks = Mapping[tuple[str, str, str], Record]  # {(profile, key, sha256 of the weights): record}


def _trunks(records: Iterable[Record]) -> Trunks:
    """Return those of the records that can be the trunk of a pair."""
    sound = (record for record in records if record.trunk is None and record.weights_sha256 is not None)
    return {(record.profile, record.key, str(record.weights_sha256)): record for record in sound}


def _values(record: Record, trunks: Trunks) -> Iterator[Value]:
    for protocol, entry in record.metrics.items():
        by = protocol, entry.about.get("real_sha256", "")[:12]
        for i, draw in enumerate(entry.draws):
            yield from ((*by, "draw", name, i, _float(value)) for name, value in draw.items())
        yield from ((*by, "model", name, -1, _float(value)) for name, value in entry.model.items())
        yield from ((*by, "failed", name, -1, float("nan")) for name in entry.failed)
    if record.status != "ok":
        yield "", "", "cost", "status", -1, float("nan")
    yield from (("", "", "cost", name, -1, _float(value)) for name, value in _costs(record, trunks))


def _costs(record: Record, trunks: Trunks) -> Iterator[tuple[str, Number]]:
    """Yield the costs of a trial. Those of a pair include the training of its trunk; if the trunk's record is missing,
    or of another device, the numbers that need it are left out.
    """
    stages, planned, parts = record.stages, record.config.get("stages", {}), [record]
    if record.trunk is not None:
        planned = stages_with_trunk((record.config.get("trunk") or {}).get("stages", {}), planned)
        trunk = trunks.get((record.profile, record.trunk.key, record.trunk.weights_sha256))
        stages = stages_with_trunk(trunk.stages if trunk else {}, stages)
        here = trunk is not None and timed_on(trunk.environment) == timed_on(record.environment)
        parts = [trunk, record] if trunk and here else []
    for name, plan in planned.items():
        for unit in ("epochs", "steps"):
            if isinstance(plan.get(unit), (int, float)):
                yield f"configured_{unit}.{name}", plan[unit]
    for name, stage in stages.items():
        timed = parts or name in record.stages
        for quantity in ("epochs", "steps", *(["seconds_per_epoch"] if timed else [])):
            if quantity in stage:
                yield f"{quantity}.{name}", stage[quantity]
    if parts and all("train" in part.seconds for part in parts):
        spent = [part.seconds.get(what) or 0.0 for part in parts for what in ("train", "extract", "fit")]
        yield "train_seconds", sum(spent)
    if "sample" in record.seconds:
        yield "sample_seconds", record.seconds["sample"]
    run = [stage for part in parts for stage in part.stages.values()]
    if trained := sum(stage.get("seconds") or 0.0 for stage in run):
        yield "images_per_second", sum(stage.get("images") or 0 for stage in run) / trained
    yield "parameters", record.parameters.get("total")
    if parts:
        peaks = [part.peak_memory for part in parts]
        yield "peak_memory", None if None in peaks else max(peak for peak in peaks if peak is not None)


def _float(value: Number) -> float:
    """Return a number for the table; NaN for none, and for sums that overflow."""
    return float(value) if value is not None and math.isfinite(value) else float("nan")
