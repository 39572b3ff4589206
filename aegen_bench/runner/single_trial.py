"""One job, done by the process that holds its trial's lock: so several runs on one results folder share the work."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from aegen_bench import environment, results
from aegen_bench.errors import UserError
from aegen_bench.files import write_json
from aegen_bench.progress import Progress, logged
from aegen_bench.runner import locks
from aegen_bench.runner.locks import ELSEWHERE
from aegen_bench.trial import lifecycle
from aegen_bench.trial.job import Job

__all__ = ["Outcome", "do", "lock_of", "record_death"]

KILLED = "killed (out of memory?)"
GIVEN_UP = 600.0  # seconds that the lock of a lost worker may take to come free: it ends, or its file system notices


@dataclass(frozen=True)
class Outcome:
    """How a job ended: a word that is counted and a line that is shown."""

    status: str
    text: str


def lock_of(job: Job) -> Path:
    """The lock of the job's trial."""
    trial = job.trial
    return locks.lock_path(job.place.results, trial.profile, trial.dataset, trial.row, f"seed-{trial.seed}")


def do(job: Job, show: Progress) -> Outcome:
    """Train and evaluate what the job's state says, holding its trial's lock. A trial that fails is an outcome, not an
    error.
    """
    lock, state = lock_of(job), job.state
    ours = job.run != "" and locks.whose(lock).get("run") == job.run  # a lost worker of this run: it will end
    with (
        locks.claim(lock, patience=GIVEN_UP if ours else locks.PATIENCE, run=job.run) as mine,
        environment.exact(),
        environment.keeping_memory(),
    ):
        if mine is None:
            holder = locks.describe(locks.whose(lock))
            if ours:
                return Outcome(
                    "locked", f"its lost worker, {holder}, still holds its lock: run again when it has ended"
                )
            return Outcome(ELSEWHERE, f"{ELSEWHERE}, {holder}")
        if results.stamp(job.record) != job.stamp and job.record.is_file():  # another run was faster
            theirs = results.read_record(job.record)
            if theirs["key"] == job.trial.key:
                lacks = any(results.lacking(theirs, p.id, p.metrics) for p in job.protocols)
                if theirs["status"] != "ok" or not lacks:
                    return Outcome(theirs["status"], f"another run did it: {_told(theirs)}")
                state = "evaluate"
            elif theirs["status"] != "failed":
                return Outcome(ELSEWHERE, f"{ELSEWHERE}: its record has another key (other settings)")
            else:  # planned as "evaluate", perhaps: nothing of this key is left to evaluate
                state = "retry"
        with logged(job.folder / "log.txt", mine.tell, show) as told:
            job = replace(job, show=told)
            told.expect(_seconds_after(job))
            record: dict[str, Any] | None = None
            if state != "evaluate":
                results.keep_aside(job.record)
                record = lifecycle.train(job)
            if record is None or record["status"] == "ok":
                try:
                    record = lifecycle.evaluate(job)
                except Exception as error:  # what was trained stays, and the next run evaluates it
                    why = " ".join(str(error).split()) or type(error).__name__
                    return Outcome("evaluation failed", f"evaluation failed: {why}")
        return Outcome(record["status"], _told(record))


def record_death(job: Job) -> Outcome:
    """Record that the process that held the lock was killed; a trial that had been trained keeps its record."""
    with locks.claim(lock_of(job)) as mine:
        if mine is None:  # another run has taken it over
            return Outcome(ELSEWHERE, f"{KILLED}; {ELSEWHERE}")
        if results.stamp(job.record) not in (None, job.stamp) or job.state == "evaluate":
            return Outcome("evaluation failed", f"evaluation failed: {KILLED}")
        results.keep_aside(job.record)
        record = lifecycle.blank(job) | {"status": "failed", "reason": KILLED}
        write_json(job.record, record)
        return Outcome("failed", f"failed: {KILLED}")


def _seconds_after(job: Job) -> dict[str, float]:
    """How long what follows each stage took in finished trials on this kind of device, where there are some: later
    stages in those of the same row, and what comes after training in those of the dataset.
    """
    here = environment.timed_on(environment.describe(job.device))
    stages, rest = defaultdict[str, list[float]](list), list[float]()
    for path in (job.place.results / job.trial.profile / job.trial.dataset).glob("*/seed-*/record.json"):
        try:
            record = results.read_record(path)
        except UserError:
            continue
        spent = record["seconds"]
        if record["status"] == "ok" and "sample" in spent and environment.timed_on(record["environment"]) == here:
            rest.append(sum(seconds for part, seconds in spent.items() if part != "train"))
            for name, told in record["stages"].items() if record["row"] == job.trial.row else ():
                stages[name].append(told["seconds"])
    after, known = dict[str, float](), median(rest) if rest else None
    for name in reversed(job.entry.stages):
        if known is None:
            break
        after[name] = known
        known = known + median(stages[name]) if stages[name] else None
    return after


def _told(record: dict[str, Any]) -> str:
    if record["status"] != "ok":
        return f"{record['status']}: {record['reason'].partition(chr(10))[0]}"
    numbers = [f"{k} {v:.4g}" for entry in record["metrics"].values() for k, v in (entry["draws"] or [{}])[0].items()]
    failed = [f"{name} failed" for entry in record["metrics"].values() for name in entry["failed"]]
    spent = sum(record["seconds"].values())
    return ", ".join(["collapsed"] * record["collapsed"] + numbers + failed + [f"{spent:,.0f} s"])
