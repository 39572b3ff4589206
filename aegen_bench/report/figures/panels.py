"""A sheet of images in a panel, and what stands there when a trial left none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aegen_bench.numerics.pictures import grid
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.figures.style import GREY, WARNING, WIDTH, canvas

__all__ = ["Panel", "look", "panels", "show"]

_HATCH = {"diverged": "///", "failed": "xxx", "timeout": "..."}


@dataclass(frozen=True)
class Panel:
    """One entry's images [n, C, S, S], or None; `state` is the trial's, or `no trial`; `seed` whose images they are."""

    title: str
    images: NDArray[np.uint8] | None
    state: str
    columns: int
    note: str = ""


def look(evidence: Evidence, dataset: str, row: str, array: str, title: str, limit: int, columns: int = 0) -> Panel:
    """Return the first `limit` images of an array of an entry's first trial that ended well: nothing is selected.

    Where an earlier seed ended badly, the note says so. `columns` 0: as the array has it, [n, columns, C, S, S], or a
    square of [n, C, S, S].
    """
    trials = evidence.trials(dataset, row)
    passed: list[str] = []
    for trial in trials:
        if trial.state in ("ok", "collapsed"):
            found = evidence.array(trial, array)
            if found is not None and found.size:
                rows = found.reshape(-1, *found.shape[-3:])[: limit or None]
                note = "; ".join([*passed, *([f"seed {trial.seed}"] if passed else [])])
                across = columns or (found.shape[1] if found.ndim == 5 else int(len(rows) ** 0.5))
                return Panel(title, rows, trial.state, across, note)
        passed.append(f"seed {trial.seed} {trial.state if trial.state not in ('ok', 'collapsed') else 'left none'}")
    state = trials[0].state if trials else "no trial"
    return Panel(title, None, "no images" if state in ("ok", "collapsed") else state, columns)


def show(axes: Axes, panel: Panel) -> None:
    """Draw a panel: collapsed trials in a frame of their own; no images as a hatched or an empty box that says why."""
    lines = [panel.title, panel.note]
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(True)
    if panel.images is None:
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.spines[:].set(color=GREY, linestyle=":" if panel.state == "no trial" else "-")
        if panel.state in _HATCH:
            axes.patch.set(hatch=_HATCH[panel.state], edgecolor="#C8C8C8", linewidth=0)
        plain = {"boxstyle": "square", "facecolor": "white", "edgecolor": "none"}
        axes.text(0.5, 0.5, panel.state, ha="center", va="center", color="#404040", bbox=plain)
    else:
        sheet = grid(panel.images, panel.columns)
        scale = max(1, 600 // max(sheet.shape[:2]))  # whole pixels, so that the white rules stay equally thin
        sheet = sheet.repeat(scale, 0).repeat(scale, 1)
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=255)
        axes.spines[:].set_visible(False)
        if panel.state == "collapsed":
            axes.spines[:].set(visible=True, color=WARNING, linewidth=2)
            lines.append("collapsed")
    axes.set_title("\n".join(line for line in lines if line))


def panels(shown: Sequence[Panel], across: int = 4, width: float = WIDTH) -> Figure:
    """Return a figure of equal panels, lettered as in the paper where there are several."""
    columns = min(across, len(shown))
    rows = -(-len(shown) // columns)
    drawn = next((panel for panel in shown if panel.images is not None), None)
    tall = -(-len(drawn.images) // drawn.columns) / drawn.columns if drawn and drawn.images is not None else 1.0
    across_inches = min(width / columns, 4.5 / max(1.0, tall))
    figure = canvas(rows * (across_inches * tall + 0.3), columns * across_inches)
    for i, (axes, panel) in enumerate(zip(figure.subplots(rows, columns, squeeze=False).flat, shown, strict=False)):
        show(axes, panel)
        if len(shown) > 1:
            axes.set_title(f"({chr(97 + i)}) {axes.get_title()}" if i < 26 else axes.get_title())
    for axes in figure.axes[len(shown) :]:
        axes.set_axis_off()
    return figure
