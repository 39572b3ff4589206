"""Sheets of images: Figures 2, 5, 6, 7 and 8, and all rows side by side. They show the first images of each trial,
without selection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aegen_bench.numerics.pictures import grid
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.figures.style import GREY, WARNING, WIDTH, Drawn, Kind, canvas, headed

__all__ = ["FIGURES"]

LARGE, PAPERS = "celebahq", "celeba"
_HATCH = {"diverged": "///", "failed": "xxx", "timeout": "..."}


@dataclass(frozen=True)
class Panel:
    """The images of an entry, [n, C, S, S], or None; `state` is that of the trial, or `no trial`, or `no images`."""

    title: str
    images: NDArray[np.uint8] | None
    state: str
    columns: int
    note: str = ""


def look(evidence: Evidence, dataset: str, row: str, array: str, title: str, limit: int, columns: int = 0) -> Panel:
    """Return the first `limit` images in an array of the entry's first trial that ended well, without selection.

    A note mentions earlier seeds that did not end well. With `columns` 0, the array decides: [n, columns, C, S, S] has
    its own, [n, C, S, S] becomes a square.
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


def show(axes: Axes, panel: Panel, inches: float) -> None:
    """Draw a panel: collapsed trials have a special frame; missing images, a hatched or empty box with the reason."""
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
        scale = max(1, 600 // max(sheet.shape[:2]))  # an integer, so that the white lines are equally thin
        axes.imshow(sheet.repeat(scale, 0).repeat(scale, 1), cmap="gray", vmin=0, vmax=255)
        axes.spines[:].set_visible(False)
        if panel.state == "collapsed":
            axes.spines[:].set(visible=True, color=WARNING, linewidth=2)
            lines.append("collapsed")
    axes.set_title(headed("\n".join(line for line in lines if line), inches))


def lettered(panels: Sequence[Panel]) -> list[Panel]:
    """Return the panels with letters as in the paper, if there are several."""
    if len(panels) < 2:
        return list(panels)
    return [replace(p, title=f"({chr(97 + i)}) {p.title}" if i < 26 else p.title) for i, p in enumerate(panels)]


def sheet(
    evidence: Evidence,
    shown: Sequence[Panel],
    across: int = 4,
    *,
    dataset: str = "",
    foot: str = "",
    row: str = "",
    below: Sequence[Panel] = (),
) -> Drawn:
    """Draw equal panels, of one dataset or each of its own, and one as wide as the page below them; nothing without
    images.
    """
    drawn = next((panel for panel in shown if panel.images is not None), None)
    if drawn is None or drawn.images is None:
        return
    columns = min(across, len(shown))
    rows = -(-len(shown) // columns)
    tall = -(-len(drawn.images) // drawn.columns) / drawn.columns
    side = min(WIDTH / columns, 4.5 / max(1.0, tall))
    heights = [side * tall] * rows + [0.6 * columns * side] * len(below)
    figure = canvas(sum(height + 0.3 for height in heights), columns * side)
    layout = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for i, panel in enumerate(lettered([*shown, *below])):
        place, inches = (layout[i // columns, i % columns], side) if i < len(shown) else (layout[-1, :], columns * side)
        show(figure.add_subplot(place), panel, inches)
    figure.suptitle(evidence.where(dataset or row))
    if foot:
        figure.supxlabel(headed(foot, columns * side), fontsize=6.5, color=GREY)
    yield f"-{dataset}" if dataset else "", figure


def interpolated(evidence: Evidence, row: str) -> list[Panel]:
    """Return interpolations in noise space on the paper's dataset, or else on the last one that has some."""
    datasets = sorted(evidence.layout.datasets, key=lambda name: name == PAPERS)
    looks = [(name, f"Noise interpolation, {evidence.name(name)}") for name in datasets]
    found = [look(evidence, name, row, "interpolations", title, 0) for name, title in looks]
    return [panel for panel in found if panel.images is not None][-1:]


def figure2(evidence: Evidence) -> Drawn:
    """Draw samples of GLF on all datasets, and interpolations on CelebA, or else on the last dataset that has some."""
    grids = [_samples(evidence, "glf", name) for name in evidence.layout.datasets]
    yield from sheet(evidence, grids, across=3, below=interpolated(evidence, "glf"), row="glf")


def _samples(evidence: Evidence, row: str, dataset: str, more: str = "") -> Panel:
    return look(evidence, dataset, row, "samples", evidence.name(dataset) + more, 25 if dataset == LARGE else 36)


def figure5(evidence: Evidence) -> Drawn:
    """Draw generated images with their nearest training images by pixel L2, to show whether they are memorised."""
    found = [
        look(evidence, dataset, "glf", "neighbours", f"{evidence.name(dataset)}: a sample, its nearest", 0)
        for dataset in evidence.layout.datasets
        if evidence.trials(dataset, "glf")
    ]
    yield from sheet(evidence, found, across=2, row="glf")


def figure6(evidence: Evidence) -> Drawn:
    """Draw samples of GLF with squared error (top) and with the perceptual loss (bottom)."""
    names = [name for name in evidence.layout.datasets if name != LARGE]
    rows = {"glf": "", "glf_perceptual": ", perceptual"}
    tried = [row for row in rows if any(evidence.trials(dataset, row) for dataset in names)]
    grids = [_samples(evidence, row, dataset, rows[row]) for row in tried for dataset in names]
    yield from sheet(evidence, grids, across=len(names), row="glf")


def figure7(evidence: Evidence) -> Drawn:
    """Draw samples of GLF with the perceptual loss."""
    yield from sheet(evidence, [_samples(evidence, "glf_perceptual", LARGE)], row="glf_perceptual")


def figure8(evidence: Evidence) -> Drawn:
    """Draw interpolations of GLF with the perceptual loss."""
    yield from sheet(evidence, interpolated(evidence, "glf_perceptual"), row="glf_perceptual")


def samples(evidence: Evidence) -> Drawn:
    """Draw samples of all rows of a dataset, from the same noise if its shape is the same."""
    yield from _all_rows(evidence, "samples", 36, 0)


def reconstructions(evidence: Evidence) -> Drawn:
    """Draw test images, each with its reconstruction on the right."""
    yield from _all_rows(evidence, "reconstructions", 32, 8)


def _all_rows(evidence: Evidence, array: str, limit: int, columns: int) -> Iterator[tuple[str, Figure]]:
    """Draw a panel per row. Rows that ended well but lack such images are listed below instead."""
    for dataset in evidence.layout.datasets:
        rows = [row for row in evidence.layout.rows if evidence.trials(dataset, row)]
        found = [look(evidence, dataset, row, array, evidence.name(row), limit, columns) for row in rows]
        without = [panel.title for panel in found if panel.state == "no images"]
        foot = f"Without {array}: {', '.join(without)}" if without else ""
        yield from sheet(evidence, [panel for panel in found if panel.state != "no images"], dataset=dataset, foot=foot)


_ASK = "`aegen-bench run --models {}` makes some"
FIGURES = {
    "2": Kind(figure2, f"no trial of glf left samples; {_ASK.format('glf')}"),
    "5": Kind(figure5, f"no trial of glf left its neighbours; {_ASK.format('glf')}"),
    "6": Kind(figure6, f"no trial of glf or glf_perceptual left samples; {_ASK.format('glf,glf_perceptual')}"),
    "7": Kind(
        figure7,
        f"no trial of glf_perceptual on {LARGE} left samples; {_ASK.format('glf_perceptual --datasets ' + LARGE)}",
    ),
    "8": Kind(figure8, f"no trial of glf_perceptual left interpolations; {_ASK.format('glf_perceptual')}"),
    "samples": Kind(samples, "no trial left samples"),
    "reconstructions": Kind(reconstructions, "no trial left reconstructions"),
}
