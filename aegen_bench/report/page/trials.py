"""What a cell of the page opens: one trial's numbers, curves and samples, as little data as it takes to draw them."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

from aegen_bench.pictures import grid
from aegen_bench.report.evidence import Evidence, Trial

__all__ = ["Opened", "opened"]

POINTS = 60
"""A curve keeps at most this many points: as many as its few hundred pixels tell apart."""
SHOWN, SIDE = 16, 240


@dataclass(frozen=True)
class Opened:
    """One trial as the page's script reads it, and its samples as WebP; empty where it left none."""

    data: dict[str, Any]
    picture: bytes

    def inlined(self) -> str:
        return f"data:image/webp;base64,{base64.b64encode(self.picture).decode()}"


def opened(evidence: Evidence, record: dict[str, Any]) -> Opened:
    """Return what the page knows of a trial."""
    trial = next(t for t in evidence.trials(record["dataset"], record["row"]) if t.seed == record["seed"])
    data = {name: record[name] for name in ("dataset", "row", "seed", "reason")}
    data |= {
        "state": trial.state,
        "metrics": _metrics(record),
        "costs": _costs(record),
        "curves": _curves(evidence, trial),
    }
    return Opened(data, _picture(evidence, trial))


def _metrics(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Protocol id -> number -> mean over the draws, four digits."""
    found: dict[str, dict[str, float]] = {}
    for protocol, entry in record["metrics"].items():
        values: dict[str, list[float]] = {}
        for draw in [*entry["draws"], entry["model"]]:
            for name, value in draw.items():
                if value is not None and math.isfinite(value):
                    values.setdefault(name, []).append(value)
        found[protocol] = {name: _short(sum(of) / len(of)) for name, of in values.items()}
    return found


def _costs(record: dict[str, Any]) -> dict[str, float]:
    seconds = record["seconds"]
    costs = {
        "training, s": sum(seconds.get(part) or 0.0 for part in ("train", "extract", "fit")),
        "sampling, s": seconds.get("sample"),
        "parameters": record["parameters"].get("total"),
    }
    return {name: _short(value) for name, value in costs.items() if value}


def _curves(evidence: Evidence, trial: Trial) -> dict[str, list[list[float]]]:
    """Name -> [[epoch, value], ...] of every loss term and of the probes' distance; epochs count over all stages."""
    history = evidence.history(trial)
    found: dict[str, list[list[float]]] = {}
    before: dict[str, int] = {}
    for i, row in enumerate(history["epochs"]):
        before.setdefault(row["stage"], i)
        for optimizer, terms in row["terms"].items():
            for term, value in terms.items():
                found.setdefault(f"{row['stage']}, {optimizer}: {term}", []).append([i + 1, value])
    for row in history["probes"]:
        for name, value in row.get("metrics", {}).items():
            found.setdefault(f"{name} (probe)", []).append([before.get(row["stage"], 0) + row["epoch"], value])
    return {name: _thinned(points) for name, points in found.items()}


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """Every k-th point and the last, without those that are not finite."""
    good = [[x, _short(y)] for x, y in points if y is not None and math.isfinite(y)]
    step = -(-len(good) // POINTS) if good else 1
    return good[::step] + (good[-1:] if len(good) % step != 1 and step > 1 else [])


def _short(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1e4 else float(round(value))


def _picture(evidence: Evidence, trial: Trial) -> bytes:
    """The first samples as a small WebP sheet, [4 x 4]."""
    from PIL import Image

    samples = evidence.array(trial, "samples")
    if samples is None or not samples.size:
        return b""
    sheet = Image.fromarray(grid(samples[:SHOWN], 4))
    if max(sheet.size) > SIDE:
        sheet.thumbnail((SIDE, SIDE))
    packed = io.BytesIO()
    sheet.save(packed, "WEBP", quality=75, method=4)
    return packed.getvalue()
