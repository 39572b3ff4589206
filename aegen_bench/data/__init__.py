"""Images: those of datasets, prepared once and kept in the data folder, and those of any generator."""

from __future__ import annotations

from aegen_bench.data.datasets import discover, fetch, fingerprint, known_fingerprint, load, missing, to_fetch
from aegen_bench.data.folders import cached_file, default_folder, fetch_command
from aegen_bench.data.generated import Files, as_uint8, find
from aegen_bench.data.prepared import shape
from aegen_bench.data.recipe import Recipe, Split

__all__ = [
    "Files",
    "Recipe",
    "Split",
    "as_uint8",
    "cached_file",
    "default_folder",
    "discover",
    "fetch",
    "fetch_command",
    "find",
    "fingerprint",
    "known_fingerprint",
    "load",
    "missing",
    "shape",
    "to_fetch",
]
