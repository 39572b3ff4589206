"""What a family of figures declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from matplotlib.figure import Figure

from aegen_bench.report.evidence import Evidence

__all__ = ["Drawn", "Kind"]

Drawn = Iterator[tuple[str, Figure]]


class Kind(NamedTuple):
    """How a figure is drawn, and what is missing when nothing is."""

    draw: Callable[[Evidence], Drawn]
    needs: str
