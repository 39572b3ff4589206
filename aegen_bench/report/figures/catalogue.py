"""All figures by name, and their files.

A file of figures declares `FIGURES = {name: Kind(draw, needs)}`. `draw(evidence)` yields (suffix of the file name,
figure) for each figure that has data. It uses matplotlib's `Figure` rather than pyplot, so there are no windows and no
global state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib import rc_context

from aegen_bench.errors import unknown
from aegen_bench.files import fitting, inside, write_bytes
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.figures import curves, images, matrix, scatter, style
from aegen_bench.report.figures.style import Kind
from aegen_bench.study.command import command

__all__ = ["catalogue", "write"]


def catalogue() -> dict[str, Kind]:
    """Return all figures by name: the paper's by number, then the others."""
    found: dict[str, Kind] = images.FIGURES | curves.FIGURES | scatter.FIGURES | matrix.FIGURES
    return {name: found[name] for name in sorted(found, key=lambda name: (not name.isdigit(), name))}


def write(evidence: Evidence, names: Sequence[str], out: Path) -> Iterator[str]:
    """Write OUT/PROFILE/figureNAME.png and .pdf, and yield a line per figure; figures without data are not written.

    `all` stands for all figures. UserError for an unknown name.
    """
    kinds = catalogue()
    wanted = list(kinds) if list(names) == ["all"] else list(dict.fromkeys(names))
    for name in wanted:
        if name not in kinds:
            raise unknown("figure", name, [*kinds, "all"])
    profile = evidence.layout.profile
    for name in wanted:
        made = 0
        with rc_context(style.STYLE):
            for ending, figure in kinds[name].draw(evidence):
                for form in style.FORMATS:
                    path = inside(
                        out, profile, fitting(f"figure{'' if name.isdigit() else '-'}{name}{ending}", f".{form}")
                    )
                    write_bytes(path, style.encode(figure, form))
                    made += 1
        run = command("run", profile, results=evidence.root)
        needs = kinds[name].needs.replace("aegen-bench run", run)
        yield f"figure {name}, profile {profile}: " + (f"{made} files" if made else f"nothing to draw: {needs}")
    yield from (f"skipped: {text}" for text in evidence.unreadable)
