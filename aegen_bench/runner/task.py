"""One planned trial, done by the process that holds its lock: so several runs on one results folder share the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aegen_bench import environment, results
from aegen_bench.evaluation import Protocol
from aegen_bench.progress import Progress, logged
from aegen_bench.results import locks
from aegen_bench.results.locks import ELSEWHERE
from aegen_bench.study import Trial, catalog
from aegen_bench.training.stopping import Pace
from aegen_bench.trial import trial as work
from aegen_bench.trial.job import Job, Place

__all__ = ["Ended", "Task", "do", "killed"]

KILLED = "killed (out of memory?)"
GIVEN_UP = 600.0  # seconds that the lock of a lost worker may take to come free: it ends, or its file system notices


@dataclass(frozen=True)
class Task:
    """A planned trial and all that a process needs to do it. `seen` is the time of its record when it was planned.

    `run` names a run whose engine may give a trial to a second worker when it believes the first one dead.
    """

    trial: Trial
    state: str
    seen: int | None
    entry: catalog.Method
    protocols: Sequence[Protocol]
    draws: int
    place: Place
    label: str
    quiet: bool
    pace: Pace
    run: str = ""

    @property
    def lock(self) -> Path:
        trial = self.trial
        return locks.lock_path(self.place.results, trial.profile, trial.dataset, trial.row, f"seed-{trial.seed}")

    @property
    def job(self) -> Job:
        return Job(self.trial, self.entry, self.protocols, self.draws, self.place, Progress(), self.pace)


@dataclass(frozen=True)
class Ended:
    """How a task ended, in a word that is counted and in a line that is shown."""

    outcome: str
    text: str


def do(task: Task, show: Progress) -> Ended:
    """Train and evaluate what the task's state says, holding its lock. A trial that fails is an outcome, no error."""
    ours = task.run != "" and locks.whose(task.lock).get("run") == task.run  # a lost worker of this run: it will end
    with (
        locks.claim(task.lock, patience=GIVEN_UP if ours else locks.PATIENCE, run=task.run) as mine,
        environment.exact(),
        environment.keeping_memory(),
    ):
        if mine is None:
            holder = locks.describe(locks.whose(task.lock))
            if ours:
                return Ended("locked", f"its lost worker, {holder}, still holds its lock: run again when it has ended")
            return Ended(ELSEWHERE, f"{ELSEWHERE}, {holder}")
        job, state = task.job, task.state
        if results.stamp(job.record) != task.seen and job.record.is_file():  # another run was faster
            theirs = results.read_record(job.record)
            if theirs.key == task.trial.key:
                lacks = any(theirs.lacking(p.id, p.metrics) for p in task.protocols)
                if theirs.status != "ok" or not lacks:
                    return Ended(theirs.status, f"another run did it: {_outcome(theirs)}")
                state = "evaluate"
            elif theirs.status != "failed":
                return Ended(ELSEWHERE, f"{ELSEWHERE}: its record has another key (other settings)")
            else:  # planned as "evaluate", perhaps: there is nothing of this key to evaluate any more
                state = "retry"
        with logged(job.folder / "log.txt", mine.tell, show) as told:
            job = replace(job, show=told)
            record: results.Record | None = None
            if state != "evaluate":
                results.keep_aside(job.record)
                record = work.train(job)
            if record is None or record.status == "ok":
                try:
                    record = work.evaluate(job)
                except Exception as error:  # what was trained stays, and the next run evaluates it
                    why = " ".join(str(error).split()) or type(error).__name__
                    return Ended("evaluation failed", f"evaluation failed: {why}")
        return Ended(record.status, _outcome(record))


def killed(task: Task) -> Ended:
    """Record that the process that held the task's lock was killed; a trial that was trained keeps its record."""
    with locks.claim(task.lock) as mine:
        if mine is None:  # another run has taken it over
            return Ended(ELSEWHERE, f"{KILLED}; {ELSEWHERE}")
        job = task.job
        if results.stamp(job.record) not in (None, task.seen) or task.state == "evaluate":
            return Ended("evaluation failed", f"evaluation failed: {KILLED}")
        results.keep_aside(job.record)
        record = work.blank(job)
        record.status, record.reason = "failed", KILLED
        results.write_record(job.record, record)
        return Ended("failed", f"failed: {KILLED}")


def _outcome(record: results.Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason.partition(chr(10))[0]}"
    first = [(entry.draws or [{}])[0] for entry in record.metrics.values()]
    numbers = [f"{name} {value:.4g}" for draw in first for name, value in draw.items() if value is not None]
    failed = [f"{name} failed" for entry in record.metrics.values() for name in entry.failed]
    spent = sum(seconds or 0 for seconds in record.seconds.values())
    return ", ".join(["collapsed"] * bool(record.collapsed) + numbers + failed + [f"{spent:,.0f} s"])
