"""Tables 1 and 4 (Fréchet distance) and 3 (PRD): one row a model, one column a dataset, the paper beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aegen_bench.report.alongside import Alongside
from aegen_bench.report.cells import SPREADS, Cell, Layout, overrides, trial_counts
from aegen_bench.report.comparisons import BOLD, NOT_BOLD, Contest
from aegen_bench.report.entries import collect
from aegen_bench.report.guests import note
from aegen_bench.report.measures import DAGGER, Measure, marked, other_images_note, single_protocol, stale_note
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

    cited, ours = _rows(layout, table)
    dagger = marked(frame, layout, extractor) & set(ours)
    lines = {row: [f"{paper.name(row)} (cited)"] for row in cited}
    lines |= {row: [paper.name(row) + " †" * (row in dagger)] for row in ours}
    beneath = {row: [row] for row in dict.fromkeys(row for _, row in below)}
    columns, values, bold = ["Model"], list[Value](), False
    for dataset in layout.datasets:
        heads = theirs.columns(dataset, lines)
        columns += [paper.name(dataset), *heads]
        fair = [row for row in ours if row not in dagger]
        contests = [Contest.of(cells, dataset, fair, i, measure.sign) for i in range(len(measure.metrics))]
        bold = bold or any(contest.samples for contest in contests)
        for row, line in lines.items():
            entry, cell = (dataset, row), cells.get((dataset, row)) or layout.blank((dataset, row))
            leads, stale = [contest.leads(row) for contest in contests], entry in layout.stale
            places = [i for i, one in enumerate(leads) if one]
            line.append("" if row in cited else cell.shown(decimals, layout.spread, bold=places, stale=stale))
            values += cell.values(entry, measure.metrics, leads, stale=stale) if row in ours else ()
            if heads:
                line += theirs.texts(entry, cell)
                values += theirs.values(entry, measure.metrics)
        for row, line in beneath.items():
            cell = below.get((dataset, row), Cell())
            line += [cell.shown(decimals, layout.spread), *[""] * len(heads)]
            values += cell.values((dataset, row), measure.metrics, source="no trial")

    notes = [
        str(about.get("describe", f"Protocol {protocol}")) if protocol else "Nothing is evaluated yet.",
        f"{SPREADS[layout.spread]}, in brackets the number of trials; a trial's value is the mean over its draws.",
        trial_counts(frame),
        *other_images_note(frame, layout),
        BOLD if bold else NOT_BOLD,
        *(theirs.notes(lines) if len(columns) > 1 + len(layout.datasets) else []),
        *([DAGGER] if dagger else []),
        *stale_note(layout, ours),
        *note(list(beneath)),
        *overrides(frame, layout),
    ]
    title = f"Table {table}. {measure.title}. Profile {layout.profile}"
    body = [*lines.values(), *beneath.values()]
    return Table(name, title, columns, body, notes, values, {"profile": layout.profile, "protocol": protocol})


def _rows(layout: Layout, table: int) -> tuple[list[str], list[str]]:
    """The rows that the paper cites from another paper's GANs, and ours: in Table 4 those that the paper has."""
    if table != 4:
        return [], layout.rows
    printed = layout.published.rows(4)
    cited = [row for row in printed if layout.published.source(4, row) == "cited_lucic"]
    return cited, [row for row in printed if row in layout.rows and row not in cited]
