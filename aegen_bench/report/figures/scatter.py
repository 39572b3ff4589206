"""Numbers as points: seeds over their mean, distance against what it costs, one extractor against another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from scipy.stats import spearmanr

from aegen_bench.report.cells import Cell
from aegen_bench.report.evidence import Evidence, Part
from aegen_bench.report.figures.style import GREY, PALETTE, WARNING, Drawn, Kind, canvas, identity, plain_log
from aegen_bench.report.summary import Cells, Summary

__all__ = ["FIGURES"]

_MARKED = "†: trained on the network that scores it here"


def seeds(evidence: Evidence) -> Drawn:
    """A point a trial and a bar at the mean, best row on top; rows without a number say why."""
    for part in evidence.parts:
        cells = part.distances
        for dataset in evidence.layout.datasets:
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
                    where: dict[str, Any] = {
                        "xytext": (6, 0),
                        "textcoords": "offset points",
                        "va": "center",
                        "color": WARNING,
                    }
                    axes.annotate(", ".join(flaws), (max(values), y), fontsize=6.5, **where)
            axes.set_yticks(range(len(rows)), [_name(evidence, row, part) for row in rows])
            axes.set(xlabel=f"{part.label}, lower is better", ylim=(len(rows) - 0.5, -0.5))
            axes.margins(x=0.12)
            plain_log(axes, "x")
            axes.set_title(f"{evidence.where(dataset, part)}: a point a seed, a bar at the mean")
            _foot(axes, [_MARKED] if part.dagger & set(rows) else [])
            yield f"-{dataset}{part.mark}", figure


def _name(evidence: Evidence, row: str, part: Part) -> str:
    return evidence.name(row) + (" †" if row in part.dagger else "")


def _foot(axes: Axes, lines: Sequence[str]) -> None:
    if lines:
        figure = axes.figure
        figure.supxlabel("\n".join(lines), fontsize=6.5, color=GREY)


def cost(evidence: Evidence, metric: str, label: str) -> Drawn:
    """Distance against seconds: points with the spread over seeds, and the front that no row is better than."""
    known = evidence.devices
    for part in evidence.parts:
        for number, device in enumerate(known, 1):
            there = Summary(part.frame[part.frame["device"] == device], evidence.layout)
            distances, times = there.cells([part.metric], family="fd"), there.cells([metric])
            for dataset in evidence.layout.datasets:
                points = _paired(times, distances, dataset)
                if not points:
                    continue
                marked = [row for row in points if row in part.dagger]
                figure = canvas(3.6, 6.2)
                axes = figure.subplots()
                front = _front({row: pair for row, pair in points.items() if row not in marked})
                if len(front) > 1:
                    line: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "zorder": 0, "label": "Pareto front"}
                    axes.step(*zip(*front, strict=True), where="post", **line)
                _cloud(axes, evidence, points, marked)
                axes.set(xlabel=f"{label} on {device}", ylabel=part.label)
                axes.set_title(evidence.where(dataset, part))
                figure.legend(loc="outside right upper")
                ended = [(row, distances[dataset, row]) for row in evidence.layout.rows if (dataset, row) in distances]
                lost = [f"{evidence.name(row)}: {cell.state}" for row, cell in ended if not cell.n]
                _foot(axes, ["; ".join(lost)] * bool(lost) + [_MARKED] * bool(marked))
                mark = f"-device{number}" if len(known) > 1 else ""
                yield f"-{dataset}{part.mark}{mark}", figure


Points = dict[str, tuple[Cell, Cell]]


def _paired(one: Cells, two: Cells, dataset: str) -> Points:
    """The rows of a dataset that have a number on both sides."""
    rows = [row for where, row in one if where == dataset]
    return {row: (one[dataset, row], two[dataset, row]) for row in rows if one[dataset, row].n and two[dataset, row].n}


def _cloud(axes: Axes, evidence: Evidence, points: Points, marked: Collection[str]) -> None:
    """A point a row at its means, whiskers as long as the standard deviations; marked rows are hollow."""
    for row in (row for row in evidence.layout.rows if row in points):
        x, y = points[row]
        look = {k: v for k, v in identity(evidence.layout.rows.index(row)).items() if k != "linestyle"}
        spread: dict[str, Any] = {"xerr": x.numbers[0].std, "yerr": y.numbers[0].std, "elinewidth": 0.7}
        hollow: dict[str, Any] = {"markerfacecolor": "white"} if row in marked else {}
        name = evidence.name(row) + (" †" if row in marked else "") + (" (collapsed)" if y.ended["collapsed"] else "")
        axes.errorbar(x.value, y.value, label=name, linestyle="", markersize=5, **spread, **look, **hollow)
    plain_log(axes, "x")
    plain_log(axes, "y")


def _front(points: Points) -> list[tuple[float, float]]:
    """The points that no other one is as good as on both sides, from left to right."""
    ranked = sorted((x.value, y.value) for x, y in points.values())
    return [p for i, p in enumerate(ranked) if all(p[1] < other[1] for other in ranked[:i])]


def extractors(evidence: Evidence) -> Drawn:
    """Do two networks agree? Each row's distance under one protocol against that under another."""
    for one, two in combinations(evidence.parts, 2):
        if one.extractor == two.extractor:
            continue
        for dataset in evidence.layout.datasets:
            points = _paired(one.distances, two.distances, dataset)
            if len(points) < 3:
                continue
            marked = [row for row in points if any(row in part.dagger for part in (one, two))]
            figure = canvas(3.6, 6.2)
            axes = figure.subplots()
            _cloud(axes, evidence, points, marked)
            axes.set(xlabel=one.label, ylabel=two.label)
            fair = [pair for row, pair in points.items() if row not in marked]
            said = ""
            if len(fair) > 2:
                rho = spearmanr([x.value for x, _ in fair], [y.value for _, y in fair]).statistic
                said = f"; rank correlation {rho:.2f} over {len(fair)} rows"
            axes.set_title(f"{evidence.where(dataset)}, protocols {one.name} and {two.name}{said}")
            figure.legend(loc="outside right upper")
            _foot(axes, ["†: trained on one of the two networks"] * bool(marked))
            yield f"-{dataset}{one.mark}{two.mark}", figure


_SCORED = "no trial is scored yet; `aegen-bench run` does it"
FIGURES = {
    "seeds": Kind(seeds, _SCORED),
    "training_time": Kind(partial(cost, metric="train_seconds", label="training, seconds,"), _SCORED),
    "sampling_time": Kind(partial(cost, metric="sample_seconds", label="sampling, seconds,"), _SCORED),
    "extractors": Kind(extractors, "no dataset has three rows scored by two extractors"),
}
