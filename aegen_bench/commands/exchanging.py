"""The commands that hand results to other people and tools: pack, unpack, export, verify. `cli` adds them."""

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
    """Put trials into one file, to cite or to load from. It holds records, what lies beside them, kept weights and one
    table (parquet), each with its sha256.
    """
    from aegen_bench.commands import request
    from aegen_bench.exchange import pack as packing

    show(packing.pack(results, out, weights=request.weights_folder(weights, data), profile=profile))


def unpack(
    file: Annotated[Path, typer.Argument(**PATH, help="What `pack` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", **PATH, help="A new folder.")],
) -> None:
    """Write the content of a packed file to a new folder. Every sha256 is checked before."""
    from aegen_bench.exchange import pack as packing

    show(packing.unpack(file, out))


def export(
    results: Annotated[Path, typer.Argument(**PATH, help="The results folder.")] = Path("results"),
    to: Annotated[Literal["tensorboard"], typer.Option(help="The format.")] = "tensorboard",
    out: Annotated[Path, typer.Option("--out", "-o", **PATH, help="A new folder.")] = Path("runs"),
    profile: OneProfile = None,
) -> None:
    """Write curves of trials for TensorBoard, W&B and MLflow. Trials may be finished or running."""
    from aegen_bench.exchange import tensorboard

    show(tensorboard.export(results, out, profile=profile))


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
    """Check results before you believe them: keys, protocols, seeds, images, floors, scores."""
    from aegen_bench import data as datasets
    from aegen_bench.exchange import verify as verifying

    failed = False
    folder = data or datasets.default_folder()
    for finding in verifying.verify(results, data=folder, reference=reference, weights=weights):
        show([f"{finding.verdict:<4}  {finding.check:<15}  {finding.detail}"])
        failed |= finding.verdict == "fail"
    raise typer.Exit(1 if failed else 0)


COMMANDS = (pack, unpack, export, verify)
