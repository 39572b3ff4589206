"""The command `report`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aegen_bench.commands.options import PATH, Data, Results
from aegen_bench.commands.terminal import Grid, of_table, show
from aegen_bench.data import default_folder
from aegen_bench.errors import UserError
from aegen_bench.files import inside
from aegen_bench.study import Study

if TYPE_CHECKING:
    from aegen_bench.report import Report

__all__ = ["first_tables", "report", "tables_folder"]


def report(
    profile: Annotated[str | None, typer.Option(help="Only this profile. Default: tables of each.")] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="html (a page to look at), markdown, latex, csv and json, comma separated. Default: the first three.",
        ),
    ] = None,
    tables: Annotated[
        str | None,
        typer.Option(
            help="1 to 6, comparisons, priors, matrix, variance, overall, agreement, budget, scores, verdicts, claims. "
            "Default: all."
        ),
    ] = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="Test the paper's claims. Other tables only if named with --tables.")
    ] = False,
    figures: Annotated[
        str | None,
        typer.Option(
            help="Figures as PNG and PDF: 2 to 8, samples, reconstructions, prd, seeds, sweeps, matrix, budget, "
            "vae_beta, rae_gamma or all. Tables only if named with --tables."
        ),
    ] = None,
    models: Annotated[str | None, typer.Option(help="Only these rows and groups. Default: all with results.")] = None,
    datasets: Annotated[str | None, typer.Option(help="Only these datasets. Default: all with results.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol, by its name or id.")] = None,
    spread: Annotated[
        str, typer.Option(help="Meaning of ± in Tables 1, 3 and 4: seeds, interval (half the 95% one) or draws.")
    ] = "seeds",
    data: Data = None,
    results: Results = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(**PATH, help="Output folder. Default: tables/ in the results. A partial report is only printed."),
    ] = None,
) -> None:
    """Write tables and a page of finished trials. The first table is printed; --figures draws figures instead.

    A partial report (some tables, rows or datasets, one protocol, another spread) is printed, and written only with
    --out: in the default folder it would replace the full one.
    """
    from aegen_bench import report as reports
    from aegen_bench.study.staleness import Present

    chosen = [name for name in (datasets or "all").split(",") if name != "all"]
    some = bool(models or chosen)
    part = some or bool(tables or claims or protocol) or spread != "seeds"
    wanted = (formats or ("markdown" if part and not out else "html,markdown,latex")).split(",")
    reports.require_formats(wanted)
    if part and not out and (len(wanted) > 1 or wanted == ["html"]):
        one_of = " or ".join(reports.FORMATS)
        raise UserError(f"--format {formats}: without --out a partial report is printed, as {one_of}")
    if figures and protocol:
        raise UserError("--protocol is for tables: figures are drawn under each protocol, or under the first")
    if some and figures and not out:
        raise UserError("figures of a part of the results would replace those of all: choose a folder with --out")
    # Only --out may lead outside the results folder: a link `tables` in untrusted results must not.
    place = out or tables_folder(results)
    groups = _groups(data) if models else {}
    rows = {name: groups.get(name, [name]) for name in models.split(",")} if models else {}
    only = reports.Only(rows, chosen)
    present = Present(data)
    if figures:
        named = figures.split(",")
        show(reports.draw(results, place, named, profile=profile, only=only, unasked=present.unasked))
    if figures and not tables and not claims:
        return
    names = [*(tables.split(",") if tables else []), *(reports.CLAIMS if claims else [])]
    names = list(dict.fromkeys(names)) or [*reports.EVERY, *reports.CLAIMS]
    made = reports.make(
        results,
        names,
        profile=profile,
        protocol=protocol,
        stale=present.stale,
        spread=spread,
        only=only,
        unasked=present.unasked,
        described=present.described,
    )
    if part and not out:
        show(_whole(made) if formats is None else [made.text(*wanted)])
        return
    paths = made.write(place, wanted)
    show(_whole(made) if part else first_tables(made))
    show(_written(made, paths, place, whole=not part))


def _groups(folder: Path | None) -> dict[str, list[str]]:
    """Return the groups of rows by name."""
    return Study("paper", local=Path.cwd(), data=folder or default_folder()).groups


def tables_folder(results: Path) -> Path:
    """Return the folder for the reports of a results folder. UserError if it is a link that leads elsewhere, as it
    could be in results from a stranger.
    """
    return inside(results, "tables", "PROFILE").parent


def first_tables(made: Report, *, matrix: bool = False) -> Iterator[str | Grid]:
    """Yield the first table of each profile, or its matrix, with the outcomes of trials, and what could not be read."""
    from aegen_bench.report import notes

    for one in made.chapters:
        crossed = [table for table in one.tables if matrix and table.name.startswith("matrix-")]
        ended = notes.trials(one.evidence.crossed.frame if crossed else one.evidence.frame)
        yield from (of_table(table, [ended]) for table in (crossed or one.tables)[:1])
        yield from one.remarks


def _whole(made: Report) -> Iterator[str | Grid]:
    """Yield all tables with their notes, and what could not be read."""
    for one in made.chapters:
        yield from map(of_table, one.tables)
        yield from one.remarks


def _written(made: Report, paths: Sequence[Path], place: Path, *, whole: bool) -> Iterator[str]:
    """Yield what was written and where, what only the page needed and could not be read and, for a full report, which
    other files are there.
    """
    found = (said for one in made.chapters for said in one.evidence.unreadable if said not in one.skipped)
    yield from (f"Skipped: {said}" for said in dict.fromkeys(found))
    names = {"report.html": "page", "tables.md": "all tables and notes", "main.tex": "an article of them"}
    yield from (f"{names[path.name]}: {path}" for path in paths if path.name in names)
    yield f"{len(paths)} file{'s' * (len(paths) != 1)} in {place}"
    kinds = {path.suffix for path in paths}
    for folder in dict.fromkeys(path.parent for path in paths):
        others = sorted(path.name for path in {*folder.iterdir()} - {*paths} if path.suffix in kinds)
        if others and whole:
            yield f"{folder} also contains files that are not from this report: {', '.join(others)}"
