"""The data that the page's script draws: what a cell opens (numbers of all its trials, and curves and samples of its
first seeds), and the costs for the chart of quality against cost; no more than drawing them takes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from numpy.typing import NDArray

from aegen_bench.files import fitting
from aegen_bench.numerics.pictures import grid
from aegen_bench.report.cells import fixed, measured
from aegen_bench.report.evidence import Evidence, Trial

__all__ = ["DRAWN", "Picture", "columns", "costs", "distance", "entries", "real"]

DRAWN = 400
"""The number of trials with curves and samples in the page: the first seeds of each entry, equally many of each."""
POINTS = 60
"""The maximal number of points of a curve, which is a few hundred pixels wide."""
SHOWN, SIDE = 16, 240

_COSTS = {"train_seconds": "training, s", "sample_seconds": "sampling, s", "parameters": "parameters"}
Numbers = dict[tuple[str, str, int], list[float | None]]


@dataclass(frozen=True)
class Picture:
    """The first samples of a trial as WebP, and the part of the page's data that needs their address."""

    name: str
    packed: bytes
    data: dict[str, Any]


def columns(evidence: Evidence) -> dict[str, list[str]]:
    """Return the names of a trial's numbers by protocol id, in the order of the records; "" stands for costs."""
    frame = evidence.frame
    scores = frame[frame["kind"].isin(["draw", "model"])]
    names = scores.groupby("protocol", sort=False)["metric"].unique()
    return {str(protocol): list(found) for protocol, found in names.items()} | {"": list(_COSTS.values())}


def distance(evidence: Evidence) -> list[str | int]:
    """Return the protocol id of the first part and the position of its Fréchet distance among the numbers; empty if
    nothing has been scored.
    """
    for part in evidence.parts[:1]:
        names = columns(evidence).get(part.id, [])
        return [part.id, names.index(part.metric)] if part.metric in names else []
    return []


def costs(evidence: Evidence) -> list[dict[str, Any]]:
    """Return each cost that a method's distance can be drawn against: {name, values: {dataset: {row: numbers}}}.

    Seconds come from timing runs alone, one number per timed epoch, without runs beside other work; with runs under
    several conditions, the name tells them apart. Parameters come from the trials.
    """
    found: dict[str, dict[str, dict[str, list[float | None]]]] = {}

    def add(name: str, dataset: str, row: str, values: Iterable[float]) -> None:
        found.setdefault(name, {}).setdefault(dataset, {})[row] = [_short(value) for value in values]

    for runs in evidence.timings.values():
        where = f" ({next(iter(runs.values())).place})" if len(evidence.timings) > 1 else ""
        for (dataset, row), run in ((entry, run) for entry, run in runs.items() if not run.busy):
            add(f"training, s{where}", dataset, row, run.trainings() or [run.training])
            add(f"sampling, s{where}", dataset, row, [run.sample])
    sizes = evidence.frame[evidence.frame["metric"] == "parameters"]
    for entry, values in sizes.groupby(["dataset", "row"], sort=False)["value"]:
        dataset, row = cast("tuple[str, str]", entry)
        add("parameters", dataset, row, sorted({*values.dropna()}))
    return [{"name": name, "values": values} for name, values in found.items()]


def entries(evidence: Evidence) -> Iterator[tuple[dict[str, Any], list[Picture]]]:
    """Yield each entry in the form that the page's script reads, with its samples."""
    reasons = evidence.frame.attrs["reasons"]
    tables = {protocol: _numbers(evidence, protocol, names) for protocol, names in columns(evidence).items()}
    every = product(evidence.layout.datasets, evidence.layout.rows)
    found = [entry for entry in every if evidence.trials(*entry)]
    several = evidence.frame["device"].nunique() > 1
    drawn = max(1, DRAWN // max(1, len(found)))
    first, distance = next(iter(evidence.parts), None), measured("", fixed(None, "seeds"))
    for dataset, row in found:
        trials, pictures = [], list[Picture]()
        for place, trial in enumerate(evidence.trials(dataset, row)):
            key = dataset, row, trial.seed
            data: dict[str, Any] = {"seed": trial.seed, "state": trial.state}
            data["numbers"] = {protocol: table[key] for protocol, table in tables.items() if key in table}
            if several:  # so that a reader does not compare times of two
                data["device"] = trial.device
            if reason := reasons.get((evidence.layout.profile, *key)):
                data["reason"] = reason
            if place < drawn:
                data["curves"] = _curves(evidence, trial)
            samples = evidence.array(trial, "samples") if len(pictures) < drawn else None
            if samples is not None and samples.size:
                name = fitting(f"{dataset}-{row}-seed-{trial.seed}", ".webp")
                pictures.append(Picture(name, _packed(samples), data))
            trials.append(data)
        told = {"dataset": dataset, "row": row, "trials": trials, "drawn": min(drawn, len(trials))}
        if first:
            told["distance"] = str(distance.print(first.distances[dataset, row]))
            told["marked"] = row in first.dagger
        yield told, pictures


def real(evidence: Evidence) -> Iterator[Picture]:
    """Yield, for each dataset, as many real test images as there are samples, from the reconstructions of a trial."""
    for dataset in evidence.layout.datasets:
        for trial in (trial for row in evidence.layout.rows for trial in evidence.trials(dataset, row)):
            pairs = evidence.array(trial, "reconstructions")
            if pairs is not None and pairs.ndim == 5 and pairs.size:
                yield Picture(fitting(f"{dataset}-real", ".webp"), _packed(pairs[:, 0]), {"dataset": dataset})
                break


def _numbers(evidence: Evidence, protocol: str, names: list[str]) -> Numbers:
    """Return {(dataset, row, seed): means over draws, four digits, in the order of `names`, None if missing}."""
    frame = evidence.frame
    mine = frame[(frame["protocol"] == protocol) & frame["value"].notna()]
    metrics = list(_COSTS) if protocol == "" else names
    means = mine[mine["metric"].isin(metrics)].groupby(["dataset", "row", "seed", "metric"])["value"].mean()
    wide = means.unstack("metric").reindex(columns=metrics)
    return {key: [_short(x) for x in line] for key, line in zip(wide.index, wide.to_numpy().tolist(), strict=True)}


def _curves(evidence: Evidence, trial: Trial) -> dict[str, list[list[float | None]]]:
    """Return {name: [epochs, values]} of all loss terms and the probes' distance; epochs count over all stages."""
    history = evidence.history(trial)
    found: dict[str, list[tuple[int, float | None]]] = {}
    before: dict[str, int] = {}
    for i, row in enumerate(history["epochs"]):
        before.setdefault(row["stage"], i)
        for optimizer, terms in row["terms"].items():
            for term, value in terms.items():
                found.setdefault(f"{row['stage']}, {optimizer}: {term}", []).append((i + 1, value))
    for row in history["probes"]:
        for name, value in row.get("metrics", {}).items():
            found.setdefault(f"{name} (probe)", []).append((before.get(row["stage"], 0) + row["epoch"], value))
    return {name: drawn for name, points in found.items() if (drawn := _thinned(points))}


def _thinned(points: list[tuple[int, float | None]]) -> list[list[float | None]]:
    """Return every k-th point and the last one, without those that are not finite."""
    good = [(x, _short(y)) for x, y in points if y is not None and math.isfinite(y)]
    step = -(-len(good) // POINTS) if good else 1
    kept = good[::step] + (good[-1:] if len(good) % step != 1 and step > 1 else [])
    return [list(axis) for axis in zip(*kept, strict=True)]


def _short(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.4g}") if abs(value) < 1e4 else float(round(value))
    return int(rounded) if rounded.is_integer() else rounded


def _packed(images: NDArray[Any]) -> bytes:
    """Return the first images as a small WebP sheet, [4 x 4]."""
    from PIL import Image

    sheet = Image.fromarray(grid(images[:SHOWN], 4))
    if max(sheet.size) > SIDE:
        sheet.thumbnail((SIDE, SIDE))
    packed = io.BytesIO()
    sheet.save(packed, "WEBP", quality=75, method=4)
    return packed.getvalue()
