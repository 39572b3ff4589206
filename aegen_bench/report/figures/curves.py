"""PRD curves and loss curves."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from aegen_bench.report.evidence import Evidence, Trial
from aegen_bench.report.figures.kind import Drawn, Kind
from aegen_bench.report.figures.style import DASHES, PALETTE, WARNING, canvas, identity, plain_log

__all__ = ["FIGURES"]


def prd(evidence: Evidence) -> Drawn:
    """Precision against recall of each trial's first draw: a line a trial, a colour a row."""
    for dataset in evidence.layout.datasets:
        figure = canvas(3.6, 5.6)
        axes = figure.subplots()
        for number, row in enumerate(evidence.layout.rows):
            label = evidence.name(row)
            for trial in evidence.trials(dataset, row):
                if (curve := evidence.array(trial, "prd")) is not None:
                    look = {k: v for k, v in identity(number).items() if k != "marker"}
                    axes.plot(curve[1], curve[0], label=label, **look)
                    label = "_"  # once a row in the legend
        if axes.lines:
            axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axes.set_title(f"PRD of the first draw, {evidence.name(dataset)}, profile {evidence.layout.profile}")
            axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
            yield f"-{dataset}", figure


def losses(evidence: Evidence) -> Drawn:
    """Every term of every row by epoch, stages one after another: a line a term and seed."""
    for dataset in evidence.layout.datasets:
        found = {
            row: [t for t in evidence.trials(dataset, row) if _epochs(evidence, t)] for row in evidence.layout.rows
        }
        found = {row: trials for row, trials in found.items() if trials}
        if not found:
            continue
        columns = min(3, len(found))
        lines = -(-len(found) // columns)
        figure = canvas(lines * 2.6 + 0.3, 2.4 * columns if columns > 1 else 4)
        panels = figure.subplots(lines, columns, squeeze=False).flat
        for axes, (row, trials) in zip(panels, found.items(), strict=False):
            _terms(axes, evidence, trials)
            axes.set(title=evidence.name(row), xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            low, high = axes.dataLim.intervaly
            if low > 0 and high > 20 * low:
                plain_log(axes, "y")
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22), handlelength=1.5, borderpad=0, fontsize=6.5)
        for axes in figure.axes[len(found) :]:
            axes.set_axis_off()
        figure.suptitle(
            f"Mean loss terms by epoch, {evidence.name(dataset)}, profile {evidence.layout.profile}", fontsize=8
        )
        yield f"-{dataset}", figure


def _epochs(evidence: Evidence, trial: Trial) -> list[dict[str, Any]]:
    return evidence.history(trial)["epochs"]


def _terms(axes: Axes, evidence: Evidence, trials: list[Trial]) -> None:
    styles: dict[str, int] = {}
    bounds: set[int] = set()
    for trial in trials:
        epochs = _epochs(evidence, trial)
        several = len({(row["stage"], optimizer) for row in epochs for optimizer in row["terms"]}) > 1
        bounds |= {i for i in range(1, len(epochs)) if epochs[i]["stage"] != epochs[i - 1]["stage"]}
        series: dict[str, list[tuple[int, float]]] = {}
        for i, row in enumerate(epochs, 1):
            for optimizer, terms in row["terms"].items():
                for term, value in terms.items():
                    where = row["stage"] if row["stage"] != "train" else optimizer
                    name = f"{where}: {term}" if several else term
                    if value is not None and math.isfinite(value):
                        series.setdefault(name, []).append((i, value))
        for name, points in series.items():
            number = styles.setdefault(name, len(styles))
            colour, dash = PALETTE[number % len(PALETTE)], DASHES[number // len(PALETTE) % len(DASHES)]
            label = "_" if name in axes.get_legend_handles_labels()[1] else name
            marker = "" if len(points) > 1 else "."
            axes.plot(*zip(*points, strict=True), color=colour, linestyle=dash, marker=marker, lw=1, label=label)
            if trial.state == "diverged":
                axes.plot(*points[-1], "x", color=WARNING, markersize=6)
    for bound in bounds:
        axes.axvline(bound + 0.5, color="#A0A0A0", linewidth=0.6, linestyle=":")


FIGURES = {
    "prd": Kind(prd, "no trial left a PRD curve; it comes with the metric prd of a protocol"),
    "losses": Kind(losses, "no trial left a history"),
}
