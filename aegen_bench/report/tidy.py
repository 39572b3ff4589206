"""Tables for machines: every number of a table at full precision, a line or object each."""

from __future__ import annotations

import csv as writer
import io
import json as encoder
import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from aegen_bench.report.table import Table, Value

__all__ = ["csv", "json"]

_ABOUT = ("profile", "protocol", "device")


def csv(*tables: Table) -> str:
    """Return one header and a line for each number; a field that does not apply is empty."""
    text = io.StringIO()
    columns = ["table", *_ABOUT, *(field.name for field in fields(Value))]
    lines = writer.DictWriter(text, columns, restval="", lineterminator="\n")
    lines.writeheader()
    for table in tables:
        about = {"table": table.name, **{name: table.about.get(name, "") for name in _ABOUT}}
        lines.writerows(about | value for value in _values(table))
    return text.getvalue()


def json(*tables: Table) -> str:
    """Return a list of tables: name, title, notes, what they are about, and `values`, of which what does not apply is
    left out. A table of sentences has `columns` and `rows` instead.
    """
    told = []
    for table in tables:
        numbers = {"values": list(_values(table))} if table.values else {"columns": table.columns, "rows": table.rows}
        told.append({"name": table.name, "title": table.title, **table.about, "notes": table.notes, **numbers})
    return encoder.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _values(table: Table) -> Iterator[dict[str, Any]]:
    for value in table.values:
        yield {name: known for name, known in vars(value).items() if known not in (None, "") and not _undefined(known)}


def _undefined(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
