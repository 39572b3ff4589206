"""The paper's Figures 2 to 8 and some others, drawn from artefacts. Only this folder imports matplotlib."""

from __future__ import annotations

from aegen_bench.report.figures.catalogue import catalogue, write

__all__ = ["catalogue", "write"]
