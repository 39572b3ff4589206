"""Figures 2f and 8: straight lines in noise space between fixed pairs of noise, decoded."""

from __future__ import annotations

from aegen_bench.report.evidence import Evidence
from aegen_bench.report.figures.kind import Drawn, Kind
from aegen_bench.report.figures.panels import Panel, look, show
from aegen_bench.report.figures.style import WIDTH, canvas

__all__ = ["FIGURES", "line"]

PAPERS = "celeba"


def line(evidence: Evidence, row: str) -> list[Panel]:
    """Return the panel of the paper's dataset, else of the last one that has some; none where no trial left any."""
    found: list[tuple[bool, int, Panel]] = []
    for dataset in evidence.layout.datasets:
        title = f"Noise interpolation, {evidence.name(dataset)}"
        panel = look(evidence, dataset, row, "interpolations", title, 0)
        if panel.images is not None:
            found.append((dataset == PAPERS, len(found), panel))
    return [max(found, key=lambda each: each[:2])[2]] if found else []


def figure8(evidence: Evidence) -> Drawn:
    for panel in line(evidence, "glf_perceptual"):
        figure = canvas(0.6 * WIDTH + 0.3)
        show(figure.subplots(), panel)
        yield "", figure


FIGURES = {
    "8": Kind(
        figure8,
        "no trial of glf_perceptual left interpolations; `aegen-bench run --models glf_perceptual` makes some",
    )
}
