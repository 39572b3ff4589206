"""Scatter plots: one point per seed, and a bar at the mean."""

from __future__ import annotations

from typing import Any

from aegen_bench.report.evidence import Evidence
from aegen_bench.report.figures.style import GREY, PALETTE, WARNING, Drawn, Kind, canvas, plain_log

__all__ = ["FIGURES"]


def seeds(evidence: Evidence) -> Drawn:
    """Draw a point per trial and a bar at the mean, best row on top; rows without a number have the reason."""
    for part, dataset in evidence.scored():
        cells = part.distances
        here = {row: cells[dataset, row] for row in evidence.layout.rows if (dataset, row) in cells}
        if not any(cell.n for cell in here.values()):
            continue
        rows = sorted(here, key=lambda row: here[row].value if here[row].n else float("inf"))
        figure = canvas(0.24 * len(rows) + 0.9, 5.5)
        axes = figure.subplots()
        for y, row in enumerate(rows):
            cell, values = here[row], here[row].numbers[0].sample
            if not cell.n:
                axes.text(0.01, y, cell.state, va="center", color=WARNING, transform=axes.get_yaxis_transform())
                continue
            axes.plot(values, [y] * len(values), "o", color=PALETTE[0], alpha=0.7, markeredgewidth=0)
            axes.plot([cell.value] * 2, [y - 0.3, y + 0.3], color="black", linewidth=1.2)
            if flaws := [f"{n} {name}" for name, n in sorted(cell.ended.items()) if n]:
                near: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
                axes.annotate(", ".join(flaws), (max(values), y), color=WARNING, fontsize=6.5, **near)
        axes.set_yticks(range(len(rows)), [evidence.name(row) + " †" * (row in part.dagger) for row in rows])
        axes.set(xlabel=f"{part.label}, lower is better", ylim=(len(rows) - 0.5, -0.5))
        axes.margins(x=0.12)
        plain_log(axes, "x")
        axes.set_title(f"{evidence.where(dataset, part)}: one point per seed, bar at the mean")
        if part.dagger & set(rows):
            figure.supxlabel("†: trained with the network that scores it here", fontsize=6.5, color=GREY)
        yield f"-{dataset}{part.mark}", figure


FIGURES = {"seeds": Kind(seeds, "no trial is scored yet; `aegen-bench run` does it")}
