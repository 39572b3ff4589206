"""Tables 1 and 4 (Fréchet distance) and 3 (PRD): one row a model, one column a dataset, the paper beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aegen_bench.errors import UserError
from aegen_bench.report.alongside import Alongside
from aegen_bench.report.cells import SPREADS, Cell, Layout, collect, overrides, trial_counts
from aegen_bench.report.comparisons import BOLD, NOT_BOLD, leaders
from aegen_bench.report.guests import note
from aegen_bench.report.table import Table, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DAGGER", "Measure", "marked", "quality", "single_protocol", "stale_note"]

DAGGER = "†: trained on the network that scores it here, so never bold, ranked or tested."


@dataclass(frozen=True)
class Measure:
    """What a quality table shows: our numbers, the paper's names of them, and the metric whose failure they share."""

    title: str
    metrics: tuple[str, ...]
    printed: tuple[str, ...]
    family: str
    decimals: int  # the paper's

    @property
    def lower_is_better(self) -> bool:
        return self.family == "fd"

    @staticmethod
    def of(table: int, extractor: str) -> Measure:
        if table == 3:
            features = "" if extractor == "inception" else f" on {extractor} features"
            title = f"PRD as F8 (recall), F1/8 (precision){features}, higher is better"
            return Measure(title, ("f8", "f1_8"), ("f8", "f1_8"), "prd", 3)
        gans = ", beside the GANs that the paper cites" if table == 4 else ""
        if extractor == "inception":
            return Measure(f"FID, lower is better{gans}", ("fid",), ("mean",), "fd", 1)
        return Measure(f"FD ({extractor}), lower is better{gans}", ("fd",), ("mean",), "fd", 1)


def single_protocol(frame: pd.DataFrame, table: str) -> tuple[str, dict[str, Any]]:
    """Return the only protocol id of a frame and what is known of it; UserError when there are several, whose numbers
    do not compare.
    """
    ids = sorted(set(frame["protocol"]) - {""})
    if len(ids) > 1:
        raise UserError(
            f"table {table} cannot mix the protocols {' and '.join(ids)}: choose one with --protocol ID, "
            "or run again so that all trials are evaluated under one"
        )
    return (ids[0], frame.attrs.get("protocols", {}).get(ids[0], {})) if ids else ("", {})


def marked(frame: pd.DataFrame, layout: Layout, extractor: str) -> set[str]:
    """Return the rows trained on the network that scores them (†)."""
    dagger = frame.attrs.get("dagger", {})
    return {row for row in layout.rows if extractor in dagger.get((layout.profile, row), [])}


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
    decimals = 1 if measure.lower_is_better and large else 3

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
        groups = _groups(cells, dataset, fair, measure)
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


def _groups(cells: dict[tuple[str, str], Cell], dataset: str, rows: Sequence[str], measure: Measure) -> list[set[str]]:
    """The leading group by each of the measure's numbers."""
    lower = measure.lower_is_better
    return [leaders(cells, dataset, rows, place, lower_is_better=lower) for place in range(len(measure.metrics))]


def stale_note(layout: Layout, rows: Sequence[str]) -> list[str]:
    """Return what ‡ means, where one of the rows has it."""
    said = "‡: stale, trained by code or settings that have changed since; `aegen-bench run --stale` trains it again."
    return [said] if any(row in rows for _, row in layout.stale) else []
