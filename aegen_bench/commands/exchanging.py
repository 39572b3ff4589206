"""The commands that exchange results with other people and tools: pack, unpack, export, verify."""

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
    """Pack trials into one file: records with their files, kept weights, one table (parquet), and hashes."""
    from aegen_bench.commands import request
    from aegen_bench.exchange import pack as packing

    for line in packing.pack(results, out, weights=request.weights_folder(weights, data), profile=profile):
        print(line)


def unpack(
    file: Annotated[Path, typer.Argument(**PATH, help="A file written by `pack`.")],
    out: Annotated[Path, typer.Option("--out", "-o", **PATH, help="A new folder.")],
) -> None:
    """Verify the hashes of a packed file and write its results and weights to a new folder."""
    from aegen_bench.exchange import pack as packing

    for line in packing.unpack(file, out):
        print(line)


def export(
    results: Annotated[Path, typer.Argument(**PATH, help="The results folder.")] = Path("results"),
    to: Annotated[Literal["tensorboard"], typer.Option(help="The format.")] = "tensorboard",
    out: Annotated[Path, typer.Option("--out", "-o", **PATH, help="A new folder.")] = Path("runs"),
    profile: OneProfile = None,
) -> None:
    """Write the curves of finished and running trials as TensorBoard event files, which W&B and MLflow can import."""
    from aegen_bench.exchange import tensorboard

    for line in tensorboard.export(results, out, profile=profile):
        print(line)


def verify(
    results: Annotated[Path, typer.Argument(**PATH, help="The results folder to verify.")] = Path("results"),
    reference: Annotated[
        Path | None, typer.Option(**PATH, help="A trusted results folder, whose anchors must be equal.")
    ] = None,
    data: Data = None,
    weights: Annotated[
        Path | None, typer.Option(**PATH, help="Trained weights, to generate images again and score them.")
    ] = None,
) -> None:
    """Verify somebody's results before you trust them: keys, protocols, seeds, images, floors, scores."""
    from aegen_bench import data as datasets
    from aegen_bench.exchange import verify as verifying

    failed = False
    folder = data or datasets.default_folder()
    for finding in verifying.verify(results, data=folder, reference=reference, weights=weights):
        print(f"{finding.verdict:<4}  {finding.check:<15}  {finding.detail}")
        failed |= finding.verdict == "fail"
    raise typer.Exit(1 if failed else 0)


COMMANDS = (pack, unpack, export, verify)
