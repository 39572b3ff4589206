"""Trunk x prior: how good the samples of every pair are."""

from __future__ import annotations

from itertools import product

import numpy as np
from matplotlib.patches import Rectangle

from aegen_bench.report.evidence import Evidence
from aegen_bench.report.figures.style import GREY, Drawn, Kind, canvas, headed
from aegen_bench.report.tables import matrix

__all__ = ["FIGURES"]


def heat(evidence: Evidence) -> Drawn:
    """The table `matrix` in colours, on a logarithmic scale: darker is better. Reconstructions stand apart to the left;
    the leading priors of a trunk are framed.
    """
    for table in matrix(evidence):
        cells = [line[1:] for line in table.lines]
        values = np.array([[cell.value if cell.n else np.nan for cell in line] for line in cells])
        heads = [column.head for column in table.columns[1:]]
        figure = canvas(0.34 * len(cells) + 1.3, 0.56 * len(heads) + 1.8)
        axes = figure.subplots()
        logs = np.log(values)
        shades = (logs - np.nanmin(logs)) / (np.nanmax(logs) - np.nanmin(logs) or 1.0)
        axes.imshow(shades, cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
        for y, x in product(range(len(cells)), range(len(heads))):
            cell, value = cells[y][x], float(values[y, x])
            if cell.n:
                told = f"{value:.3g}" if value < 100 else f"{value:,.0f}"
                colour = "white" if shades[y, x] < 0.55 else "black"
            else:
                told, colour = cell.state if cell.row else "", GREY
            axes.text(x, y, told, color=colour, ha="center", va="center", fontsize=7)
            if cell.n and cell.numbers[0].leading:
                axes.add_patch(Rectangle((x - 0.44, y - 0.4), 0.88, 0.8, fill=False, edgecolor=colour, linewidth=1))
        axes.axvline(0.5, color="white", linewidth=5, zorder=0.5)
        axes.set_xticks(range(len(heads)), heads, rotation=35, ha="right")
        axes.set_yticks(range(len(cells)), [line[0].text for line in table.lines])
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_title(headed(f"{table.title}; framed: the leading priors of a trunk", figure.get_figwidth()))
        yield f"-{table.name.removeprefix('matrix-')}", figure


NEEDS = "no two trunks with two priors are scored; `aegen-bench run --models matrix` trains them"
FIGURES = {"matrix": Kind(heat, NEEDS)}
