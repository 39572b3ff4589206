"""Turns records into tables and figures; `build.py` puts them together."""

from __future__ import annotations

from aegen_bench.report.build import CLAIMS, FORMATS, Only, Report, draw, make, require_formats, table
from aegen_bench.report.tables import EVERY, TABLES

__all__ = [
    "CLAIMS",
    "EVERY",
    "FORMATS",
    "TABLES",
    "Only",
    "Report",
    "draw",
    "make",
    "require_formats",
    "table",
]
