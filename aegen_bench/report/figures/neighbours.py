"""Figure 5: is it memory? A generated image on the left, then its nearest training images in pixel L2."""

from __future__ import annotations

from aegen_bench.report.evidence import Evidence
from aegen_bench.report.figures.kind import Drawn, Kind
from aegen_bench.report.figures.panels import look, panels

__all__ = ["FIGURES"]

ROW = "glf"


def figure5(evidence: Evidence) -> Drawn:
    found = [
        look(evidence, dataset, ROW, "neighbours", f"{evidence.name(dataset)}: a sample, its nearest", 0)
        for dataset in evidence.layout.datasets
        if evidence.trials(dataset, ROW)
    ]
    if any(panel.images is not None for panel in found):
        yield "", panels(found, across=2)


FIGURES = {"5": Kind(figure5, f"no trial of {ROW} left its neighbours; `aegen-bench run --models {ROW}` makes some")}
