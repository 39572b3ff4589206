"""The command `time`: measures training and sampling times on an otherwise idle device."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from aegen_bench import environment
from aegen_bench.commands.options import Data, Datasets, Device, Models, ProfileName, Results, Set
from aegen_bench.commands.terminal import show
from aegen_bench.errors import UserError, contained

__all__ = ["time"]


def time(
    profile: ProfileName = "paper",
    models: Models = None,
    datasets: Datasets = None,
    device: Device = "auto",
    epochs: Annotated[
        int, typer.Option(min=1, max=1000, help="Epochs of each stage to time, after one for warm-up.")
    ] = 3,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Run even if the machine is busy, and mark the times.")
    ] = False,
    settings: Set = None,
    data: Data = None,
    results: Results = Path("results"),
) -> None:
    """Measure time and memory of rows on an idle device. Nothing is trained to completion; Table 6 and the claims about
    time take their seconds from it.
    """
    from aegen_bench.commands import request
    from aegen_bench.cost import timing
    from aegen_bench.results import timings
    from aegen_bench.trial.job import Job, Place

    threads = _threads_alone(anyway)
    asked = request.parse(models, datasets, "1", profile, settings or [], data, results, None)
    asked.require_data()
    place = Place(asked.data, asked.results, asked.weights, str(environment.pick_device(device))).absolute()
    _require_alone(place.device, anyway)
    sampled = asked.study.protocols[asked.study.profile.protocols[0]].count
    broken = asked.study.broken(asked.models)
    show(f"broken: {row}: {why}" for row, why in broken.items())
    failed = bool(broken)
    trials = asked.study.trials(asked.models, [d for d in asked.datasets if d not in asked.skipped], [0])
    with_trunks = [one for trial in trials for one in (trial.trunk, trial) if one]
    timed: dict[tuple[str, str], timings.Timing] = {}
    for trial in {(trial.dataset, trial.row): trial for trial in with_trunks}.values():  # each trunk once
        job = Job(trial, asked.study.entry(trial.row), (), 1, place)
        label = f"{trial.row} on {trial.dataset}"
        trunk = timed.get((trial.dataset, trial.trunk.row)) if trial.trunk else None
        if trial.trunk and not trunk:
            print(f"{label}: not timed, because its trunk, {trial.trunk.row}, was not")
            continue
        try:
            with contained(), ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                found = alone.submit(timing.measure, job, epochs, sampled, threads, trunk).result()
        except Exception as error:  # an error of the method, or out of memory: continue with the others
            failed = True
            show([f"{label}: not timed: {str(error) or type(error).__name__}"])
            continue
        timed[trial.dataset, trial.row] = found
        path = timings.write(asked.results, found)
        paces = ", ".join(f"{name} {stage.pace:.3g} s/epoch" for name, stage in found.stages.items())
        busy = f"; marked, because other programs used {found.others:.0%} of the processors" if found.busy else ""
        show([f"{label}: {paces}; {found.sample:.3g} s for {found.sampled:,} images; {path}{busy}"])
    raise typer.Exit(1 if failed else 3 if asked.skipped else 0)


def _threads_alone(anyway: bool) -> int:
    """Return the number of threads, one per processor; UserError if other programs use some of them."""
    import joblib

    threads: int = environment.wanted_threads() or joblib.cpu_count()
    free = environment.free_processors()
    if free is not None and free < joblib.cpu_count() and not anyway:
        raise UserError(
            f"{joblib.cpu_count() - free} of {joblib.cpu_count()} processors are busy with other work, which would "
            "distort the times: wait until it has ended, or use --anyway, which marks the times"
        )
    return threads


def _require_alone(device: str, anyway: bool) -> None:
    """Raise UserError if another program holds memory on the GPU."""
    import torch

    if not device.startswith("cuda") or anyway:
        return
    free, whole = torch.cuda.mem_get_info(device)
    if whole - free > 2**30:
        held = f"another program holds {(whole - free) / 2**30:.1f} GiB on {device}"
        raise UserError(f"{held}, which would distort the times: wait until it has ended, or use --anyway")
