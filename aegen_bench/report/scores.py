"""Every number of a protocol on one dataset: a line a row, a column a number."""

from __future__ import annotations

import pandas as pd

from aegen_bench.evaluation import metrics
from aegen_bench.report.cells import Layout, overrides, trial_counts
from aegen_bench.report.entries import Entries
from aegen_bench.report.guests import note
from aegen_bench.report.measures import DAGGER, marked, other_images_note, single_protocol, stale_note
from aegen_bench.report.table import Table, Value

__all__ = ["scores"]

ARROWS = {"lower": "↓", "higher": "↑"}


def scores(frame: pd.DataFrame, guests: pd.DataFrame, layout: Layout, dataset: str, name: str) -> Table:
    """Return the table of one dataset under one protocol, of our rows and then of the guests."""
    protocol, known = single_protocol(frame, "scores")
    dagger = marked(frame, layout, str(known.get("extractor", "features unknown")))
    ours, others = frame[frame["dataset"] == dataset], guests[guests["dataset"] == dataset]
    metric_of, values = _metric_of(), list[Value]()
    meanings = {number: metrics.load(metric).VALUES[number] for number, metric in metric_of.items()}
    measured = set(ours["metric"].unique()) | set(others["metric"].unique())
    present = [number for number in meanings if number in measured]
    below = list(others["row"].unique())
    columns = ["Model", *(f"{number} {ARROWS[meanings[number].better]}" for number in present)]
    rows = [[layout.published.name(row) + " †" * (row in dagger)] for row in layout.rows] + [[row] for row in below]
    mine, theirs = Entries(ours), Entries(others)
    for number in present:
        family = metric_of[number]
        cells = mine.cells([number], family=family) | theirs.cells([number], family=family)
        for line, row in zip(rows, [*layout.rows, *below], strict=True):
            entry, stale = (dataset, row), (dataset, row) in layout.stale
            cell = cells.get(entry)
            if cell and cell.state == "missing":  # trials ended well without this number: it does not apply to them
                line.append("")
                continue
            cell = cell or layout.blank(entry)
            line.append(cell.shown(stale=stale))
            source = "no trial" if row in below else "measured"
            values += cell.values(entry, [number], stale=stale, source=source)
    units = "; ".join(f"{number} in {meanings[number].unit}" for number in present if meanings[number].unit != "1")
    notes = [
        str(known.get("describe", f"Protocol {protocol}")),
        "Mean ± sample standard deviation over seeds, in brackets the number of trials; ↓ lower is better, ↑ higher; "
        "an empty cell does not apply" + (f". Units: {units}." if units else "."),
        trial_counts(ours),
        *other_images_note(ours, layout),
        *([DAGGER] if dagger else []),
        *stale_note(layout, layout.rows),
        *note(below),
        *overrides(ours, layout),
    ]
    title = f"Scores on {layout.published.name(dataset)}. Every metric of the protocol. Profile {layout.profile}"
    about = {"profile": layout.profile, "protocol": protocol}
    return Table(name, title, columns, rows, notes, values, about, apart=True)


def _metric_of() -> dict[str, str]:
    """Every number that a metric can give, and that metric; the distance first."""
    order = sorted(metrics.names(), key=lambda name: (name != "fd", name != "prd", name))
    return {number: name for name in order for number in metrics.load(name).VALUES}
