"""The commands. No logic of its own: it parses, calls, prints, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 a trial did not end well or a check found something, 2 something in the request must be put
right, 3 done but a dataset was skipped, 130 stopped by Ctrl-C. torch and pandas are imported by the commands that need
them, when they run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from aegen_bench import __version__
from aegen_bench.errors import UserError

__all__ = ["app", "main"]

app = typer.Typer(
    name="aegen-bench",
    help="Train autoencoder-based image generators under one protocol and print the tables of the paper.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Models = Annotated[
    str | None, typer.Option(help="Rows and groups, comma separated: glf,rae_gmm or all. Default: the profile's.")
]
Datasets = Annotated[str | None, typer.Option(help="Datasets, comma separated; all = the profile's. Default: all.")]
Seeds = Annotated[str | None, typer.Option(help="3 = the first three seeds; 2,5 = those two. Default: the profile's.")]
ProfileName = Annotated[str, typer.Option(help="A named budget: paper, lite or smoke.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change one setting: dotted.path=value. May be repeated.")]
Data = Annotated[Path | None, typer.Option(help="The data folder. Default: AEGEN_BENCH_DATA or ~/.cache/aegen-bench.")]
Results = Annotated[Path, typer.Option(help="The results folder.")]
Weights = Annotated[
    Path | None, typer.Option(help="Where trained weights are kept. Default: weights/ in the data folder.")
]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"aegen-bench {__version__}")
        raise typer.Exit


@app.command()
def run(
    models: Models = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
    profile: ProfileName = "paper",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16; the same as --set precision=...")] = None,
    settings: Set = None,
    data: Data = None,
    results: Results = Path("results"),
    weights: Weights = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train again where the kept weights are gone.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Train again where the trial's key has changed.")] = False,
) -> None:
    """Train and evaluate what is not done yet, then print the tables."""
    from aegen_bench import request

    changes = [*(settings or []), *([f"precision={precision}"] if precision else [])]
    asked = request.parse(models, datasets, seeds, profile, changes, data, results, weights)
    asked.require_data()
    planned = asked.plan(retrain=retrain, stale=stale)
    for line in asked.announce(planned):
        print(line)
    if dry_run:
        raise typer.Exit(3 if asked.skipped else 0)
    try:
        raise typer.Exit(asked.run(planned, device))
    except KeyboardInterrupt:  # here, because typer ends on it without a word
        told = "stopped; finished trials are kept, the same command goes on with the rest"
        print(f"\naegen-bench: {told}", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command()
def report(
    profile: Annotated[
        str | None, typer.Option(help="Only this profile. Default: one set of tables a profile.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="markdown, latex, or both comma separated.")
    ] = "markdown,latex",
    tables: Annotated[str, typer.Option(help="Numbers of the paper's tables.")] = "1,3,5,6",
    protocol: Annotated[str | None, typer.Option(help="Only this protocol id.")] = None,
    results: Results = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="Where the files go. Default: tables/ in the results folder.")
    ] = None,
) -> None:
    """Write the tables of finished trials and print them."""
    from aegen_bench import report as reports
    from aegen_bench import request

    numbers = request.integers("--tables", tables)
    place, published = out or results / "tables", request.published()
    paths = reports.write(results, published, place, formats.split(","), numbers, profile=profile, protocol=protocol)
    print(reports.text(results, published, numbers, profile=profile, protocol=protocol))
    print(f"{len(paths)} files in {place}")


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="models, datasets, profiles, groups, trials, or all of them.")] = "all",
    profile: ProfileName = "paper",
    settings: Set = None,
    data: Data = None,
    results: Results = Path("results"),
    weights: Weights = None,
) -> None:
    """Show what there is: models with their arguments, datasets, profiles, groups, and the state of every trial."""
    from aegen_bench import listing, request

    asked = request.parse(None, None, None, profile, settings or [], data, results, weights)
    for line in listing.lines(asked, what):
        print(line)


@app.command()
def new(name: Annotated[str, typer.Argument(help="A new name: my_model.")], data: Data = None) -> None:
    """Write baselines/NAME.py, a method that works as it stands, and its row in benchmarks.yaml, and nothing else."""
    from aegen_bench import template

    for line in template.new(name, Path.cwd(), data):
        print(line)


@app.command()
def check(name: Annotated[str, typer.Argument(help="A model: my_model.")], data: Data = None) -> None:
    """Say in plain words what in a model breaks the contract between methods and the harness; nothing is written."""
    from aegen_bench import conformance

    found = conformance.check_row(name, Path.cwd(), data)
    for line in found or [f"{name} keeps the contract"]:
        print(line)
    raise typer.Exit(1 if found else 0)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Datasets or weights: fashion, inception, ... or all.")],
    data: Data = None,
) -> None:
    """Download data and weights, checked by sha256. Nothing is downloaded by any other command."""
    from aegen_bench import request

    for line in request.fetch(names, data):
        print(line)


@app.command()
def doctor(data: Data = None) -> None:
    """Say what is here, what is missing and how to get it. Changes nothing."""
    from aegen_bench import doctor as doctors
    from aegen_bench import request

    asked = request.parse(None, None, None, "paper", [], data, Path("results"), None)
    findings = doctors.report({name: d.recipe for name, d in asked.study.datasets.items()}, asked.data)
    width = max(len(f.what) for f in findings)
    for finding in findings:
        print(f"{'ok     ' if finding.ok else 'missing'}  {finding.what:<{width}}  {finding.detail}")


def main() -> None:
    """The console script: errors a user can mend are one line on standard error."""
    try:
        app()
    except UserError as error:
        print(f"aegen-bench: {error}", file=sys.stderr)
        sys.exit(2)
