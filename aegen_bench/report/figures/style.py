"""How every figure looks, in one place; and a figure as bytes, the same for the same data."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

__all__ = ["FORMATS", "GREY", "PALETTE", "WARNING", "WIDTH", "applied", "canvas", "encode", "identity", "ordered"]

FORMATS = ("png", "pdf")
WIDTH = 7.0
"""Inches: the text of a two-column page."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours for all kinds of colour vision, without the yellow that white paper swallows."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (4, 1.2, 1, 1.2)))
GREY, WARNING = "#767676", "#D55E00"

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters stay letters in the article
    "savefig.dpi": 200,
}


def canvas(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, in inches. It belongs to no window and no global state."""
    return Figure(figsize=(width, height), layout="constrained")


def applied() -> AbstractContextManager[None]:
    """Draw and encode inside of this."""
    return matplotlib.rc_context(_STYLE)


def encode(figure: Figure, form: str) -> bytes:
    """Return the figure as PNG or PDF, without dates and versions."""
    buffer = io.BytesIO()
    undated: dict[str, Any] = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}[form]
    figure.savefig(buffer, format=form, metadata=undated, bbox_inches="tight", pad_inches=0.05)
    return buffer.getvalue()


def identity(number: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the n-th row of a profile: no two of the first 28 are alike."""
    around, place = divmod(number, len(PALETTE))
    return {
        "color": PALETTE[place],
        "marker": MARKERS[(place + around) % len(MARKERS)],
        "linestyle": DASHES[around % len(DASHES)],
    }


def plain_log(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make a drawn axis logarithmic, with plain numbers at few ticks also where it spans less than a power of ten."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    narrow = high < 20 * low
    axis.set_major_locator(MaxNLocator(5) if narrow else LogLocator(subs=(1.0,) if high > 1000 * low else (1.0, 3.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def ordered(names: Sequence[str]) -> dict[str, Any]:
    """Return colours from dark to light for names that have an order (a sweep)."""
    scale = matplotlib.colormaps["viridis"]
    return {name: scale(0.85 * i / max(1, len(names) - 1)) for i, name in enumerate(names)}
