"""The commands that exchange results with other people and tools: pack, unpack, export, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from aegen_bench.commands.options import PATH, Data, Weights
from aegen_bench.commands.terminal import show

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
    """Pack trials into one file, to cite or to load from. It has records with their files, timing runs, kept
    weights, one table (parquet), and hashes.
    """
    from aegen_bench.commands import request
    from aegen_bench.exchange import pack as packing

    show(packing.pack(results, out, weights=request.weights_folder(weights, data), profile=profile))


def unpack(
    file: Annotated[Path, typer.Argument(**PATH, help="A file written by `pack`.")],
    out: Annotated[Path, typer.Option("--out", "-o", **PATH, help="A new folder.")],
) -> None:
    """Unpack a packed file into a new folder. All hashes are verified first."""
    from aegen_bench.exchange import pack as packing

    show(packing.unpack(file, out))


def export(
    results: Annotated[Path, typer.Argument(**PATH, help="The results folder.")] = Path("results"),
    to: Annotated[Literal["tensorboard"], typer.Option(help="The format.")] = "tensorboard",
    out: Annotated[Path, typer.Option("--out", "-o", **PATH, help="A new folder.")] = Path("runs"),
    profile: OneProfile = None,
) -> None:
    """Export curves of trials for TensorBoard, W&B and MLflow. Trials may be finished or running."""
    from aegen_bench.exchange import tensorboard

    show(tensorboard.export(results, out, profile=profile))


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
    """Verify somebody's results before you trust them. Checks keys, protocols, seeds, images, floors and scores."""
    from aegen_bench import data as datasets
    from aegen_bench.exchange import verify as verifying

    failed = False
    folder = data or datasets.default_folder()
    for finding in verifying.verify(results, data=folder, reference=reference, weights=weights):
        show([f"{finding.verdict:<4}  {finding.check:<15}  {finding.detail}"])
        failed |= finding.verdict == "fail"
    raise typer.Exit(1 if failed else 0)


COMMANDS = (pack, unpack, export, verify)
