"""Tables 5 (training epochs) and 6 (time, size) of one profile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from aegen_bench.errors import UserError
from aegen_bench.report.cells import Cell, Entry, Layout, collect, overrides, trial_counts
from aegen_bench.report.table import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["epochs", "times"]


def epochs(frame: pd.DataFrame, layout: Layout, name: str) -> Table:
    """Return Table 5: what each stage was to run and what it ran, in epochs, or in steps where these are its budget."""
    costs = frame[frame["kind"] == "cost"]
    configured = _budgets(costs, "configured_")
    run = _budgets(costs[costs["status"] == "ok"], "")
    ended = collect(costs, ["parameters"])
    paper, beside = layout.published, layout.profile == "paper"
    columns = ["Model"]
    for dataset in layout.datasets:
        columns += [paper.name(dataset), "run", *(["paper"] if beside else [])]
    rows = []
    for row in layout.rows:
        line = [paper.name(row)]
        for entry in ((dataset, row) for dataset in layout.datasets):
            budget, done = configured.get(entry, {}), run.get(entry, {})
            state = (ended.get(entry) or layout.blank(entry)).shown()
            line += [_stages(budget) or "—", _stages({key: done[key] for key in budget if key in done}) or state]
            if beside:
                line.append(" + ".join(f"{value:,}" for value in paper.value(5, row, entry[0]).values()))
        rows.append(line)
    notes = [
        "Under a dataset the epochs configured, then those run by the trials that ended well, by training stage; "
        "a range where seeds differ.",
        trial_counts(frame),
    ]
    title = f"Table 5. Training epochs. Profile {layout.profile}"
    return Table(name, title, columns, rows, notes + overrides(frame, layout))


def _budgets(costs: pd.DataFrame, prefix: str) -> dict[Entry, dict[str, str]]:
    """For each entry the budgets by `epochs.STAGE` or `steps.STAGE`, as text."""
    known = costs[costs["metric"].str.match(rf"{prefix}(epochs|steps)\.") & costs["value"].notna()]
    spans = known.groupby(["dataset", "row", "metric"])["value"].agg(["min", "max"])
    found: dict[Entry, dict[str, str]] = {}
    for (dataset, row, metric), low, high in spans.itertuples(name=None):
        text = f"{low:,.10g}" if low == high else f"{low:,.10g} to {high:,.10g}"
        found.setdefault((dataset, row), {})[metric.removeprefix(prefix)] = text
    return found


def _stages(budgets: dict[str, str]) -> str:
    """`10`, `first 400, second 800` or `train 500,000 steps`."""
    parts = []
    for key, text in budgets.items():
        unit, stage = key.split(".", 1)
        text += " steps" if unit == "steps" else ""
        parts.append(text if len(budgets) == 1 else f"{stage} {text}")
    return ", ".join(parts)


def times(frame: pd.DataFrame, layout: Layout, name: str) -> Table:
    """Return Table 6, a line a training stage; UserError when the frame mixes devices, whose times do not compare."""
    devices = sorted(set(frame["device"]) - {""})
    if len(devices) > 1:
        raise UserError(
            f"table 6 cannot mix times of {' and '.join(devices)}: keep the results of each device in a folder of "
            "their own and name it with --results"
        )
    costs = frame[(frame["kind"] == "cost") & (frame["value"].notna() | (frame["metric"] == "status"))]
    quantities = {
        metric: collect(costs, [metric])
        for metric in ("images_per_second", "train_seconds", "sample_seconds", "parameters")
    }
    paces = _paces(frame, costs)
    paper, beside = layout.published, layout.profile == "paper"
    columns = ["Dataset", "Model", "Stage", "s/epoch", *(["paper"] if beside else [])]
    columns += ["images/s", "training, s", "sampling, s", "parameters"]
    seen = set(quantities["parameters"]) | layout.planned
    rows = []
    for entry in ((dataset, row) for dataset in layout.datasets for row in layout.rows if (dataset, row) in seen):
        state = quantities["parameters"].get(entry) or layout.blank(entry)
        # How trials ended stands once a line, with the seconds per epoch.
        totals = [
            replace(cells.get(entry) or state, counts=Counter()).shown()
            for metric, cells in quantities.items()
            if metric != "parameters"
        ]
        size = f"{state.mean[0]:,.0f}" if state.n else state.shown()
        theirs = " + ".join(f"{value:,}" for value in paper.value(6, entry[1], entry[0]).values())
        for i, (stage, text) in enumerate(paces.get(entry, {"": "—" if state.n else state.shown()}).items()):
            ours = [*map(paper.name, entry), stage, text, *([theirs] if beside else []), *totals, size]
            rows.append(ours if i == 0 else ["", "", stage, text] + [""] * (len(columns) - 4))
    notes = [
        "Mean ± sample standard deviation over seeds, in brackets the number of trials. s/epoch is the mean of warm "
        "epochs without evaluation; training includes extracting codes and fitting a density to them.",
        trial_counts(frame),
    ]
    if beside:
        notes.append("paper: Table 6, on hardware that the paper does not name; compare ratios of rows only.")
    title = f"Table 6. Training time on {devices[0] if devices else 'an unknown device'}. Profile {layout.profile}"
    return Table(name, title, columns, rows, notes + overrides(frame, layout))


def _paces(frame: pd.DataFrame, costs: pd.DataFrame) -> dict[Entry, dict[str, str]]:
    """For each entry the seconds per epoch by stage; a stage of one epoch has no warm epoch and yet keeps its line."""
    timed = frame[frame["metric"].str.startswith("seconds_per_epoch.")]
    found: dict[Entry, dict[str, str]] = {}
    for metric, part in timed.groupby("metric"):
        cells = collect(costs, [str(metric)])
        for dataset, row in part[["dataset", "row"]].drop_duplicates().itertuples(index=False, name=None):
            stage = str(metric).removeprefix("seconds_per_epoch.")
            found.setdefault((dataset, row), {})[stage] = cells.get((dataset, row), Cell()).shown()
    return found
