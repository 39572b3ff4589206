"""The critical-difference diagram: average ranks over datasets, a bar over those that Nemenyi's test joins."""

from __future__ import annotations

import pandas as pd

from aegen_bench.report.entries import collect
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.figures.kind import Drawn, Kind
from aegen_bench.report.figures.style import GREY, canvas
from aegen_bench.report.ranking import ranking
from aegen_bench.report.statistics import MIN_DATASETS

__all__ = ["FIGURES"]


def diagram(evidence: Evidence) -> Drawn:
    """One for each protocol that scored three rows on six datasets."""
    from scikit_posthocs import critical_difference_diagram  # brings statsmodels and seaborn along

    for part in evidence.parts():
        cells = collect(part.frame, [part.metric], family="fd")
        fair = [row for row in evidence.layout.rows if not evidence.marked(row, part.extractor)]
        found = ranking(cells, evidence.layout.datasets, fair)
        if found.ranks is None:
            continue
        names = [evidence.name(row) for row in found.rows]
        figure = canvas(0.13 * len(names) + 1.2)
        axes = figure.subplots()
        critical_difference_diagram(
            dict(zip(names, found.ranks.average, strict=True)),
            pd.DataFrame(found.ranks.p, index=names, columns=names),
            ax=axes,
            label_fmt_left="{label} ({rank:.2f})",
            label_fmt_right="({rank:.2f}) {label}",
            label_props={"fontsize": 8},
            color_palette=dict.fromkeys(names, "black"),
            crossbar_props={"color": GREY, "linewidth": 2.5, "marker": ""},
        )
        axes.grid(False)
        over = f"{part.label}, average rank over {len(found.datasets)} datasets, profile {evidence.layout.profile}"
        least = f"bars join ranks less than {found.ranks.critical_difference:.2f} apart (Nemenyi's test, 5%)"
        axes.set_title(f"{over}; {least}")
        yield part.mark, figure


_NEEDS = f"it needs three rows on {MIN_DATASETS} datasets; with fewer, ranks say nothing (Demsar 2006)"
FIGURES = {"ranks": Kind(diagram, _NEEDS)}
