"""Tables 1 (Fréchet distance) and 3 (PRD): one row a model, one column a dataset, the paper beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aegen_bench.errors import UserError
from aegen_bench.report.cells import Cell, Layout, Table, collect, overrides, trial_counts
from aegen_bench.report.guests import note
from aegen_bench.report.published import Published

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["quality"]


@dataclass(frozen=True)
class Measure:
    """What a quality table shows: our numbers, the paper's names of them, and the metric whose failure they share."""

    title: str
    metrics: tuple[str, ...]
    printed: tuple[str, ...]
    family: str


def _measure(table: int, extractor: str) -> Measure:
    if table == 3:
        features = "" if extractor == "inception" else f" on {extractor} features"
        title = f"PRD as F8 (recall), F1/8 (precision){features}, higher is better"
        return Measure(title, ("f8", "f1_8"), ("f8", "f1_8"), "prd")
    if extractor == "inception":
        return Measure("FID, lower is better", ("fid",), ("mean",), "fd")
    return Measure(f"FD ({extractor}), lower is better", ("fd",), ("mean",), "fd")


def quality(frame: pd.DataFrame, guests: pd.DataFrame, layout: Layout, table: int, name: str) -> Table:
    """Return Table 1 or 3 under one protocol, guests below our rows; UserError when the frame mixes ids, whose
    numbers do not compare.
    """
    ids = sorted(set(frame["protocol"]) - {""})
    if len(ids) > 1:
        raise UserError(
            f"table {table} cannot mix the protocols {' and '.join(ids)}: choose one with --protocol ID, "
            "or run again so that all trials are evaluated under one"
        )
    protocol = frame.attrs.get("protocols", {}).get(ids[0], {}) if ids else {}
    extractor = str(protocol.get("extractor", "features unknown"))
    measure = _measure(table, extractor)
    cells = collect(frame, measure.metrics, family=measure.family)
    beneath = collect(guests, measure.metrics, family=measure.family)
    decimals = 1 if table == 1 and any(cell.n and cell.mean[0] >= 10 for cell in cells.values()) else 3

    paper = layout.published
    beside = layout.profile == "paper" and extractor == "inception"
    columns = ["Model"]
    below = list(dict.fromkeys(guests["row"]))
    rows = [[paper.name(row)] for row in layout.rows] + [[row] for row in below]
    for line, row in zip(rows, layout.rows, strict=False):
        if extractor in frame.attrs.get("dagger", {}).get((layout.profile, row), []):
            line[0] += " †"
    for dataset in layout.datasets:
        in_paper = any(paper.value(table, row, dataset) for row in layout.rows)
        columns.append(paper.name(dataset))
        if in_paper:
            columns += ["paper", "difference"] if beside else ["paper's rank"]
        for line, row in zip(rows, layout.rows, strict=False):
            cell = cells.get((dataset, row)) or layout.blank((dataset, row))
            line.append(cell.text(decimals))
            if in_paper and beside:
                line += _numbers(paper, table, row, dataset, cell, measure.printed)
            elif in_paper:
                line.append(_ranks(paper, table, row, dataset, measure.printed))
        for line, row in zip(rows[len(layout.rows) :], below, strict=True):
            line.append(beneath.get((dataset, row), Cell()).text(decimals))
            line += [""] * (len(columns) - len(line))

    notes = [str(protocol.get("describe", f"Protocol {ids[0]}")) if ids else "Nothing is evaluated yet."]
    notes += [
        "Mean ± sample standard deviation over seeds (trials trained anew), in brackets the number of trials; "
        "a trial's value is the mean over its draws.",
        trial_counts(frame),
    ]
    if len(columns) > 1 + len(layout.datasets):
        notes += _paper_notes(paper, table, layout.rows, beside)
    if any(line[0].endswith("†") for line in rows):
        notes.append("†: trained on the network that scores it here, so not to be compared with the other rows.")
    notes += note(below)
    title = f"Table {table}. {measure.title}. Profile {layout.profile}"
    return Table(name, title, columns, rows, notes + overrides(frame, layout))


def _numbers(paper: Published, table: int, row: str, dataset: str, cell: Cell, printed: tuple[str, ...]) -> list[str]:
    """The paper's numbers with the paper's digits, and ours minus them."""
    theirs = paper.value(table, row, dataset)
    if not theirs:
        return ["", ""]
    decimals = 1 if table == 1 else 3
    text = ", ".join(f"{theirs[name]:.{decimals}f}" for name in printed)
    spread = f" ± {theirs['std']:.{decimals}f}" if "std" in theirs else ""
    cited = "" if paper.source(table, row) == "rerun" else " (cited)"
    gaps = [ours - theirs[name] for ours, name in zip(cell.mean, printed, strict=True)] if cell.n else []
    return [text + spread + cited, ", ".join(f"{gap:+.{decimals}f}" for gap in gaps)]


def _ranks(paper: Published, table: int, row: str, dataset: str, printed: tuple[str, ...]) -> str:
    ranks = (paper.rank(table, row, dataset, name) for name in printed)
    return ", ".join(str(rank) for rank in ranks if rank is not None)


def _paper_notes(paper: Published, table: int, rows: list[str], beside: bool) -> list[str]:
    printed = paper.rows(table)
    title = f"Table {table} of {paper.content['meta']['paper']}"
    notes = (
        [f"paper: {title}; difference: ours minus the paper's."]
        if beside
        else [
            f"paper's rank: the row's place among the {len(printed)} rows of {title}, 1 is best; "
            "its numbers hold under its own protocol and budget only, so they do not stand here."
        ]
    )
    cited = [row for row in rows if row in printed and paper.source(table, row) != "rerun"]
    sources = {row: paper.content["sources"][paper.source(table, row)] for row in cited}
    return notes + [f"The paper's numbers of {paper.name(row)}: {source}." for row, source in sources.items()]
