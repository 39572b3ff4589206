"""The commands that maintain results: merge, clean."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aegen_bench.commands.options import PATH, Data, Results, Weights
from aegen_bench.commands.terminal import show

if TYPE_CHECKING:
    from aegen_bench.results.clean import Abandoned

__all__ = ["clean", "merge"]


def merge(
    folders: Annotated[list[Path], typer.Argument(**PATH, help="Results folders of other machines.")],
    results: Results = Path("results"),
) -> None:
    """Merge the results of several machines. Conflicts are reported; of our files, only failed trials and older timing
    runs are replaced.
    """
    from aegen_bench.results import merge as merging

    found = []
    for conflict, line in merging.merge(folders, results):
        found.append(conflict)
        show([line])
    show([f"merged into {results}: {len(found) - sum(found)} new or completed, {sum(found)} conflicts"])
    raise typer.Exit(1 if any(found) else 0)


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
    results: Results = Path("results"),
    weights: Weights = None,
) -> None:
    """Delete checkpoints of finished trials. With --weights also weights that no record here refers to. Shows the list
    of files and their size first.
    """
    from aegen_bench.commands import request
    from aegen_bench.results import clean as cleaning

    kept = request.weights_folder(weights, data)
    found = cleaning.abandoned(results, kept)
    if weights is None:  # they may belong to another results folder
        unnamed = [one for one in found if not one.trial]
        found = [one for one in found if one.trial]
        if unnamed:
            told = f"kept: {len(unnamed)} weights files, {_size(unnamed)}, that no record under {results} refers to"
            show([f"{told}; if no other results folder needs them, add --weights {shlex.quote(str(kept))}"])
    for one in found:
        show([f"{one.path}  {one.size / 1e6:,.1f} MB  {one.why}"])
    if not found:
        show(["nothing to clean"])
        return
    if not yes and not typer.confirm(f"delete {len(found)} files, {_size(found)}?"):
        raise typer.Exit(1)
    gone = []
    for one, why in cleaning.delete(results, kept, found):
        if why:
            show([f"{one.path}  kept: {why}"])
        else:
            gone.append(one)
    show([f"deleted {len(gone)} files, {_size(gone)}"])


def _size(files: Sequence[Abandoned]) -> str:
    return f"{sum(one.size for one in files) / 1e6:,.1f} MB"
