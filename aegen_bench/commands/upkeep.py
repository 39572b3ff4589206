"""The commands that tend results: merge, clean. `cli` gives them to the program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aegen_bench.commands.options import PATH, Data, Results, Weights

__all__ = ["clean", "merge"]


def merge(
    folders: Annotated[list[Path], typer.Argument(**PATH, help="Results folders of other machines.")],
    results: Results = Path("results"),
) -> None:
    """Join results of several machines. What both have is compared; a conflict is shown, and nothing overwritten."""
    from aegen_bench.commands import merging

    found = []
    for conflict, line in merging.merge(folders, results):
        found.append(conflict)
        print(line)
    print(f"merged into {results}: {len(found) - sum(found)} new or completed, {sum(found)} conflicts")
    raise typer.Exit(1 if any(found) else 0)


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
    results: Results = Path("results"),
    weights: Weights = None,
) -> None:
    """Delete checkpoints of trials that have ended and weights that no record here names, saying the size first."""
    from aegen_bench.commands import cleaning, request

    found = cleaning.abandoned(results, request.weights_folder(weights, data))
    for path, size, why in found:
        print(f"{path}  {size / 1e6:,.1f} MB  {why}")
    total = f"{len(found)} files, {sum(size for _, size, _ in found) / 1e6:,.1f} MB"
    if found and not yes and not typer.confirm(f"delete {total}?"):
        raise typer.Exit(1)
    for path, _, _ in found:
        path.unlink(missing_ok=True)
    print(f"deleted {total}" if found else "nothing to clean")
