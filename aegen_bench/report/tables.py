"""Every table of numbers from the results of one profile: numbers in, text out; no file is touched."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aegen_bench.errors import UserError, unknown
from aegen_bench.report.architecture import architecture
from aegen_bench.report.cells import SPREADS, Cell, Entry, Layout, devices
from aegen_bench.report.comparisons import comparisons
from aegen_bench.report.costs import times
from aegen_bench.report.epochs import epochs
from aegen_bench.report.guests import invited
from aegen_bench.report.overall import overall
from aegen_bench.report.published import Published
from aegen_bench.report.quality import quality
from aegen_bench.report.scores import scores
from aegen_bench.report.table import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EVERY", "SUMMARY", "TABLES", "build", "layout"]

TABLES = ("1", "2", "3", "4", "5", "6")
EVERY = (*TABLES, "comparisons", "overall", "scores")
"""The tables of numbers by name; what is said of claims is not among them."""
SUMMARY = ("1", "3", "5", "6")
"""What a run prints when it has ended."""


def build(
    frame: pd.DataFrame,
    published: Published,
    tables: Sequence[str] = TABLES,
    *,
    others: pd.DataFrame | None = None,
    planned: Sequence[Entry] = (),
    no_data: Collection[str] = (),
    protocol: str | None = None,
    stale: Collection[Entry] = (),
    spread: str = "seeds",
    near: Mapping[Entry, Cell] | None = None,
) -> list[Table]:
    """Return the tables of one profile: of quality one a protocol id, of times one a device, never a mixture.

    `others` are results of image sets that no trial made; they join the quality tables. `planned` are the (dataset,
    row) that a run asked for: they have a place, in that order, before any trial has ended. `stale` entries are marked
    ‡, `spread` says what stands behind ± in the quality tables; `near` is what `epochs.convergence` found.
    """
    if spread not in SPREADS:
        raise unknown("spread", spread, SPREADS)
    plan = replace(layout(frame, published, planned=planned, no_data=no_data), stale=frozenset(stale), spread=spread)
    ids = [name for name in frame["protocol"].unique() if name]  # as in the records: in the profile's order
    if protocol is not None:
        if protocol not in ids:
            raise unknown("protocol with results", protocol, ids)
        ids = [protocol]
    guests = invited(frame.iloc[:0] if others is None else others, frame)
    built: list[Table] = []
    for table in tables:
        if table in ("1", "3", "4", "comparisons", "overall", "scores"):
            for mark, part in _cut(frame, "protocol", ids):
                beside = guests[guests["protocol"].isin(part["protocol"])]
                here = set(part.loc[part["protocol"] != "", "dataset"].unique())
                scored = [dataset for dataset in plan.datasets if dataset in here]
                if table == "scores":
                    built += [scores(part, beside, plan, dataset, f"scores-{dataset}{mark}") for dataset in scored]
                elif table == "comparisons":
                    built += [comparisons(part, plan, dataset, f"comparisons-{dataset}{mark}") for dataset in scored]
                elif table == "overall":
                    built.append(overall(part, beside, plan, f"overall{mark}"))
                else:
                    built.append(quality(part, beside, plan, int(table), f"table{table}{mark}"))
        elif table == "2":
            built.append(architecture(frame, plan, "table2"))
        elif table == "5":
            built.append(epochs(frame, plan, "table5", near))
        elif table == "6":
            built += [times(part, plan, f"table6{mark}") for mark, part in _cut(frame, "device", devices(frame))]
        else:
            raise unknown("table", table, [*EVERY, "verdicts", "claims"])
    return built


def _cut(frame: pd.DataFrame, column: str, keys: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a file mark and the part of each key; what has no key (costs, trials that failed) goes with every part."""
    for i, key in enumerate(keys or [""]):
        mark = "" if len(keys) < 2 else f"-{key}" if column == "protocol" else f"-device{i + 1}"
        yield mark, frame[frame[column].isin([key, ""])]


def layout(
    frame: pd.DataFrame, published: Published, *, planned: Sequence[Entry] = (), no_data: Collection[str] = ()
) -> Layout:
    """Order rows and datasets by the plan, then the paper, then the alphabet, numbers by their size; UserError when
    there are two profiles.
    """
    profiles = sorted(set(frame["profile"].unique()))
    if len(profiles) != 1:
        found = " and ".join(profiles) or "none"
        raise UserError(f"a table holds one profile, here are {found}: choose one with --profile")
    rows = [row for _, row in planned]
    datasets = [dataset for dataset, _ in planned] + sorted(no_data)
    return Layout(
        profile=profiles[0],
        published=published,
        datasets=_order(datasets, published.datasets, set(frame["dataset"].unique())),
        rows=_order(rows, [*published.rows(1), *published.rows(5)], set(frame["row"].unique())),
        planned=frozenset(planned),
        no_data=frozenset(no_data),
    )


def _order(planned: Iterable[str], papers: list[str], found: set[str]) -> list[str]:
    known = [*planned, *(name for name in papers if name in found)]
    return list(dict.fromkeys([*known, *sorted(found, key=_by_number)]))


def _by_number(name: str) -> list[str | float]:
    """A key of the alphabet in which beta50 comes before beta400: words and numbers take turns."""
    return [float(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+(?:\.\d+)?)", name))]
