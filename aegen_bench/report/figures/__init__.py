"""The paper's Figures 2 to 8 and some it lacks, from what trials left. matplotlib is imported in this folder alone."""

from __future__ import annotations

from aegen_bench.report.figures.catalogue import catalogue, write

__all__ = ["catalogue", "write"]
