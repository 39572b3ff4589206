"""Forecasts of a plan: images, FLOPs and expected time of the trials that it would train here."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aegen_bench import data, environment
from aegen_bench.errors import UserError
from aegen_bench.progress import clock
from aegen_bench.results.durations import Durations
from aegen_bench.runner import TRAINING, Job
from aegen_bench.study import Study, Trial

if TYPE_CHECKING:
    from aegen_bench.cost.calibration import Calibration
    from aegen_bench.cost.counting import Kind

__all__ = ["Table", "lines"]

BUDGET = 15.0  # seconds of timing, besides counting FLOPs and building models
Cell = tuple[str, str]  # row, dataset
HEAD = ("row", "dataset", "trials", "images/trial", "TFLOP/trial", "training/trial", "other/trial")


class Table(NamedTuple):
    """A table of texts: its heads and its lines."""

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]

    @property
    def markdown(self) -> str:
        """The table in Markdown."""
        rule = "|---|---|" + "---:|" * (len(self.heads) - 2)
        head, *body = (f"| {' | '.join(line)} |" for line in (self.heads, *self.lines))
        return "\n".join([head, rule, *body])


def lines(
    study: Study, planned: Sequence[Job], folder: Path, root: Path, device: str, most: int | None = None
) -> Iterator[str | Table]:
    """Yield a table with a line per row and dataset, or only the `most` expensive of them, and the totals of all;
    nothing if nothing is to be trained.

    `folder` is the data folder and `root` the results folder. A trial that would resume from a checkpoint counts in
    full. The time besides training is the median of finished trials, on this device if there are any: of the same row
    and dataset, else of the profile.
    """
    trials = [p.trial for p in planned if p.state in TRAINING]
    if not trials:
        return
    graphs = planned[0].place.graphs
    from aegen_bench.cost import calibration
    from aegen_bench.numerics import tuning

    begin = time.perf_counter()
    try:
        place = environment.pick_device(device)
        kinds = _kinds(study, trials, folder)
    except UserError as error:
        yield f"no forecast: {error}"
        return
    with environment.exact(), tuning.keeping_memory():
        found = calibration.calibrate({kind.key: kind for kind in kinds.values()}, place, BUDGET, graphs=graphs)
    here = environment.describe(place, graphs=graphs)
    spent = time.perf_counter() - begin
    finished, where = Durations.of(root, study.profile_name, environment.timed_on(here)), ""
    if not finished.rest:
        finished = Durations.of(root, study.profile_name, environment.timed_on(here), elsewhere=True)
        where = " on other devices"
    counts = Counter((trial.row, trial.dataset) for trial in trials)
    table = [
        _line(cell, n, found, kinds[cell].key, finished.rest_of(*cell))
        for cell, n in counts.items()
        if kinds[cell].key in found.costs
    ]
    costly = sorted(table, key=lambda line: line.trials * line.seconds, reverse=True)[:most]
    if table:
        yield f"forecast for {here['device']}, from {spent:.0f} s of counting and timing:"
        yield Table(HEAD, [line.texts for line in table if line in costly])
    if left_out := len(table) - len(costly):
        yield f"and {left_out} less expensive lines (--verbose lists them)"
    if table:
        yield from _sums(table, where, whole=len(table) == len(counts))
    if any(trial.config.get("compile") for trial in trials):
        yield "with --compile: these times are without it; they include neither compilation nor what it saves"
    for (row, dataset), kind in kinds.items():
        if kind.key in found.failed:
            yield f"no forecast of {row} on {dataset}: {found.failed[kind.key]}"


@dataclass(frozen=True)
class _Line:
    """A row on a dataset: `seconds` of training per trial, and the `rest` of the trial's time."""

    row: str
    dataset: str
    trials: int
    images: int
    flops: float
    seconds: float
    timed: bool
    rest: float | None

    @property
    def texts(self) -> list[str]:
        took = ("" if self.timed else "~") + clock(self.seconds)
        numbers = [f"{self.trials}", f"{self.images:,}", f"{self.flops / 1e12:,.1f}", took]
        return [self.row, self.dataset, *numbers, "?" if self.rest is None else clock(self.rest)]


def _line(cell: Cell, trials: int, found: Calibration, key: str, rest: float | None) -> _Line:
    stages, (seconds, timed) = found.costs[key], found.seconds(key)
    images, flops = sum(stage.images for stage in stages), math.fsum(stage.flops for stage in stages)
    return _Line(*cell, trials, images, flops, seconds, timed, rest)


def _sums(table: Sequence[_Line], where: str, *, whole: bool) -> Iterator[str]:
    images, flops = sum(line.trials * line.images for line in table), sum(line.trials * line.flops for line in table)
    training = math.fsum(line.trials * line.seconds for line in table)
    told = f"{clock(training)} of training"
    known = [line.trials * line.rest for line in table if line.rest is not None]
    if len(known) < len(table):
        told += "; the time besides training is unknown until a trial of this profile has finished here"
    else:
        rest = math.fsum(known)
        told += f" and {clock(rest)} of other work, as in the finished trials of this profile{where}: "
        told += clock(training + rest)
    rows = "" if whole else ", without the rows below that have no forecast"
    yield f"in total, one trial after another{rows}: {images:,} images, {flops / 1e12:,.1f} TFLOP, {told}"
    if not all(line.timed for line in table):
        yield "~: too expensive to be timed; estimated from its FLOPs at the speed of the most expensive step timed"


def _kinds(study: Study, trials: Sequence[Trial], folder: Path) -> dict[Cell, Kind]:
    from aegen_bench.cost.counting import Kind

    shapes = {
        name: data.shape(name, study.datasets[name].recipe, folder, "train") for name in {t.dataset for t in trials}
    }
    made = {}
    for trial in trials:
        count, channels, side, _ = shapes[trial.dataset]
        n = min(count, trial.config.get("train_images") or count)
        kind = Kind(trial.config, study.entry(trial.row), (channels, side, side), n, folder)
        made[trial.row, trial.dataset] = kind
    return made
