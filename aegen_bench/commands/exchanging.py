"""The commands that hand results to other people and tools: pack, unpack, export, verify. `cli` adds them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aegen_bench.commands.options import PATH, Data, Weights

__all__ = ["COMMANDS"]

OneProfile = Annotated[str | None, typer.Option(help="Only this profile. Default: all.")]


def pack(
    results: Annotated[Path, typer.Argument(**PATH, help="The results folder.")] = Path("results"),
    out: Annotated[Path, typer.Option("--out", "-o", **PATH, help="A new file, for example results.zip.")] = Path(
        "results.zip"
    ),
    profile: OneProfile = None,
    data: Data = None,
    weights: Weights = None,
) -> None:
    """Put trials into one file: records, what lies beside them, kept weights, and one table (parquet), with hashes."""
    from aegen_bench.commands import request
    from aegen_bench.exchange import pack as packing

    for line in packing.pack(results, out, weights=request.weights_folder(weights, data), profile=profile):
        print(line)


def unpack(
    file: Annotated[Path, typer.Argument(**PATH, help="What `pack` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", **PATH, help="A new folder.")],
) -> None:
    """Check a packed file against its hashes and write its results and weights to a new folder."""
    from aegen_bench.exchange import pack as packing

    for line in packing.unpack(file, out):
        print(line)


def export(
    results: Annotated[Path, typer.Argument(**PATH, help="The results folder.")] = Path("results"),
    to: Annotated[Literal["tensorboard"], typer.Option(help="The format.")] = "tensorboard",
    out: Annotated[Path, typer.Option("--out", "-o", **PATH, help="A new folder.")] = Path("runs"),
    profile: OneProfile = None,
) -> None:
    """Write the curves of finished and running trials as event files; W&B and MLflow read them too."""
    from aegen_bench.exchange import tensorboard

    for line in tensorboard.export(results, out, profile=profile):
        print(line)


def verify(
    results: Annotated[Path, typer.Argument(**PATH, help="The results folder to look at.")] = Path("results"),
    reference: Annotated[
        Path | None, typer.Option(**PATH, help="A results folder that is trusted: anchors are compared with its.")
    ] = None,
    data: Data = None,
    weights: Annotated[
        Path | None, typer.Option(**PATH, help="Trained weights: images are made from them and scored again.")
    ] = None,
) -> None:
    """Check what a maintainer would before believing results: keys, protocols, seeds, images, floors, scores."""
    from aegen_bench import data as datasets
    from aegen_bench.exchange import verify as verifying

    failed = False
    folder = data or datasets.default_folder()
    for finding in verifying.verify(results, data=folder, reference=reference, weights=weights):
        print(f"{finding.verdict:<4}  {finding.check:<15}  {finding.detail}")
        failed |= finding.verdict == "fail"
    raise typer.Exit(1 if failed else 0)


COMMANDS = (pack, unpack, export, verify)
