"""Many trials: compare what is asked with what is on disk, say so, and do the rest one after the other.

Planning imports no torch, so `list` and `--dry-run` answer at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aegen_bench import catalog, results, weights
from aegen_bench.errors import Diverged, MissingError, UserError
from aegen_bench.evaluation import extractors
from aegen_bench.study import Study, Trial

if TYPE_CHECKING:
    from aegen_bench.job import Place
    from aegen_bench.progress import Progress

__all__ = ["Planned", "Summary", "plan", "require", "run"]

State = Literal[
    "done",
    "run",
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
TO_DO = ("run", "retry", "evaluate", "retrain")


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
) -> list[Planned]:
    """Return what is to be done with each trial. `retrain` and `stale` also rerun trials whose weights are gone or
    key has changed.
    """
    protocols = study.chosen_protocols()

    def look(trial: Trial) -> Planned:
        if trial.dataset in without_data:
            return Planned(trial, "no data")
        path = trial.folder(root) / "record.json"
        if not path.is_file():
            return Planned(trial, "run")
        try:
            record = results.read_record(path)
        except UserError as error:
            return Planned(trial, "corrupt", str(error))
        if record["key"] != trial.key:
            return Planned(trial, "retrain" if stale else "stale", "its key has changed")
        if record["status"] == "failed":
            return Planned(trial, "retry", record["reason"].partition("\n")[0])
        if record["status"] != "ok":
            return Planned(trial, record["status"], record["reason"])
        wanted = {metric for protocol in protocols for metric in results.lacking(record, protocol.id, protocol.metrics)}
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
    for protocol in study.chosen_protocols() if to_do else []:
        needed = extractors.recipe(protocol.extractor).weights
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


def run(study: Study, planned: Sequence[Planned], place: Place, show: Progress, broken: dict[str, str]) -> Summary:
    """Do what the plan says, in its order. A trial that fails stops no other."""
    from aegen_bench import environment
    from aegen_bench import trial as work
    from aegen_bench.job import Job

    to_do = [p for p in planned if p.state in TO_DO and p.trial.row not in broken]
    outcomes: Counter[str] = Counter(broken=sum(p.trial.row in broken for p in planned)) if broken else Counter()
    protocols, draws = study.chosen_protocols(), study.profile.draws
    for number, item in enumerate(to_do, 1):
        trial = item.trial
        job = Job(trial, study.entry(trial.row), protocols, draws, place, show)
        show.note(f"[{number}/{len(to_do)}] {trial.label}: {item.state}")
        if item.state == "evaluate":
            try:
                with environment.exact():
                    record = work.evaluate_again(job)
            except (UserError, Diverged, RuntimeError) as error:  # torch's out of memory is a RuntimeError
                outcomes["evaluation failed"] += 1
                show.note(f"[{number}/{len(to_do)}] {trial.label}: evaluation failed: {error}")
                continue
        else:
            _keep_aside(place.results, trial)
            with environment.exact():
                record = work.run(job)
        outcomes[record["status"]] += 1
        show.note(f"[{number}/{len(to_do)}] {trial.label}: {_outcome(record)}")
    return Summary(outcomes)


def _keep_aside(root: Path, trial: Trial) -> None:
    """An old record is never overwritten: it keeps its key in its name."""
    path = trial.folder(root) / "record.json"
    if path.is_file():
        old = results.read_record(path)
        if old["status"] != "failed":
            number = sum(1 for _ in path.parent.glob(f"record.{old['key']}.*.json")) + 1
            path.rename(path.with_name(f"record.{old['key']}.{number}.json"))


def _outcome(record: dict[str, Any]) -> str:
    if record["status"] != "ok":
        return f"{record['status']}: {record['reason'].partition(chr(10))[0]}"
    numbers = [f"{k} {v:.4g}" for entry in record["metrics"].values() for k, v in (entry["draws"] or [{}])[0].items()]
    failed = [f"{name} failed" for entry in record["metrics"].values() for name in entry["failed"]]
    spent = sum(record["seconds"].values())
    return ", ".join(["collapsed"] * record["collapsed"] + numbers + failed + [f"{spent:,.0f} s"])
