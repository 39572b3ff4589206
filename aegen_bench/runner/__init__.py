"""Many trials: compare what is asked with what is on disk, say so, and do the rest, in this process or on device slots.

Planning imports no torch, so `list` and the plan of a run come at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from aegen_bench import data, imagesets, results, weights
from aegen_bench.errors import MissingError, UserError, unknown
from aegen_bench.evaluation import extractors
from aegen_bench.progress import Lines, Progress
from aegen_bench.results import locks
from aegen_bench.results.locks import ELSEWHERE
from aegen_bench.study import Study, Trial, catalog
from aegen_bench.training import checkpoint
from aegen_bench.training.stopping import Pace

if TYPE_CHECKING:
    from aegen_bench.runner.task import Ended, Task
    from aegen_bench.trial.job import Place

__all__ = ["Each", "Planned", "Summary", "anchors_lack", "plan", "require_weights", "run", "running", "unimportable"]

Each: TypeAlias = "Callable[[Sequence[Task], Progress], Iterator[tuple[Task, Ended]]]"
"""What does tasks, here or elsewhere, and yields each with how it ended, in the order in which they end."""

State = Literal[
    "done",
    "run",
    "resume",
    "retry",
    "evaluate",
    "retrain",
    "stale",
    "diverged",
    "timeout",
    "weights gone",
    "corrupt",
    "no data",
    "broken",
]
ASKED_FOR = ("diverged", "timeout")  # outcomes that another try alone does not change
TO_DO = ("run", "resume", "retry", "evaluate", "retrain")


@dataclass(frozen=True)
class Planned:
    """A trial, what is to be done with it, and why."""

    trial: Trial
    state: State
    detail: str = ""
    seen: int | None = None  # the stamp of its record


@dataclass(frozen=True)
class Summary:
    """How a run ended: counts of the outcomes of what was tried."""

    outcomes: Counter[str]

    @property
    def good(self) -> bool:
        return not set(self.outcomes) - {"ok", ELSEWHERE}


def plan(
    study: Study,
    trials: Sequence[Trial],
    *,
    root: Path,
    kept_weights: Path,
    data_folder: Path,
    without_data: Sequence[str] = (),
    retrain: bool = False,
    stale: bool = False,
    retry: Sequence[str] = (),
) -> list[Planned]:
    """Return what is to be done with each trial. `retrain` and `stale` also rerun trials whose weights are gone (also
    where every number is there) or whose key or images have changed, `retry` those that ended as it says: diverged,
    timeout.
    """
    for status in set(retry) - set(ASKED_FOR):
        raise unknown("outcome to retry", status, ASKED_FOR)
    protocols = {dataset: study.chosen_protocols(dataset) for dataset in {trial.dataset for trial in trials}}

    @cache
    def images_of(dataset: str) -> str | None:
        return data.known_fingerprint(dataset, study.datasets[dataset].recipe, data_folder, "train")

    def look(trial: Trial) -> Planned:
        if trial.dataset in without_data:
            return Planned(trial, "no data")
        path = trial.folder(root) / "record.json"
        if not path.is_file():
            saved = checkpoint.paths(path.parent)
            return Planned(trial, "resume", f"from {saved[-1].name}") if saved else Planned(trial, "run")
        try:
            record = results.read_record(path)
        except UserError as error:
            return Planned(trial, "corrupt", str(error))
        another_try = Planned(trial, "retry", record.reason.partition("\n")[0])
        if record.status == "failed":  # whatever its key: nothing is lost with it, and its code may be mended by now
            return another_try
        if record.key != trial.key:
            return Planned(trial, "retrain" if stale else "stale", "its key has changed")
        trained_on, here = record.config.get("data_sha256"), images_of(trial.dataset)
        if trained_on and here and trained_on != here:
            return Planned(trial, "retrain" if stale else "stale", "its training images have changed")
        if record.status in retry:
            return another_try
        if record.status != "ok":
            return Planned(trial, record.status, record.reason)
        wanted = {m for p in protocols[trial.dataset] for m in record.lacking(p.id, p.metrics)}
        kept = record.weights_path(kept_weights).is_file()
        if not kept and retrain:
            return Planned(trial, "retrain", "its weights are gone")
        if not wanted:
            return Planned(trial, "done")
        return Planned(trial, "evaluate" if kept else "weights gone", ", ".join(sorted(wanted)))

    def seen(trial: Trial) -> Planned:
        # The stamp first: what is written after it was taken is noticed when the trial's turn comes.
        stamp = results.stamp(trial.folder(root) / "record.json")
        return replace(look(trial), seen=stamp)

    return [seen(trial) for trial in trials]


def require_weights(study: Study, planned: Sequence[Planned], folder: Path) -> None:
    """MissingError where the weights of an extractor or a perceptual loss that the plan needs are not there."""
    to_do = [p for p in planned if p.state in TO_DO]
    for dataset in dict.fromkeys(p.trial.dataset for p in to_do):
        for protocol in study.chosen_protocols(dataset):
            needed = extractors.recipe(protocol.extractor).file(dataset)
            hint = weights.missing(needed, folder) if needed else None
            if hint:
                raise MissingError(
                    f"protocol {protocol.name} of profile {study.profile_name} needs {hint}; "
                    "or use --profile lite or smoke, which work offline"
                )
    for trial in (p.trial for p in to_do if p.state != "evaluate"):
        hint = weights.missing(trial.config["perceptual_net"], folder) if "perceptual_net" in trial.config else None
        if hint:
            raise MissingError(f"the reconstruction loss of row {trial.row} needs {hint}")


def unimportable(study: Study, planned: Sequence[Planned]) -> dict[str, str]:
    """Import the baselines that the plan needs and return the rows whose baseline does not, with the reason."""
    broken = {}
    for row in dict.fromkeys(p.trial.row for p in planned if p.state in TO_DO):
        try:
            catalog.import_class(study.entry(row))
        except UserError as error:
            broken[row] = str(error)
    return broken


def run(
    study: Study,
    planned: Sequence[Planned],
    place: Place,
    show: Progress,
    broken: dict[str, str],
    pace: Pace,
    each: Each,
) -> Summary:
    """Do what the plan says, in its order, by `each`. A trial that fails stops no other; Ctrl-C and SIGTERM raise
    `Stopped`.
    """
    from aegen_bench import environment
    from aegen_bench.runner.task import Task

    to_do = [p for p in planned if p.state in TO_DO and p.trial.row not in broken]
    tasks = [
        Task(
            trial=p.trial,
            state=p.state,
            seen=p.seen,
            entry=study.entry(p.trial.row),
            protocols=study.chosen_protocols(p.trial.dataset),
            draws=study.profile.draws,
            place=place,
            label=f"[{number}/{len(to_do)}] {p.trial.label}",
            quiet=not isinstance(show, Lines),
            pace=pace,
        )
        for number, p in enumerate(to_do, 1)
    ]
    outcomes: Counter[str] = Counter(broken=sum(p.trial.row in broken for p in planned)) if broken else Counter()
    with pace.listening():
        show.grid(0, len(tasks))
        for number, (task, ended) in enumerate(each(tasks, show), 1):
            outcomes[ended.outcome] += 1
            show.note(f"{task.label}: {ended.text}")
            show.grid(number, len(tasks))
        for scorer in _scorers(study, planned, place.data, place.results, place.device, show):
            lock = locks.lock_path(place.results, results.ANCHORS, scorer.dataset)
            try:
                with locks.claim(lock, patience=-1), environment.exact():
                    imagesets.anchors(scorer)
            except Exception as error:
                outcomes["evaluation failed"] += 1
                show.note(f"anchors of {scorer.dataset}: evaluation failed: {' '.join(str(error).split())}")
    return Summary(outcomes)


def running(root: Path) -> list[tuple[str, dict[str, Any]]]:
    """The trials that processes are at now: label and figures (`progress.facts`), by profile, dataset, row, seed."""
    trials = ((names, figures) for names, figures in locks.held(root) if len(names) == 4)
    return [(f"{row} on {dataset}, {seed.replace('-', ' ')}", told) for (_, dataset, row, seed), told in trials]


def anchors_lack(study: Study, planned: Sequence[Planned], data: Path, root: Path) -> bool:
    """Whether a dataset with finished trials has no floor or ceiling yet under one of their protocols."""
    done = [p for p in planned if p.state == "done"]
    return any(imagesets.anchors_lack(scorer) for scorer in _scorers(study, done, data, root, None, Progress()))


def _scorers(
    study: Study, planned: Sequence[Planned], data: Path, root: Path, device: Any, show: Progress
) -> Iterator[imagesets.Scorer]:
    for name in dict.fromkeys(p.trial.dataset for p in planned if p.state != "no data"):
        real = imagesets.real_images(name, study.datasets[name].recipe, data)
        yield imagesets.Scorer(name, real, study.chosen_protocols(name), root, data, device, show)
