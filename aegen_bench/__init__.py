"""Autoencoder-based image generators, compared under one architecture, preprocessing and evaluation.

From Python: `aegen_bench.evaluate` scores images, `aegen_bench.load` restores a trained baseline,
`aegen_bench.table` gives a table of the report and `aegen_bench.results.load` every number, as pandas frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aegen_bench import results
    from aegen_bench.api import evaluate, load
    from aegen_bench.report import table

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load", "results", "table"]


def __getattr__(name: str) -> Any:
    """Import on first use: `import aegen_bench` costs nothing."""
    from importlib import import_module

    if name in ("evaluate", "load"):
        return getattr(import_module("aegen_bench.api"), name)
    if name == "table":
        return import_module("aegen_bench.report").table
    if name == "results":
        return import_module("aegen_bench.results")
    raise AttributeError(f"module 'aegen_bench' has no attribute '{name}'")
