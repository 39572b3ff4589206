"""Figures 2, 6 and 7: the first images from fixed noise, whatever they look like. And all rows side by side."""

from __future__ import annotations

from collections.abc import Iterable

from aegen_bench.report.evidence import Evidence
from aegen_bench.report.figures.interpolations import line
from aegen_bench.report.figures.kind import Drawn, Kind
from aegen_bench.report.figures.panels import Panel, look, panels, show
from aegen_bench.report.figures.style import WIDTH, canvas

__all__ = ["FIGURES"]

LARGE = "celebahq"


def _grids(evidence: Evidence, row: str, datasets: Iterable[str]) -> list[Panel]:
    return [look(evidence, name, row, "samples", evidence.name(name), 25 if name == LARGE else 36) for name in datasets]


def figure2(evidence: Evidence) -> Drawn:
    """Samples of GLF on every dataset, and noise interpolation on CelebA, or on the last dataset that has some."""
    grids = _grids(evidence, "glf", evidence.layout.datasets)
    if all(panel.images is None for panel in grids):
        return
    lines = line(evidence, "glf")
    across = min(3, len(grids))
    rows = -(-len(grids) // across)
    side = WIDTH / max(2, across)
    figure = canvas(rows * (side + 0.3) + (0.6 * across * side + 0.3 if lines else 0), across * side)
    layout = figure.add_gridspec(rows + bool(lines), across, height_ratios=[1.0] * rows + [0.6 * across] * bool(lines))
    for i, panel in enumerate([*grids, *lines]):
        place = layout[i // across, i % across] if i < len(grids) else layout[-1, :]
        axes = figure.add_subplot(place)
        show(axes, panel)
        axes.set_title(f"({chr(97 + i)}) {axes.get_title()}")
    yield "", figure


def figure6(evidence: Evidence) -> Drawn:
    """GLF with squared error above, with the perceptual loss below."""
    names = [name for name in evidence.layout.datasets if name != LARGE]
    rows = {"glf": "", "glf_perceptual": ", perceptual"}
    tried = [row for row in rows if any(evidence.trials(dataset, row) for dataset in names)]
    grids = [look(evidence, d, row, "samples", evidence.name(d) + rows[row], 36) for row in tried for d in names]
    if any(panel.images is not None for panel in grids):
        yield "", panels(grids, across=len(names))


def figure7(evidence: Evidence) -> Drawn:
    [grid] = _grids(evidence, "glf_perceptual", [LARGE])
    if grid.images is not None:
        yield "", panels([grid])


def samples(evidence: Evidence) -> Drawn:
    """Every row of a dataset, from the same noise wherever its shape is the same."""
    yield from _all_rows(evidence, "samples", 36, 0)


def reconstructions(evidence: Evidence) -> Drawn:
    """Test images, each with its reconstruction to the right."""
    yield from _all_rows(evidence, "reconstructions", 32, 8)


def _all_rows(evidence: Evidence, array: str, limit: int, columns: int) -> Drawn:
    for dataset in evidence.layout.datasets:
        grids = [
            look(evidence, dataset, row, array, evidence.name(row), limit, columns)
            for row in evidence.layout.rows
            if evidence.trials(dataset, row)
        ]
        if any(panel.images is not None for panel in grids):
            yield f"-{dataset}", panels(grids)


_ASK = "`aegen-bench run --models {}` makes some"
FIGURES = {
    "2": Kind(figure2, f"no trial of glf left samples; {_ASK.format('glf')}"),
    "6": Kind(figure6, f"no trial of glf or glf_perceptual left samples; {_ASK.format('glf,glf_perceptual')}"),
    "7": Kind(
        figure7,
        f"no trial of glf_perceptual on {LARGE} left samples; {_ASK.format('glf_perceptual --datasets ' + LARGE)}",
    ),
    "samples": Kind(samples, "no trial left samples"),
    "reconstructions": Kind(reconstructions, "no trial left reconstructions"),
}
