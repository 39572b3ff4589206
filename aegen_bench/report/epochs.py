"""Table 5 of one profile: how long its rows trained, and how soon that was long enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aegen_bench.report.cells import Cell, Entry, Layout, overrides, trial_counts
from aegen_bench.report.entries import collect
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.readings import settled
from aegen_bench.report.table import Table, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["convergence", "epochs"]

_NEAR, _QUANTITIES = "within 5%: epochs, s", ("epochs until within 5%", "seconds until within 5%")


def convergence(evidence: Evidence) -> dict[Entry, Cell]:
    """Return the epochs and seconds until each probed entry was near its end, over its trials that ended well."""
    probed = evidence.frame.attrs.get("probed", {})
    found = {}
    for entry in ((d, r) for d in evidence.layout.datasets for r in evidence.layout.rows):
        if (evidence.layout.profile, entry[1]) not in probed:
            continue
        trials = [trial for trial in evidence.trials(*entry) if trial.state in ("ok", "collapsed")]
        numbers = [reached for trial in trials if (reached := _reached(evidence.history(trial)))]
        if numbers:
            found[entry] = Cell(tuple(numbers), "ok")
    return found


def _reached(history: dict[str, list[dict[str, Any]]]) -> tuple[float, float] | None:
    """Epochs, over all stages, and training seconds until the probed distance was near its last value for good."""
    probe = settled(history)
    if probe is None:
        return None
    stages = [row["stage"] for row in history["epochs"]]
    before = stages.index(probe["stage"]) if probe["stage"] in stages else 0
    return float(before + probe["epoch"]), float(probe["seconds"])


def epochs(frame: pd.DataFrame, layout: Layout, name: str, near: Mapping[Entry, Cell] | None = None) -> Table:
    """Return Table 5: what each stage was to run and what it ran, in epochs, or in steps where these are its budget;
    and `near` (of `convergence`), in datasets where something was probed.
    """
    near = near or {}
    costs = frame[frame["kind"] == "cost"]
    configured = _budgets(costs, "configured_")
    run = _budgets(costs[costs["status"] == "ok"], "")
    ended = collect(costs, ["parameters"])
    paper, beside = layout.published, layout.profile == "paper"
    columns, values = ["Model"], list[Value]()
    lines = {row: [paper.name(row)] for row in layout.rows}
    for dataset in layout.datasets:
        probed = any(where == dataset for where, _ in near)
        columns += [paper.name(dataset), "run", *([_NEAR] if probed else []), *(["paper"] if beside else [])]
        for row, line in lines.items():
            entry = dataset, row
            budget, done = configured.get(entry, {}), run.get(entry, {})
            stale = entry in layout.stale
            state = (ended.get(entry) or layout.blank(entry)).shown(stale=stale)
            told = _stages({key: done[key] for key in budget if key in done})
            line += [_stages(budget) or "—", f"{told} ‡" if told and stale else told or state]
            values += [_value(entry, "configured", key, span) for key, span in budget.items()]
            values += [_value(entry, "run", key, span) for key, span in done.items() if key in budget]
            if probed:
                line.append(near[entry].shown(0) if entry in near else "")
                values += near[entry].values(entry, _QUANTITIES) if entry in near else ()
            if beside:
                line.append(" + ".join(f"{value:,}" for value in paper.value(5, row, dataset).values()))
                values += [
                    Value(*entry, "epochs", stage=stage, value=value, source=paper.source(5, row))
                    for stage, value in paper.value(5, row, dataset).items()
                ]
    notes = [
        "Under a dataset the epochs configured, then those run by the trials that ended well, by training stage; "
        "a range where seeds differ.",
        trial_counts(frame),
    ]
    if near:
        notes.append(
            "within 5%: epochs and training seconds after which the probed distance stays within 5% of its last "
            "value; mean ± sample standard deviation over seeds, in brackets their number. Only sweeps are probed."
        )
    notes += overrides(frame, layout)
    title = f"Table 5. Training epochs. Profile {layout.profile}"
    return Table(name, title, columns, list(lines.values()), notes, values, {"profile": layout.profile})


Span = tuple[float, float]


def _budgets(costs: pd.DataFrame, prefix: str) -> dict[Entry, dict[str, Span]]:
    """For each entry the budgets by `epochs.STAGE` or `steps.STAGE`, least and most."""
    known = costs[costs["metric"].str.match(rf"{prefix}(epochs|steps)\.") & costs["value"].notna()]
    spans = known.groupby(["dataset", "row", "metric"], sort=False)["value"].agg(["min", "max"])
    found: dict[Entry, dict[str, Span]] = {}
    for (dataset, row, metric), low, high in spans.itertuples(name=None):
        found.setdefault((dataset, row), {})[metric.removeprefix(prefix)] = low, high
    return found


def _stages(budgets: Mapping[str, Span]) -> str:
    """`10`, `first 400, second 800` or `train 500,000 steps`."""
    parts = []
    for key, (low, high) in budgets.items():
        unit, stage = key.split(".", 1)
        text = f"{low:,.10g}" if low == high else f"{low:,.10g} to {high:,.10g}"
        text += " steps" if unit == "steps" else ""
        parts.append(text if len(budgets) == 1 else f"{stage} {text}")
    return ", ".join(parts)


def _value(entry: Entry, what: str, key: str, span: Span) -> Value:
    unit, stage = key.split(".", 1)
    low, high = span
    return Value(*entry, f"{unit} {what}", stage=stage, value=low if low == high else None, low=low, high=high)
