"""Curves: PRD, the sweeps of Figures 3 and 4, and sweeps that the paper only mentions.

In a sweep, thin lines are means over the training batches of an epoch. Probes are measured in eval mode: solid lines
are for training images, dashed ones for held-out images, so that the gap between them is overfitting rather than a
difference of mode. The distance is that of the probe. A cross marks the end of a run that diverged.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from aegen_bench.report.evidence import Evidence, Row, Trial, distances, reading
from aegen_bench.report.figures.style import (
    GREY,
    PALETTE,
    Drawn,
    Kind,
    canvas,
    headed,
    identity,
    keep_readable,
    ordered,
    plain_log,
)

__all__ = ["FIGURES"]

SWEPT = re.compile(r"(.+)_([a-z]\w*?)(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
"""The name of a row of a sweep: row, argument and value."""
SYMBOLS = {"beta": r"$\beta$", "gamma": r"$\gamma$"}
ENDS = {"diverged": "x", "failed": "v", "timeout": "s"}


def prd(evidence: Evidence) -> Drawn:
    """Draw precision against recall of the first draw: for each row, a line at the mean over trials, and a band from
    the lowest to the highest. Trials are averaged along rays from the origin, where points of the same angle lie.
    """
    for dataset in evidence.layout.datasets:
        figure = canvas(3.6, 5.6)
        axes = figure.subplots()
        for number, row in enumerate(evidence.layout.rows):
            found = [evidence.array(trial, "prd") for trial in evidence.trials(dataset, row)]
            curves = np.array([curve for curve in found if curve is not None and curve.shape == (2, 1001)])
            if not len(curves):
                continue
            radius = np.hypot(curves[:, 0], curves[:, 1])  # [trials, angles]
            longest = radius.argmax(axis=0), np.arange(radius.shape[1])
            precision, recall = (
                curves[:, i][longest] / np.maximum(radius[longest], 1e-12) for i in (0, 1)
            )  # directions
            look = identity(number)
            mean, low, high = radius.mean(axis=0), radius.min(axis=0), radius.max(axis=0)
            axes.plot(mean * recall, mean * precision, label=f"{evidence.name(row)} ({len(curves)})", **look)
            edge = [np.concatenate([low * x, (high * x)[::-1]]) for x in (recall, precision)]
            axes.fill(*edge, color=look["color"], alpha=0.15, linewidth=0)
        if axes.lines:
            axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1), aspect="equal")
            first = next(iter(evidence.parts), None)
            axes.set_title(f"PRD of the first draw, mean and range over trials\n{evidence.where(dataset, first)}")
            axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
            yield f"-{dataset}", figure


def budgets(evidence: Evidence) -> Drawn:
    """Draw the distance against images seen and steps taken: for each row, a line at the mean over trials, and their
    band.
    """
    for dataset in evidence.layout.datasets:
        found = evidence.budget_curves(dataset)
        if not found:
            continue
        figure = canvas(3.2)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, quantity, label in zip(panels, ("seen", "taken"), ("images seen", "optimiser steps"), strict=True):
            for number, (row, trials) in enumerate(found.items()):
                look = identity(number)
                spans = [getattr(curve, quantity) for curve in trials]
                axis = np.geomspace(max(span[0] for span in spans), min(span[-1] for span in spans), 100)
                each = zip(spans, trials, strict=True)
                logs = [np.interp(np.log(axis), np.log(span), np.log(curve.distance)) for span, curve in each]
                mean, low, high = (np.exp(ends(logs, axis=0)) for ends in (np.mean, np.min, np.max))
                axes.plot(axis, mean, label=f"{evidence.name(row)} ({len(trials)})", **look)
                axes.fill_between(axis, low, high, color=look["color"], alpha=0.15, linewidth=0)
            axes.set_xlabel(label)
            plain_log(axes, "x")
            plain_log(axes, "y")
        panels[0].set_ylabel("Fréchet distance of a probe")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        where = evidence.where(dataset, next(iter(evidence.parts), None))
        figure.suptitle(f"Distance against the training budget, {where}")
        yield f"-{dataset}", figure


class Quantity(NamedTuple):
    """A curve: its label, and the place of its value in the history, in an epoch or a probe."""

    label: str
    group: str
    name: str
    scale: str = "linear"


BESIDE = "curve_glf"
FD = Quantity("FD", "metrics", "", "log")
ENTROPY = Quantity(r"entropy term, $-\Sigma\,\log(\sigma)\,/\,2$", "logs", "entropy_paper")
NLL = Quantity("NLL of the codes", "terms", "nll")
RECONSTRUCTION = Quantity("reconstruction, 0.5 SSE", "logs", "half_sse", "log")
KL = Quantity("KL", "terms", "kl")


@dataclass(frozen=True)
class Sweep:
    """A group of rows named by `prefix` and a value, those of the paper first, and GLF for comparison."""

    prefix: str
    papers: tuple[str, ...]
    quantities: tuple[Quantity, ...]

    def rows(self, evidence: Evidence) -> list[str]:
        """Return the rows ordered by value; those without a number (learned) last."""
        found = [row for row in evidence.layout.rows if re.fullmatch(rf"{self.prefix}_[a-z]+(\d+(\.\d+)?)?", row)]
        every = {*found, *(f"{self.prefix}_{value}" for value in self.papers)}
        return sorted(every, key=lambda row: (_value(row), row))


def _value(row: str) -> float:
    number = re.search(r"\d+(\.\d+)?$", row)
    return float(number[0]) if number else math.inf


def _label(row: str, sweep: Sweep) -> str:
    if row == BESIDE:
        return "GLF"
    name, number = re.fullmatch(r"([a-z]+)([\d.]*)", row.removeprefix(f"{sweep.prefix}_")).groups()  # type: ignore[union-attr]
    symbol = SYMBOLS.get(name, name)
    return f"{symbol} = {number}" if number else {"learnable": r"$\beta$ learned"}.get(name, name)


def curves(evidence: Evidence, sweep: Sweep) -> Drawn:
    """Draw the curves of a sweep on each dataset: one column of panels per quantity."""
    rows = sweep.rows(evidence)
    values = [row for row in rows if math.isfinite(_value(row))]
    colours = ordered(values) | {row: PALETTE[1] for row in rows if row not in values} | {BESIDE: "black"}
    distance = next((part.label for part in evidence.parts), "FD")  # probes use the first protocol
    for dataset in evidence.layout.datasets:
        if not any(evidence.history(trial)["epochs"] for row in rows for trial in evidence.trials(dataset, row)):
            continue
        figure = canvas(2.9)
        panels = figure.subplots(1, len(sweep.quantities))
        for letter, axes, quantity in zip("abcd", panels, sweep.quantities, strict=False):
            for row in [*rows, BESIDE]:
                for trial in evidence.trials(dataset, row):
                    _draw(axes, evidence, trial, quantity, colours[row])
            axes.set(xlabel="training epoch", title=f"({letter}) {distance if quantity is FD else quantity.label}")
            if quantity.scale == "log" and axes.lines:
                plain_log(axes, "y")
            elif axes.lines:
                keep_readable(axes)
            if quantity is ENTROPY and axes.lines:  # the paper halves it; the other axis does not
                whole = axes.secondary_yaxis("right", functions=(lambda half: 2 * half, lambda full: full / 2))
                whole.set_ylabel(r"$-\Sigma\,\log\,\sigma$", fontsize=7)
                whole.spines.right.set_visible(True)
            if not axes.lines:
                axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GREY)
        legend = [_entry(evidence, dataset, row, sweep, colours[row]) for row in [*rows, BESIDE]]
        states = {trial.state for row in rows for trial in evidence.trials(dataset, row)}
        legend += [Line2D([], [], color=GREY, label=said, **_STYLES[kind]) for kind, said in _SAID.items()]
        legend += [Line2D([], [], color=GREY, marker=m, ls="", label=s) for s, m in ENDS.items() if s in states]
        figure.legend(handles=legend, loc="outside lower center", ncols=min(6, len(legend)))
        figure.suptitle(evidence.where(dataset, next(iter(evidence.parts), None)))
        yield f"-{dataset}", figure


_STYLES: dict[str, dict[str, Any]] = {
    "batches": {"linestyle": "-", "linewidth": 0.7, "alpha": 0.45},
    "probe_train": {"linestyle": "-", "linewidth": 1.3},
    "probe_test": {"linestyle": (0, (4, 1.5)), "linewidth": 1.3},
}
_SAID = {"batches": "training batches", "probe_train": "training images", "probe_test": "held-out images"}


def _draw(axes: Axes, evidence: Evidence, trial: Trial, quantity: Quantity, colour: Any) -> None:
    """Draw the curves of one trial, and mark how it ended."""
    history = evidence.history(trial)
    if quantity is FD:
        lines = {"probe_train": [(probe["epoch"], value) for probe, value in distances(history["probes"])]}
    else:
        lines = {"batches": list(_points(history["epochs"], quantity))}
        for kind in ("probe_train", "probe_test"):
            looked = [{"epoch": row["epoch"], **row[kind]} for row in history["probes"] if kind in row]
            lines[kind] = list(_points(looked, quantity))
    for kind, points in lines.items():
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, **_STYLES[kind])
    last = lines.get("batches") or lines.get("probe_train")
    if last and trial.state in ENDS:
        axes.plot(*last[-1], color=colour, marker=ENDS[trial.state], markersize=6, linestyle="")


def _points(rows: list[Row], quantity: Quantity) -> Iterator[tuple[int, float]]:
    for row in rows:
        if math.isfinite(value := reading(row, quantity.group, quantity.name)) and (
            value > 0 or quantity.scale != "log"
        ):
            yield row["epoch"], value


def _entry(evidence: Evidence, dataset: str, row: str, sweep: Sweep, colour: Any) -> Line2D:
    """Add a row to the legend, with how its trials ended unless all ended well; a dotted grey line if it has none."""
    trials = evidence.trials(dataset, row)
    if not trials:
        return Line2D([], [], color=GREY, linestyle=":", label=f"{_label(row, sweep)}: no trial")
    counts = Counter(trial.state for trial in trials if trial.state != "ok")
    said = ", ".join(state if len(trials) == 1 else f"{n} of {len(trials)} {state}" for state, n in counts.items())
    return Line2D([], [], color=colour, label=_label(row, sweep) + (f": {said}" if said else ""))


def ends(evidence: Evidence, only: str = "") -> Drawn:
    """Draw the distance after training against the value of a swept argument: points are seeds, a line joins means."""
    families: dict[str, dict[str, float]] = {}
    for row in evidence.layout.rows:
        if found := SWEPT.fullmatch(row):
            families.setdefault(f"{found[1]}_{found[2]}", {})[row] = float(found[3])
    families = {name: rows for name, rows in families.items() if len(rows) > 1 and only in ("", name)}
    for (name, rows), part in product(families.items(), evidence.parts):
        for dataset in evidence.layout.datasets:
            here = {row: part.distances[dataset, row] for row in rows if (dataset, row) in part.distances}
            if not any(cell.n for cell in here.values()):
                continue
            figure = canvas(2.8, 3.5)
            axes = figure.subplots()
            values = [rows[row] for row in here]
            means = sorted((rows[row], cell.value) for row, cell in here.items() if cell.n)
            axes.plot(*zip(*means, strict=True), color=PALETTE[0])
            for row, cell in here.items():
                seeds = cell.numbers[0].sample
                axes.plot([rows[row]] * len(seeds), seeds, "o", color=PALETTE[0], markerfacecolor="white")
                if not cell.n:
                    axes.text(rows[row], 0.02, cell.state, rotation=90, transform=axes.get_xaxis_transform())
            argument = name.rpartition("_")[2]
            axes.set(xlabel=SYMBOLS.get(argument, argument), ylabel=part.label)
            if min(values) > 0 and max(values) > 5 * min(values):
                axes.set_xscale("log")
            axes.set_xticks(values, [f"{value:g}" for value in values])
            axes.minorticks_off()
            axes.set_title(headed(f"{name}\n{evidence.where(dataset, part)}", 3.0))
            yield f"{'' if only else f'-{name}'}-{dataset}{part.mark}", figure


FLOW_PRIOR = Sweep("curve_flow_prior", ("beta10", "beta50", "beta100", "beta400", "learnable"), (FD, ENTROPY, NLL))
REGULARIZED = Sweep("curve_glf_regularized", ("beta50", "beta100", "beta400"), (FD, RECONSTRUCTION, NLL))
VAE = Sweep("curve_vae", ("beta1", "beta10", "beta50", "beta100", "beta400"), (FD, RECONSTRUCTION, KL))


def _kind(draw: Callable[[Evidence], Drawn], prefix: str, group: str) -> Kind:
    return Kind(draw, f"no trial of {prefix} has ended; `aegen-bench run --models {group}` trains them")


FIGURES = {
    "budget": Kind(budgets, "no row was scored while it trained (`probe` in benchmarks.yaml)"),
    "prd": Kind(prd, "no trial left a PRD curve; it comes with the metric prd of a protocol"),
    "3": _kind(partial(curves, sweep=FLOW_PRIOR), FLOW_PRIOR.prefix, "figure3"),
    "4": _kind(partial(curves, sweep=REGULARIZED), REGULARIZED.prefix, "figure4"),
    "vae_beta": _kind(partial(curves, sweep=VAE), VAE.prefix, "vae_beta"),
    "rae_gamma": _kind(partial(ends, only="curve_rae_gmm_gamma"), "curve_rae_gmm", "rae_gamma"),
    "sweeps": Kind(ends, "no two rows of a sweep (`sweep` in benchmarks.yaml) are scored"),
}
