"""The command `report`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from aegen_bench.commands.options import PATH, Data, Results
from aegen_bench.errors import UserError
from aegen_bench.files import inside

__all__ = ["report"]


def report(
    profile: Annotated[str | None, typer.Option(help="Only this profile. Default: tables of each.")] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="markdown, latex, csv, json and html (a web page), comma separated. Default: markdown,latex.",
        ),
    ] = None,
    tables: Annotated[
        str | None,
        typer.Option(
            help="1 to 6, comparisons, priors, matrix, variance, overall, agreement, scores, verdicts, claims. "
            "Default: all."
        ),
    ] = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="Test the paper's claims. Other tables only if named with --tables.")
    ] = False,
    figures: Annotated[
        str | None, typer.Option(help="Figures such as 2,5 or all, as PNG and PDF. Tables only if named with --tables.")
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
    """Write the tables of finished trials and print the first one, or draw figures.

    A partial report (some tables, rows or datasets, one protocol, another spread) is printed, and written only with
    --out: in the default folder it would replace the full one.
    """
    from aegen_bench import report as reports
    from aegen_bench.commands import request
    from aegen_bench.study import staleness

    chosen = [name for name in (datasets or "all").split(",") if name != "all"]
    some = bool(models or chosen)
    part = some or bool(tables or claims or protocol) or spread != "seeds"
    wanted = (formats or ("markdown" if part and not out else "markdown,latex")).split(",")
    reports.require_formats(wanted)
    if part and not out and (len(wanted) > 1 or wanted == ["html"]):
        one_of = " or ".join(reports.FORMATS)
        raise UserError(f"--format {formats}: without --out a partial report is printed, as {one_of}")
    if some and figures and not out:
        raise UserError("figures of a part of the results would replace those of all: choose a folder with --out")
    # Only --out may lead outside the results folder: a link `tables` in untrusted results must not.
    place, published = out or inside(results, "tables", "PROFILE").parent, request.published()
    groups = request.groups(data) if models else {}
    rows = {name: groups.get(name, [name]) for name in models.split(",")} if models else {}
    only = reports.Only(rows, chosen)
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
    if part and not out:
        print(made.text(*wanted))
        return
    paths = made.write(place, wanted)
    print(made.text() if part else made.summary(place))
    for text in dict.fromkeys(text for chapter in made.chapters for text in chapter.evidence.unreadable):
        print(f"skipped: {text}")
    print(f"{len(paths)} files in {place}")
    kinds = {path.suffix for path in paths}
    for folder in dict.fromkeys(path.parent for path in paths):
        others = sorted(path.name for path in {*folder.iterdir()} - {*paths} if path.suffix in kinds)
        if others and not part:
            print(f"{folder} also has, not of this report: {', '.join(others)}")
