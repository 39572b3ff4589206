"""Table 6 of one profile: what its rows cost in time and memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from aegen_bench.errors import UserError
from aegen_bench.report.cells import Cell, Entry, Layout, devices, overrides, trial_counts
from aegen_bench.report.entries import Entries
from aegen_bench.report.statistics import difference
from aegen_bench.report.table import Table, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["times"]

Paces = dict[Entry, dict[str, Cell]]
MIB = 2**20
FLOW, ALONE = "glf", "rae_gmm"  # the same auto-encoder with a flow that learns its codes, and without


def times(frame: pd.DataFrame, layout: Layout, name: str) -> Table:
    """Return Table 6, a line a training stage; UserError when the frame mixes devices, whose times do not compare."""
    known = devices(frame)
    if len(known) > 1:
        raise UserError(
            f"table 6 cannot mix times of {' and '.join(known)}: keep the results of each device in a folder of "
            "their own and name it with --results"
        )
    costs = frame[(frame["kind"] == "cost") & (frame["value"].notna() | (frame["metric"] == "status"))]
    names = ("images_per_second", "train_seconds", "sample_seconds", "peak_memory", "parameters")
    entries = Entries(costs)
    cells = {metric: entries.cells([metric]) for metric in names}
    paces = _paces(frame, entries)
    paper, beside = layout.published, layout.profile == "paper"
    columns = ["Dataset", "Model", "Stage", "s/epoch", *(["paper"] if beside else [])]
    columns += ["images/s", "training, s", "sampling, s", "memory, MiB", "parameters"]
    seen = set(cells["parameters"]) | layout.planned
    rows, values = [], list[Value]()
    for entry in ((dataset, row) for dataset in layout.datasets for row in layout.rows if (dataset, row) in seen):
        state, stale = cells["parameters"].get(entry) or layout.blank(entry), entry in layout.stale
        totals = [_total(metric, cells[metric].get(entry) or state) for metric in names]
        theirs = paper.value(6, entry[1], entry[0])
        beside_ours = [" + ".join(f"{value:,}" for value in theirs.values())] if beside else []
        stages = paces.get(entry, {"": replace(state, trials=())})
        for i, (stage, cell) in enumerate(stages.items()):
            pace = cell.shown(stale=stale)
            line = [*map(paper.name, entry), stage, pace, *beside_ours, *totals]
            rows.append(line if i == 0 else ["", "", stage, pace] + [""] * (len(columns) - 4))
            values += cell.values(entry, ["seconds_per_epoch"], stage=stage, stale=stale)
        for metric in names:
            values += (cells[metric].get(entry) or state).values(entry, [metric], stale=stale)
        if beside:
            source = paper.source(6, entry[1]) if theirs else ""
            values += [Value(*entry, "seconds_per_epoch", k, value=v, source=source) for k, v in theirs.items()]
    notes = [
        "Mean ± sample standard deviation over seeds, in brackets the number of trials. s/epoch is the mean of warm "
        "epochs without evaluation; training is all of it, with extracting codes and fitting a density to them; "
        "sampling is that of the first evaluation; memory is the peak while training, of the process on a CPU, of the "
        "allocator on a GPU.",
        trial_counts(frame),
        *_flow_share(paces, layout, values),
    ]
    if beside:
        notes.append(
            "paper: Table 6, on hardware that the paper does not name; compare ratios of rows only, and not those of "
            "Two-Stage VAE, whose published code ran in another framework."
        )
    device = known[0] if known else "an unknown device"
    title = f"Table 6. Training time on {device}. Profile {layout.profile}"
    about = {"profile": layout.profile, "device": device}
    return Table(name, title, columns, rows, notes + overrides(frame, layout), values, about, words=(0, 1, 2))


def _total(metric: str, cell: Cell) -> str:
    """A quantity of the whole trial. How trials ended stands once a line, with the seconds per epoch."""
    if metric == "parameters":
        return f"{cell.mean[0]:,.0f}" if cell.n else cell.shown()
    if metric == "peak_memory":
        cell = replace(cell, trials=tuple((bytes_ / MIB,) for (bytes_,) in cell.trials))
    return replace(cell, counts=Counter()).shown()


def _paces(frame: pd.DataFrame, entries: Entries) -> Paces:
    """For each entry the seconds per epoch by stage; a stage of one epoch has no warm epoch and yet keeps its line."""
    timed = frame.loc[frame["metric"].str.startswith("seconds_per_epoch."), ["dataset", "row", "metric"]]
    cells = {metric: entries.cells([metric]) for metric in timed["metric"].unique()}
    found: Paces = {}
    for dataset, row, metric in timed.drop_duplicates().itertuples(index=False, name=None):
        stage = metric.removeprefix("seconds_per_epoch.")
        found.setdefault((dataset, row), {})[stage] = cells[metric].get((dataset, row), Cell())
    return found


def _flow_share(paces: Paces, layout: Layout, values: list[Value]) -> list[str]:
    """One sentence on how much of GLF's epoch the flow takes, where RAE+GMM says how long one without it is."""
    shares = []
    for dataset in layout.datasets:
        both = [next(iter(paces.get((dataset, row), {}).values()), Cell()) for row in (FLOW, ALONE)]
        if not all(cell.n for cell in both):
            continue
        glf, without = ([seconds for (seconds,) in cell.trials] for cell in both)
        whole = both[0].mean[0]
        share, low, high = (part / whole for part in difference(glf, without))
        value = Value(dataset, FLOW, "flow's share of an epoch", against=ALONE, value=share)
        within = ""
        if low < high:  # two seeds or more on both sides
            within, value = f" (95% interval {low:.1%} to {high:.1%})", replace(value, low=low, high=high)
        shares.append(f"{layout.published.name(dataset)} {share:.1%}{within}")
        values.append(value)
    if not shares:
        return []
    flow, alone = map(layout.published.name, (FLOW, ALONE))
    return [f"The flow's share of an epoch, ({flow} - {alone}) / {flow}, Welch's interval: {', '.join(shares)}."]
