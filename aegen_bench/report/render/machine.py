"""CSV and JSON: every number of a table at full precision, as a line or object."""

from __future__ import annotations

import json as encoder
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from aegen_bench.report.cells import FLAWS, Table

__all__ = ["COLUMNS", "csv", "frame", "json"]

COLUMNS = (
    *("table", "profile", "protocol", "device", "dataset", "row", "quantity", "stage", "against", "state", "n"),
    *("value", "std", "low", "high", *FLAWS, "leading", "open", "stale", "source", "text"),
)


def csv(*tables: Table) -> str:
    """Return a header and a line for each number; fields that do not apply are empty. Text that a spreadsheet would
    read as a formula is prefixed with an apostrophe.
    """
    lines = [{"table": table.name, **about(table), **line} for table in tables for line in records(table)]
    safe = [{name: _no_formula(value) for name, value in line.items()} for line in lines]
    return pd.DataFrame(safe, columns=list(COLUMNS), dtype=object).to_csv(index=False, lineterminator="\n")


def json(*tables: Table) -> str:
    """Return a list of tables with name, title, notes, profile, protocol or device, and `values`, without fields that
    do not apply. A table of sentences has `columns` and `rows` instead.
    """
    told = []
    for table in tables:
        values = list(records(table))
        content = {"values": values} if values else {"columns": table.heads, "rows": table.texts()}
        told.append({"name": table.name, "title": table.title, **about(table), "notes": table.notes, **content})
    return encoder.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def frame(table: Table) -> pd.DataFrame:
    """Return our numbers of a table as a frame: one line per dataset, row and quantity, with the columns `value`,
    `std`, `low`, `high`, `n` etc. Published numbers and those of external images are left out.
    """
    keys = ["dataset", "row", "quantity", "stage", "against"]
    order = [*keys, "value", "std", "low", "high", "n", "state", *FLAWS, "leading", "open", "stale", "source"]
    known = pd.DataFrame(list(records(table)), columns=order)
    known = known[known["source"].isin(["measured", "no trial"])]
    kept = [name for name in keys if known[name].notna().any()]
    return known.set_index(kept).drop(columns=[name for name in keys if name not in kept]).sort_index()


def about(table: Table) -> dict[str, str]:
    """Return the profile of a table, and its protocol id or device."""
    known = {"profile": table.profile, "protocol": table.protocol, "device": table.device}
    return {name: value for name, value in known.items() if value}


def records(table: Table) -> Iterator[dict[str, Any]]:
    """Yield each number with its fields (docs/results-format.md), without those that do not apply."""
    for cell in table.cells():
        for number in cell.numbers:
            if number.quantity:
                known = {**vars(cell), **vars(number), **{name: cell.ended[name] for name in FLAWS}}
                line = {name: known[name] for name in COLUMNS[4:]}
                yield {name: value for name, value in line.items() if _applies(value)}


def _applies(value: object) -> bool:
    return value not in (None, "") and not (isinstance(value, float) and not math.isfinite(value))


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
