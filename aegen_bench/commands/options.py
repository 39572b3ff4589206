"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from aegen_bench.files import place

__all__ = [
    "PATH",
    "Data",
    "Datasets",
    "Device",
    "Models",
    "ProfileName",
    "Results",
    "Seeds",
    "Set",
    "Weights",
]

PATH: dict[str, Any] = {"parser": place, "metavar": "PATH"}
"""Settings of every path option and argument: `~` is expanded, even in `--results=~/r`."""

Models = Annotated[
    str | None, typer.Option(help="Rows and groups, comma separated: glf,rae_gmm or all. Default: the profile's.")
]
Datasets = Annotated[str | None, typer.Option(help="Datasets, comma separated; all = the profile's. Default: all.")]
Seeds = Annotated[
    str | None,
    typer.Option(help="3 = the first three; 2,5 = those two; 4, = only seed 4. Default: the profile's."),
]
ProfileName = Annotated[str, typer.Option(help="The profile: paper, lite, paper_offline, smoke or your own.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change one setting: dotted.path=value. May be repeated.")]
Data = Annotated[
    Path | None, typer.Option(**PATH, help="The data folder. Default: AEGEN_BENCH_DATA or ~/.cache/aegen-bench.")
]
Results = Annotated[Path, typer.Option(**PATH, help="The results folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Weights = Annotated[
    Path | None, typer.Option(**PATH, help="Where trained weights are kept. Default: weights/ in the data folder.")
]
