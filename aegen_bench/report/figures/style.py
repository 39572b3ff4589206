"""The style of all figures, and their encoding, which is reproducible byte by byte."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from aegen_bench.report.evidence import Evidence

__all__ = [
    "FORMATS",
    "GREY",
    "PALETTE",
    "STYLE",
    "WARNING",
    "WIDTH",
    "Drawn",
    "Kind",
    "canvas",
    "encode",
    "headed",
    "identity",
    "keep_readable",
    "ordered",
    "plain_log",
]

Drawn = Iterator[tuple[str, Figure]]


class Kind(NamedTuple):
    """A kind of figure: the function that draws it, and the data it needs, named when they are missing."""

    draw: Callable[[Evidence], Drawn]
    needs: str


FORMATS = ("png", "pdf")
WIDTH = 7.0
"""Text width of a two-column page in inches."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The colour-blind safe palette of Okabe and Ito, without yellow, which is too pale on white paper."""
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (4, 1.2, 1, 1.2)))
GREY, WARNING = "#767676", "#D55E00"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    **dict.fromkeys(("axes.titlesize", "axes.labelsize", "figure.titlesize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # embeds TrueType fonts, so that text remains text
    "savefig.dpi": 200,
}


def canvas(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, with its size in inches, independent of pyplot."""
    return Figure(figsize=(width, height), layout="constrained")


def encode(figure: Figure, form: str) -> bytes:
    """Return the figure as PNG or PDF, without dates and versions."""
    buffer = io.BytesIO()
    undated: dict[str, Any] = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}[form]
    figure.savefig(buffer, format=form, metadata=undated, bbox_inches="tight", pad_inches=0.05)
    return buffer.getvalue()


def headed(text: str, inches: float) -> str:
    """Return a title broken into lines that fit a panel of this width, however long the name."""
    fits = max(8, int(inches / 0.068))  # characters of this font, at the size of titles
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, fits) or [""])


def identity(number: int) -> dict[str, Any]:
    """Return colour and dashes of the n-th row of a profile; the first 28 are all different."""
    around, place = divmod(number, len(PALETTE))
    return {"color": PALETTE[place], "linestyle": DASHES[around % len(DASHES)]}


def keep_readable(axes: Axes) -> None:
    """Cut off outliers that would flatten all other values to a line, and note how far they go.

    An outlier is further from the middle 80% of its own curve than three times their range.
    """
    kept, every = [], []
    for line in axes.lines:
        y = np.asarray(line.get_ydata(), dtype=float)
        low, high = np.quantile(y, [0.1, 0.9], method="nearest")
        kept.append(y[(y >= low - 3 * (high - low)) & (y <= high + 3 * (high - low))])
        every.append(y)
    near, full = np.concatenate(kept), np.concatenate(every)
    if np.ptp(full) > 10 * np.ptp(near) > 0:
        margin = 0.05 * np.ptp(near)
        axes.set_ylim(near.min() - margin, near.max() + margin)
        far = [f"{sign} to {x:.2g}" for sign, x in (("up", full.max()), ("down", full.min())) if x not in near]
        plain = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        where: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "top", "bbox": plain}
        axes.text(0.99, 0.99, ", ".join(far), color=GREY, fontsize=6, **where)


def plain_log(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make a drawn axis logarithmic, with plain numbers at a few ticks even if it spans less than a power of ten. An
    axis with a single value, or with values that are not positive, is unchanged.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    least, most = axis.get_data_interval()
    if least <= 0 or not 1 + 1e-9 < most / least < 1e30:
        return
    axes.set(**{f"{which}scale": "log"})
    low, high = axis.get_view_interval()
    narrow = high < 20 * low
    axis.set_major_locator(MaxNLocator(5) if narrow else LogLocator(subs=(1.0,) if high > 1000 * low else (1.0, 3.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def ordered(names: Sequence[str]) -> dict[str, Any]:
    """Return colours from dark to light for ordered names (a sweep)."""
    scale = matplotlib.colormaps["viridis"]
    return {name: scale(0.85 * i / max(1, len(names) - 1)) for i, name in enumerate(names)}
