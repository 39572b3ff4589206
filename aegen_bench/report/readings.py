"""Numbers out of a history: a loss term, a logged quantity, the distances of its probes, and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["HISTORY", "distances", "reading", "settled"]

Row = dict[str, Any]
History = dict[str, list[Row]]


def reading(row: Row, group: str, name: str) -> float:
    """Return a value of a row of terms and logs, an epoch's or a probe's; NaN where it has none. A term counts under
    any optimizer.
    """
    groups = row.get("terms", {}).values() if group == "terms" else [row.get(group, {})]
    values = [values[name] for values in groups if values.get(name) is not None]
    return float(values[0]) if values else math.nan


def distances(probes: Sequence[Row]) -> list[tuple[Row, float]]:
    """Return the probes that measured a Fréchet distance, each with it; it is the same kind in all of them."""
    found = []
    for probe in probes:
        metrics = probe.get("metrics", {})
        value = metrics.get("fid", metrics.get("fd"))
        if value is not None and math.isfinite(value):
            found.append((probe, float(value)))
    return found


def last_epoch(group: str, name: str) -> Callable[[History], float]:
    """The mean over the training batches of the last epoch that has it."""

    def read(history: History) -> float:
        values = [value for row in history["epochs"] if math.isfinite(value := reading(row, group, name))]
        return values[-1] if values else math.nan

    return read


def nll_gap(history: History) -> float:
    """NLL of held-out codes minus that of training codes, nats an image, at the last probe, both in eval mode."""
    for probe in reversed(history["probes"]):
        seen, unseen = (reading(probe.get(kind, {}), "terms", "nll") for kind in ("probe_train", "probe_test"))
        if math.isfinite(unseen - seen):
            return unseen - seen
    return math.nan


def fluctuation(history: History) -> float:
    """How much the distance jumps from probe to probe in the second half of training: the standard deviation of the
    steps of its logarithm, so that neither its level nor a steady fall counts. NaN with less than three such steps.
    """
    found = distances(history["probes"])
    logs = np.log([value for _, value in found[len(found) // 2 :] if value > 0])
    return float(np.diff(logs).std(ddof=1)) if len(logs) >= 4 else math.nan


def settled(history: History) -> Row | None:
    """Return the first probe from which on the distance stays within 5% of that of the last one; None with less than
    two probes.
    """
    found = distances(history["probes"])
    if len(found) < 2:
        return None
    last = found[-1][1]
    away = [i for i, (_, value) in enumerate(found) if abs(value - last) > 0.05 * abs(last)]
    return found[away[-1] + 1 if away else 0][0]


def convergence(history: History) -> float:
    """Training seconds until then; NaN where there is none."""
    probe = settled(history)
    return float(probe["seconds"]) if probe else math.nan


HISTORY: dict[str, Callable[[History], float]] = {
    "posterior_variance": last_epoch("logs", "posterior_variance"),
    "nll": last_epoch("terms", "nll"),
    "nll_gap": nll_gap,
    "fluctuation": fluctuation,
    "convergence_seconds": convergence,
}
"""A number of a whole trial by name."""
