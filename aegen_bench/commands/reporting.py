"""The command that reports. `cli` gives it to the program."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from aegen_bench.commands.options import Data, Results

__all__ = ["report"]


def report(
    profile: Annotated[str | None, typer.Option(help="Only this profile. Default: tables of each.")] = None,
    formats: Annotated[
        str, typer.Option("--format", help="markdown, latex, csv, json and html (a page to look at), comma separated.")
    ] = "markdown,latex",
    tables: Annotated[
        str | None,
        typer.Option(help="1 to 6, comparisons, overall, scores (every metric), verdicts and claims. Default: all."),
    ] = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="Say which of the paper's statements hold, and no other table unasked.")
    ] = False,
    figures: Annotated[str | None, typer.Option(help="2,5 or all: these as PNG and PDF, and no table unasked.")] = None,
    models: Annotated[str | None, typer.Option(help="Only these rows and groups. Default: all with results.")] = None,
    datasets: Annotated[str | None, typer.Option(help="Only these datasets. Default: all with results.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol id. Figures show each on its own.")] = None,
    spread: Annotated[
        str, typer.Option(help="What stands behind ± in Tables 1, 3 and 4: seeds, interval (95%, half) or draws.")
    ] = "seeds",
    data: Data = None,
    results: Results = Path("results"),
    out: Annotated[Path | None, typer.Option(help="Where they go. Default: tables/ in the results folder.")] = None,
) -> None:
    """Write the tables of finished trials and print them, or draw figures."""
    from aegen_bench import report as reports
    from aegen_bench.commands import request
    from aegen_bench.study import staleness

    reports.require_formats(formats.split(","))
    place, published = out or results / "tables", request.published()
    groups = request.groups(data) if models else {}
    rows = {name: groups.get(name, [name]) for name in models.split(",")} if models else {}
    only = reports.Only(rows, [name for name in (datasets or "all").split(",") if name != "all"])
    if figures:
        for line in reports.draw(results, published, place, figures.split(","), profile=profile, only=only):
            print(line)
    if figures and not tables and not claims:
        return
    names = [*(tables.split(",") if tables else []), *(reports.CLAIMS if claims else [])]
    names = list(dict.fromkeys(names)) or [*reports.EVERY, *reports.CLAIMS]
    stale = partial(staleness.stale, folder=data)
    made = reports.make(
        results, published, names, profile=profile, protocol=protocol, stale=stale, spread=spread, only=only
    )
    paths = made.write(place, formats.split(","))
    print(made.text())
    print(f"{len(paths)} files in {place}")
