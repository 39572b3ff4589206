"""The command line. It has no logic of its own: it parses, calls, prints, and turns errors into one line and a code.

Exit codes: 0 done, 1 a trial failed or a check found a problem, 2 the request is invalid or data are missing, 3 done
but a dataset was skipped, 70 a bug in the program, 128 + N stopped by signal N (130 by Ctrl-C, 143 by SIGTERM). torch
and pandas are imported only by the commands that need them, when they run.
"""

from __future__ import annotations

import atexit
import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from aegen_bench import __version__, environment
from aegen_bench.commands import exchanging, faults, reporting, timing, upkeep
from aegen_bench.commands.options import (
    PATH,
    Data,
    Datasets,
    Device,
    Models,
    ProfileName,
    Results,
    Seeds,
    Set,
    Weights,
)
from aegen_bench.commands.terminal import show
from aegen_bench.data import default_folder
from aegen_bench.errors import UserError
from aegen_bench.seeding import LARGEST_SEED

__all__ = ["app", "main"]


app = typer.Typer(
    cls=faults.Commands,
    name="aegen-bench",
    help="Train autoencoder-based image generators under one protocol, score them and compare them in tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print tracebacks of errors. Works with every command.")
    ] = False,  # removed by `main`
) -> None:
    if version:
        show([f"aegen-bench {__version__}"])
        raise typer.Exit


@app.command()
def run(
    models: Models = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
    profile: ProfileName = "paper",
    device: Device = "auto",
    jobs: Annotated[int | None, typer.Option(min=1, help="Number of trials to run in parallel. Default: 1.")] = None,
    devices: Annotated[str, typer.Option(help="Devices to run trials on in parallel: cuda:0,cuda:1.")] = "",
    jobs_per_device: Annotated[int, typer.Option(min=1, help="Number of trials that share each of --devices.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Run on the workers of a dask scheduler: tcp://HOST:8786.")
    ] = None,
    resources: Annotated[
        str | None, typer.Option(help="With --cluster: use only workers started with these resources: GPU=1.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, tf32 or bf16; the same as --set precision=...")] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Train with torch.compile; the same as --set compile=true.")
    ] = False,
    graphs: Annotated[
        bool,
        typer.Option("--graphs/--no-graphs", help="On a GPU, replay training steps as CUDA graphs; same results."),
    ] = True,
    settings: Set = None,
    data: Data = None,
    results: Results = Path("results"),
    weights: Weights = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, its cost and missing files, then exit.")
    ] = False,
    forecast: Annotated[
        bool,
        typer.Option(help="With --dry-run: time some steps (20 s) to estimate the cost; and the statistical power."),
    ] = True,
    retrain: Annotated[bool, typer.Option("--retrain", help="Retrain trials whose weights are gone.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Retrain trials whose key has changed.")] = False,
    retry: Annotated[str | None, typer.Option(help="Retry trials with these outcomes: diverged,timeout.")] = None,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Minutes between checkpoints; 0 = at the end of each epoch.")
    ] = 5.0,
    time_limit: Annotated[str | None, typer.Option(help="Training time limit of a trial: 3h, 90m, 1h30m.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List every trial, describe the protocols.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what failed.")] = False,
) -> None:
    """Train and score all trials that are not done yet. Ends with the first table, a page, and what failed."""
    from aegen_bench.commands import request
    from aegen_bench.progress import forgiving_output
    from aegen_bench.runner.parallelism import Parallelism
    from aegen_bench.training import stopping

    environment.wanted_threads()  # reports an invalid number before anything else

    interrupts = stopping.Interrupts(
        checkpoint_every * 60, stopping.seconds("--time-limit", time_limit) if time_limit else None
    )
    changes = [*(settings or []), *([f"precision={precision}"] if precision else []), *["compile=true"] * compile]
    parallelism = Parallelism(jobs, tuple(filter(None, devices.split(","))), jobs_per_device, cluster, resources)
    asked = request.parse(models, datasets, seeds, profile, changes, data, results, weights)
    asked.require_data()
    planned = asked.plan(retrain=retrain, stale=stale, retry=retry.split(",") if retry else [], graphs=graphs)
    if dry_run:
        show(asked.announce(planned, interrupts, verbose=verbose))
        show(asked.forecast(planned, device, verbose=verbose) if forecast else ())
        show(asked.resolution() if forecast else ())
        asked.require_weights(planned)
        raise typer.Exit(3 if asked.skipped else 0)
    with forgiving_output():  # a closed pipe or a full disk must not stop a trial
        if not quiet:
            show(asked.announce(planned, interrupts, verbose=verbose))
        try:
            raise typer.Exit(asked.run(planned, device, interrupts, parallelism, quiet=quiet))
        except KeyboardInterrupt as stop:  # here, because typer would exit without a message
            told = "stopped; finished trials and checkpoints are kept: the same command resumes from there"
            print(f"\naegen-bench: {told}", file=sys.stderr)
            raise typer.Exit(getattr(stop, "code", 130)) from None


app.command()(reporting.report)


@app.command()
def evaluate(
    images: Annotated[Path | None, typer.Argument(**PATH, help="A folder of image files, an .npz or an .npy.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Compare with the real images of this dataset.")] = None,
    against: Annotated[
        Path | None, typer.Option(**PATH, help="Compare with these images instead of a dataset's.")
    ] = None,
    trial: Annotated[
        Path | None, typer.Option(**PATH, help="Instead of IMAGES: the folder of a trial to complete.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Protocol to score with. With --trial, several; default: the profile's.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="Number of images to compare; results in a different protocol id.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name in tables. Default: that of the folder or file.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=LARGEST_SEED, help="Number of this image set, if a generator has several. Default: 0."),
    ] = None,
    device: Device = "auto",
    data: Data = None,
    results: Annotated[Path | None, typer.Option(**PATH, help="The results folder. Default: results.")] = None,
    weights: Weights = None,
) -> None:
    """Score images of any generator, or complete a trial. Trains nothing: images are scored like those of a trial, and
    a trial gets the scores that it lacks.
    """
    from aegen_bench.commands import external

    if images is None and trial is None:
        raise UserError("nothing to evaluate: name a folder or file of images, or --trial FOLDER")
    if images is not None and trial is not None:
        raise UserError("name images or --trial, not both: a trial is scored by its own images")
    if trial is not None:
        own = {"dataset": dataset, "against": against, "count": count, "name": name, "seed": seed, "results": results}
        if given := [f"--{option}" for option, value in own.items() if value is not None]:
            raise UserError(f"--trial cannot be combined with {', '.join(given)}: the trial determines them")
        names = protocol.split(",") if protocol else []
        lines = external.evaluate_trial(trial, protocols=names, device=device, data_folder=data, kept=weights)
    elif images is not None:
        if protocol is None:
            raise UserError("choose a protocol: --protocol NAME, for example lite or paper")
        if weights is not None:
            raise UserError("--weights is only for --trial: images need no trained weights")
        place = results or Path("results")
        lines = external.evaluate_images(
            images, dataset, against, protocol, count, name, seed or 0, device=device, folder=data, root=place
        )
    show(lines)


@app.command()
def sample(
    row: Annotated[str, typer.Argument(help="The row of the trial.")],
    dataset: Annotated[str, typer.Option(help="The dataset of the trial.")],
    out: Annotated[Path, typer.Option(**PATH, help="A new folder for PNG files, or an .npz.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of images.")] = 100,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="The seed of the trial.")] = 0,
    draw: Annotated[int, typer.Option(min=0, help="Each draw uses different noise.")] = 0,
    profile: Annotated[str | None, typer.Option(help="The profile of the trial, if several profiles have it.")] = None,
    device: Device = "auto",
    data: Data = None,
    results: Results = Path("results"),
    weights: Weights = None,
) -> None:
    """Write generated images of a finished trial."""
    from aegen_bench.commands import external, request

    folder, kept = external.find_trial(results, profile, dataset, row, seed), request.weights_folder(weights, data)
    place = data or default_folder()
    show([external.sample(folder, count=count, out=out, draw=draw, device=device, kept=kept, place=place)])


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="models, priors, datasets, profiles, groups, metrics, trials, or all of them.")
    ] = "all",
    trials: Annotated[bool, typer.Option("--trials", help="Show only the trials, including running ones.")] = False,
    why: Annotated[str | None, typer.Option(help="Show why the trials of this row are stale.")] = None,
    long: Annotated[bool, typer.Option("--long", help="Also show arguments of models and seeds of trials.")] = False,
    profile: ProfileName = "paper",
    settings: Set = None,
    data: Data = None,
    results: Results = Path("results"),
    weights: Weights = None,
) -> None:
    """List models, datasets, profiles, groups and trials."""
    from aegen_bench.commands import listing, request

    asked = request.parse(None, None, None, profile, settings or [], data, results, weights)
    show(listing.why(asked, why) if why else listing.lines(asked, "trials" if trials else what, long=long))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="A new name: my_model.")],
    prior: Annotated[bool, typer.Option("--prior", help="Write a prior instead: baselines/priors/NAME.py.")] = False,
    data: Data = None,
) -> None:
    """Write a working method for you to change. It is baselines/NAME.py."""
    from aegen_bench.commands import template

    show(template.new(name, Path.cwd(), data, prior=prior))


@app.command()
def check(name: Annotated[str, typer.Argument(help="A model or a prior: my_model.")], data: Data = None) -> None:
    """Check a model or prior against the contract of methods. Changes nothing."""
    from aegen_bench import conformance

    found = conformance.check_row(name, Path.cwd(), data)
    show(conformance.remarks(name, Path.cwd(), data))
    show(found or [f"{name} keeps the contract"])
    raise typer.Exit(1 if found else 0)


@app.command("check-metrics")
def check_metrics(
    dataset: Annotated[str, typer.Option(help="The dataset whose real images are used.")],
    protocol: Annotated[str, typer.Option(help="The protocol whose features are used.")] = "lite",
    count: Annotated[
        int, typer.Option(min=60, help="Images per set; nine times as many from the training split.")
    ] = 1000,
    device: Device = "auto",
    data: Data = None,
) -> None:
    """Test which kinds of degradation each metric detects. Blur, noise, missing modes, copies, ..."""
    from aegen_bench.commands import checking

    show(checking.check_metrics(dataset, protocol, count, device=device, folder=data))


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Datasets or weights: fashion, inception, ... or all.")],
    data: Data = None,
) -> None:
    """Download data and weights, verified by sha256. No other command downloads anything."""
    from aegen_bench.commands import request

    show(request.fetch(names, data))


@app.command()
def doctor(data: Data = None) -> None:
    """Show what is installed, what is missing and how to get it. Changes nothing."""
    from aegen_bench.commands import doctor as doctors
    from aegen_bench.commands import request

    asked = request.parse(None, None, None, "paper", [], data, Path("results"), None)
    show(doctors.lines({name: d.recipe for name, d in asked.study.datasets.items()}, asked.data))


for command in (timing.time, upkeep.merge, upkeep.clean, *exchanging.COMMANDS):
    app.command()(command)


def _require_working_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise UserError("the working directory no longer exists: change to one that does") from error


def main() -> None:
    """Do one command. User errors and bugs of the program are reported on one line on standard error."""
    gc.set_threshold(10_000)  # importing torch makes no garbage; collecting as often as by default takes 0.4 s
    atexit.register(gc.freeze)  # collecting once more at exit would take 0.7 s
    environment.prepare_processes()
    arguments, debug = faults.without_debug(sys.argv[1:])
    try:
        with faults.printable_output():
            _require_working_folder()
            app(arguments)
    except UserError as error:
        faults.refuse(error, debug)
        sys.exit(error.code)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BrokenPipeError:  # `| head` has seen enough
        sys.exit(1)
    except BaseException as error:
        faults.report(error, arguments, debug)
        sys.exit(faults.CODE)
