"""Tables 1 and 4 (Fréchet distance) and 3 (PRD): one row a model, one column a dataset, the paper beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aegen_bench.report.alongside import Alongside
from aegen_bench.report.cells import SPREADS, Cell, Layout, overrides, trial_counts
from aegen_bench.report.comparisons import BOLD, NOT_BOLD, Contest
from aegen_bench.report.entries import collect
from aegen_bench.report.guests import note
from aegen_bench.report.measures import DAGGER, Measure, marked, single_protocol, stale_note
from aegen_bench.report.table import Table, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["quality"]


def quality(frame: pd.DataFrame, guests: pd.DataFrame, layout: Layout, table: int, name: str) -> Table:
    """Return Table 1, 3 or 4 under one protocol, guests below our rows; 4 has the paper's rows only."""
    protocol, about = single_protocol(frame, str(table))
    extractor = str(about.get("extractor", "features unknown"))
    measure, paper = Measure.of(table, extractor), layout.published
    comparable = layout.profile == "paper" and extractor == "inception"
    theirs = Alongside(paper, table, measure.printed, measure.decimals, comparable)
    draws = layout.spread == "draws"
    cells = collect(frame, measure.metrics, family=measure.family, draws=draws)
    below = collect(guests, measure.metrics, family=measure.family, draws=draws) if table != 4 else {}
    large = any(cell.n and cell.mean[0] >= 10 for cell in cells.values())
    decimals = 1 if measure.family == "fd" and large else 3

    cited = [row for row in paper.rows(4) if paper.source(4, row) == "cited_lucic"] if table == 4 else []
    ours = [row for row in paper.rows(4) if row in layout.rows] if table == 4 else layout.rows
    dagger = marked(frame, layout, extractor)
    fair = [row for row in ours if row not in dagger]
    lines = {row: [f"{paper.name(row)} (cited)" if row in cited else paper.name(row)] for row in [*cited, *ours]}
    beneath = {row: [row] for row in dict.fromkeys(row for _, row in below)}
    columns, values, bold = ["Model"], list[Value](), False
    for row in dagger & set(ours):
        lines[row][0] += " †"
    for dataset in layout.datasets:
        heads = theirs.columns(dataset, lines)
        columns += [paper.name(dataset), *heads]
        groups = [Contest.of(cells, dataset, fair, i, measure.sign).leaders for i in range(len(measure.metrics))]
        bold = bold or any(groups)
        for row, line in lines.items():
            entry, cell = (dataset, row), cells.get((dataset, row)) or layout.blank((dataset, row))
            stale, best = entry in layout.stale, [row in group for group in groups]
            if row in cited:
                line.append("")
            else:
                places = [i for i, one in enumerate(best) if one]
                line.append(cell.shown(decimals, layout.spread, bold=places, stale=stale))
                values += cell.values(entry, measure.metrics, best, stale=stale)
            if heads:
                line += theirs.texts(entry, cell)
                values += theirs.values(entry, measure.metrics)
        for row, line in beneath.items():
            cell = below.get((dataset, row), Cell())
            line += [cell.shown(decimals, layout.spread), *[""] * len(heads)]
            values += cell.values((dataset, row), measure.metrics, source="no trial")

    notes = [str(about.get("describe", f"Protocol {protocol}")) if protocol else "Nothing is evaluated yet."]
    notes += [
        f"{SPREADS[layout.spread]}, in brackets the number of trials; a trial's value is the mean over its draws.",
        trial_counts(frame),
        BOLD if bold else NOT_BOLD,
    ]
    notes += theirs.notes(lines) if len(columns) > 1 + len(layout.datasets) else []
    notes += [DAGGER] * any(row in dagger for row in ours) + stale_note(layout, ours)
    notes += note(list(beneath)) + overrides(frame, layout)
    title = f"Table {table}. {measure.title}. Profile {layout.profile}"
    body = [*lines.values(), *beneath.values()]
    return Table(name, title, columns, body, notes, values, {"profile": layout.profile, "protocol": protocol})
