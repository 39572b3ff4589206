"""Many trials: compare what is asked with what is on disk, say so, and do the rest one after the other.

Planning imports no torch, so `list` and `--dry-run` answer at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aegen_bench import catalog, checkpoint, imagesets, results, weights
from aegen_bench.errors import MissingError, UserError, unknown
from aegen_bench.evaluation import extractors
from aegen_bench.progress import Progress
from aegen_bench.stopping import Pace
from aegen_bench.study import Study, Trial

if TYPE_CHECKING:
    from aegen_bench.job import Place

__all__ = ["Planned", "Summary", "anchors_lack", "plan", "require", "run"]

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


@dataclass(frozen=True)
class Summary:
    """How a run ended: counts of the outcomes of what was tried."""

    outcomes: Counter[str]

    @property
    def good(self) -> bool:
        return not set(self.outcomes) - {"ok"}


def plan(
    study: Study,
    trials: Sequence[Trial],
    *,
    root: Path,
    kept_weights: Path,
    without_data: Sequence[str] = (),
    retrain: bool = False,
    stale: bool = False,
    retry: Sequence[str] = (),
) -> list[Planned]:
    """Return what is to be done with each trial. `retrain` and `stale` also rerun trials whose weights are gone or
    key has changed, `retry` those that ended as it says: diverged, timeout.
    """
    for status in set(retry) - set(ASKED_FOR):
        raise unknown("outcome to retry", status, ASKED_FOR)
    protocols = {dataset: study.chosen_protocols(dataset) for dataset in {trial.dataset for trial in trials}}

    def look(trial: Trial) -> Planned:
        if trial.dataset in without_data:
            return Planned(trial, "no data")
        path = trial.folder(root) / "record.json"
        if not path.is_file():
            kept = checkpoint.paths(path.parent)
            return Planned(trial, "resume", f"from {kept[-1].name}") if kept else Planned(trial, "run")
        try:
            record = results.read_record(path)
        except UserError as error:
            return Planned(trial, "corrupt", str(error))
        if record["key"] != trial.key:
            return Planned(trial, "retrain" if stale else "stale", "its key has changed")
        if record["status"] == "failed" or record["status"] in retry:
            return Planned(trial, "retry", record["reason"].partition("\n")[0])
        if record["status"] != "ok":
            return Planned(trial, record["status"], record["reason"])
        wanted = {m for p in protocols[trial.dataset] for m in results.lacking(record, p.id, p.metrics)}
        if not wanted:
            return Planned(trial, "done")
        if results.weights_path(kept_weights, trial.key).is_file():
            return Planned(trial, "evaluate", ", ".join(sorted(wanted)))
        return Planned(trial, "retrain" if retrain else "weights gone", ", ".join(sorted(wanted)))

    return [look(trial) for trial in trials]


def require(study: Study, planned: Sequence[Planned], folder: Path) -> dict[str, str]:
    """Check, before anything trains, that the weights of extractors and perceptual losses are there and the asked
    baselines import.

    Returns the rows that do not, with the reason; raises MissingError for weights.
    """
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
    broken = {}
    for row in dict.fromkeys(p.trial.row for p in to_do):
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
    pace: Pace | None = None,
) -> Summary:
    """Do what the plan says, in its order. A trial that fails stops no other; Ctrl-C and SIGTERM raise `Stopped`."""
    pace = pace or Pace()
    with pace.listening():
        return _run(study, planned, place, show, broken, pace)


def _run(
    study: Study, planned: Sequence[Planned], place: Place, show: Progress, broken: dict[str, str], pace: Pace
) -> Summary:
    from aegen_bench import environment
    from aegen_bench import trial as work
    from aegen_bench.job import Job

    to_do = [p for p in planned if p.state in TO_DO and p.trial.row not in broken]
    outcomes: Counter[str] = Counter(broken=sum(p.trial.row in broken for p in planned)) if broken else Counter()
    for number, item in enumerate(to_do, 1):
        trial = item.trial
        protocols = study.chosen_protocols(trial.dataset)
        job = Job(trial, study.entry(trial.row), protocols, study.profile.draws, place, show, pace)
        told = f"[{number}/{len(to_do)}] {trial.label}"
        show.note(f"{told}: {item.state}")
        with environment.exact():
            record = None
            if item.state != "evaluate":
                results.keep_aside(job.record)
                record = work.train(job)
            if record is None or record["status"] == "ok":
                try:
                    record = work.evaluate(job)
                except Exception as error:  # what was trained stays, and the next run evaluates it
                    outcomes["evaluation failed"] += 1
                    show.note(f"{told}: evaluation failed: {' '.join(str(error).split()) or type(error).__name__}")
                    continue
        outcomes[record["status"]] += 1
        show.note(f"{told}: {_outcome(record)}")
    for scorer in _scorers(study, planned, place.data, place.results, place.device, show):
        try:
            with environment.exact():
                imagesets.anchors(scorer)
        except Exception as error:
            outcomes["evaluation failed"] += 1
            show.note(f"anchors of {scorer.dataset}: evaluation failed: {' '.join(str(error).split())}")
    return Summary(outcomes)


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


def _outcome(record: dict[str, Any]) -> str:
    if record["status"] != "ok":
        return f"{record['status']}: {record['reason'].partition(chr(10))[0]}"
    numbers = [f"{k} {v:.4g}" for entry in record["metrics"].values() for k, v in (entry["draws"] or [{}])[0].items()]
    failed = [f"{name} failed" for entry in record["metrics"].values() for name in entry["failed"]]
    spent = sum(record["seconds"].values())
    return ", ".join(["collapsed"] * record["collapsed"] + numbers + failed + [f"{spent:,.0f} s"])
