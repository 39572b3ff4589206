"""Records as one pandas table, a row a trial and metric: what `aegen_bench.results.load` returns."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aegen_bench.environment import timed_on
from aegen_bench.results.record import NOT_TRAINING, Number, Record

__all__ = ["frame"]

TRIAL = ("profile", "dataset", "row", "seed", "status", "collapsed", "key", "device", "config")
VALUE = {"protocol": object, "real": object, "kind": object, "metric": object, "draw": np.int64, "value": np.float64}
Value = tuple[str, str, str, str, int, float]  # protocol, real images, kind, metric, draw, value


def frame(records: Iterable[Record], corrupt: list[tuple[Path, str]]) -> pd.DataFrame:
    """Return the long table of checked records; `attrs` as described in docs/results-format.md."""
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
    for record in records:
        before = len(values)
        values.extend(_values(record))
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
    # Text as plain objects, whatever pandas would make of it: it is looped over more than computed with.
    table = pd.DataFrame({name: pd.Series(array, dtype=array.dtype) for name, array in columns.items()})
    about: dict[str, dict[Any, Any]] = {"protocols": protocols, "overrides": overrides, "dagger": dagger}
    about |= {"layers": layers, "probed": probed, "environments": made, "reasons": reasons, "notes": notes}
    about["pairs"] = pairs
    table.attrs = {**{name: _Fixed(facts) for name, facts in about.items()}, "corrupt": corrupt}
    return table


class _Fixed(dict[Any, Any]):
    """Facts that nobody changes. pandas copies `attrs` deeply at every step; these it need not."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Fixed:
        return self


def _maker(environment: dict[str, Any]) -> str:
    """One sentence on the machine, the commit and the versions that trained."""
    git, versions = environment.get("git", {}), environment.get("versions", {})
    commit = git.get("commit", "")[:12] + (" with changes" if git.get("dirty") else "")
    parts = [environment.get("device") or "device unknown", f"commit {commit}" if commit else "commit unknown"]
    parts += [f"Python {environment['python']}"] if environment.get("python") else []
    return ", ".join([*parts, *(f"{name} {number}" for name, number in versions.items())])


def _digest(config: dict[str, Any]) -> str:
    """12 hex digits over what a trial trained with, its seed apart: the trials of one cell must agree in it."""
    first = {"numerics": 1}  # what records that do not say it were made with
    training = first | {name: value for name, value in config.items() if name not in NOT_TRAINING}
    return hashlib.sha256(json.dumps(training, sort_keys=True).encode()).hexdigest()[:12]


def _values(record: Record) -> Iterator[Value]:
    for protocol, entry in record.metrics.items():
        by = protocol, entry.about.get("real_sha256", "")[:12]
        for i, draw in enumerate(entry.draws):
            yield from ((*by, "draw", name, i, _float(value)) for name, value in draw.items())
        yield from ((*by, "model", name, -1, _float(value)) for name, value in entry.model.items())
        yield from ((*by, "failed", name, -1, float("nan")) for name in entry.failed)
    if record.status != "ok":
        yield "", "", "cost", "status", -1, float("nan")
    yield from (("", "", "cost", name, -1, _float(value)) for name, value in _costs(record))


def _costs(record: Record) -> Iterator[tuple[str, Number]]:
    stages, seconds = record.stages, record.seconds
    for name, planned in record.config.get("stages", {}).items():
        for unit in ("epochs", "steps"):
            if isinstance(planned.get(unit), (int, float)):
                yield f"configured_{unit}.{name}", planned[unit]
    for name, stage in stages.items():
        for quantity in ("epochs", "steps", "seconds_per_epoch"):
            if quantity in stage:
                yield f"{quantity}.{name}", stage[quantity]
    if "train" in seconds:
        yield "train_seconds", sum(seconds.get(part) or 0.0 for part in ("train", "extract", "fit"))
    if "sample" in seconds:
        yield "sample_seconds", seconds["sample"]
    if trained := sum(stage.get("seconds") or 0.0 for stage in stages.values()):
        yield "images_per_second", sum(stage.get("images") or 0 for stage in stages.values()) / trained
    yield "parameters", record.parameters.get("total")
    yield "peak_memory", record.peak_memory


def _float(value: Number) -> float:
    """A number for the table: NaN where there is none, or where sums of huge ones overflow."""
    return float(value) if value is not None and math.isfinite(value) else float("nan")
