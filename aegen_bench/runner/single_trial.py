"""One job, done by the process that holds its trial's lock: so several runs on one results folder share the work."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from aegen_bench import environment, results
from aegen_bench.errors import UserError
from aegen_bench.files import append_line, read_bytes
from aegen_bench.numerics import tuning
from aegen_bench.progress import Progress, logged
from aegen_bench.results import locks
from aegen_bench.results.durations import Durations
from aegen_bench.results.locks import ELSEWHERE
from aegen_bench.runner.planning import TRAINING
from aegen_bench.trial import lifecycle
from aegen_bench.trial.job import Job

__all__ = ["BLOCKED", "Outcome", "crash", "died_before", "do", "lock_of", "record_death"]

BLOCKED = "blocked"
KILLED = "killed (out of memory?)"
CRASHED = "the process crashed"
CRASH_SIZE = 1 << 16
UNBOUNDED = -1.0  # patience without an end
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


def do(job: Job, show: Progress, *, patience: float = locks.PATIENCE) -> Outcome:
    """Train and evaluate what the job's state says, holding its trial's lock. A trial that fails is an outcome, not an
    error. A pair trains its trunk first, or waits for the process that does.
    """
    job = replace(job, place=job.place.absolute())  # a method may change the working folder
    if job.trunk is not None:  # done here, too, or read from here
        job = replace(job, trunk=replace(job.trunk, place=job.place, interrupts=job.interrupts, run=job.run))
    if job.trunk is not None and job.state in TRAINING and (why := _without_trunk(job, job.trunk, show)):
        return Outcome(BLOCKED, f"{BLOCKED}: {why}")
    lock, state = lock_of(job), job.state
    # A lost worker of this run will end soon. Whoever trains a pair's trunk is not lost and takes as long as it takes.
    ours = patience != UNBOUNDED and job.run != "" and locks.whose(lock).get("run") == job.run
    with (
        locks.claim(lock, patience=GIVEN_UP if ours else patience, run=job.run) as mine,
        environment.exact(),
        tuning.keeping_memory(),
    ):
        if mine is None:
            holder = locks.holder(lock)
            if ours:
                return Outcome(
                    "locked", f"its lost worker, {holder}, still holds its lock: run again when it has ended"
                )
            return Outcome(ELSEWHERE, f"{ELSEWHERE}, {holder}")
        if results.stamp(job.record) != job.stamp and job.record.is_file():  # another run was faster
            theirs = results.read_record(job.record)
            if theirs.key == job.trial.key:
                lacks = any(theirs.lacking(p.id, p.metrics) for p in job.protocols)
                if theirs.status != "ok" or not lacks:
                    return Outcome(theirs.status, f"another run did it: {_told(theirs)}")
                state = "evaluate"
            elif theirs.status != "failed":
                return Outcome(ELSEWHERE, f"{ELSEWHERE}: its record has another key (other settings)")
            else:  # planned as "evaluate", perhaps: nothing of this key is left to evaluate
                state = "retry"
        with logged(job.folder / "log.txt", mine.tell, show) as told, _crash_noted(lock):
            job = replace(job, show=told)
            told.expect(_seconds_after(job))
            record: results.Record | None = None
            if state != "evaluate":
                results.keep_aside(job.record)
                record = lifecycle.train(job)
            if record is None or record.status == "ok":
                try:
                    record = lifecycle.evaluate(job)
                except Exception as error:  # what was trained stays, and the next run evaluates it
                    why = " ".join(str(error).split()) or type(error).__name__
                    if not isinstance(error, UserError):
                        _log(job, "".join(traceback.format_exception(error)))
                        why += _where_to_look(job)
                    return Outcome("evaluation failed", f"evaluation failed: {why}")
        ended = _told(record)
        if record.status == "failed" and "\n" in record.reason:  # an exception, with its traceback
            _log(job, record.reason)
            ended += _where_to_look(job)
        return Outcome(record.status, ended)


def _without_trunk(job: Job, trunk: Job, show: Progress) -> str:
    """See to it that a pair's trunk is trained; return why that cannot be, or nothing."""
    if _stands(trunk):
        return ""
    said = f"its trunk, {trunk.trial.label}, is not trained"
    if trunk.state not in TRAINING:
        return f"{said} any more: run again"
    show.note(f"{job.label}: its trunk first, {trunk.trial.label}")
    outcome = do(trunk, show, patience=UNBOUNDED)
    return "" if _stands(trunk) else f"{said}: {outcome.text}"


def _stands(trunk: Job) -> bool:
    """Whether a trunk is trained, as it is today, and its weights are there."""
    try:
        record = results.read_record(trunk.record)
    except UserError:
        return False
    trained = record.status == "ok" and record.key == trunk.trial.key
    return trained and record.has_weights(trunk.place.weights)


def record_death(job: Job) -> Outcome:
    """Record that the process that held the lock died; a trial that had been trained keeps its record."""
    lock = lock_of(job)
    with locks.claim(lock) as mine:
        reason = crash(job) or KILLED
        if mine is None:  # another run has taken it over
            return Outcome(ELSEWHERE, f"{reason}; {ELSEWHERE}")
        _crash_file(lock).unlink(missing_ok=True)
        if results.stamp(job.record) not in (None, job.stamp) or job.state == "evaluate":
            return Outcome("evaluation failed", f"evaluation failed: {reason}{_where_to_look(job)}")
        results.keep_aside(job.record)
        record = lifecycle.blank(job)
        record.status, record.reason = "failed", reason
        results.write_record(job.record, record)
        return Outcome("failed", f"failed: {reason}{_where_to_look(job)}")


def died_before(job: Job) -> bool:
    """Whether the trial's last process crashed, or the last two were killed: the next one is likely to die, too."""
    lock = lock_of(job)
    return locks.abandoned(lock) and (crash(job) != "" or locks.deaths(lock) >= 2)


def crash(job: Job) -> str:
    """What the last process of the trial wrote when it crashed: the signal and where, in one line; empty if nothing."""
    try:
        lines = read_bytes(_crash_file(lock_of(job)), CRASH_SIZE, follow=False).decode(errors="replace").splitlines()
    except OSError:
        return ""
    if not lines:
        return ""
    what = lines[0].removeprefix("Fatal Python error: ")
    frames = [line.strip() for line in lines if line.startswith("  File ")]
    own = next((frame for frame in frames if str(job.entry.path) in frame), next(iter(frames), ""))
    return f"{CRASHED}: {what}" + (f" ({own})" if own else "")


def _crash_file(lock: Path) -> Path:
    return lock.with_suffix(".crash")


@contextlib.contextmanager
def _crash_noted(lock: Path) -> Iterator[None]:
    """Within, a process that crashes (segmentation fault, abort, ...) leaves the signal and its stack beside the lock,
    where `crash` finds them. Where faulthandler is in use already, it stays as it is.
    """
    path, file = _crash_file(lock), None
    if not faulthandler.is_enabled():
        with contextlib.suppress(OSError):  # a disk that refuses it costs the reason of a crash, no more
            path.unlink(missing_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    if file is None:
        yield
        return
    faulthandler.enable(file, all_threads=False)
    try:
        yield
    finally:
        faulthandler.disable()
        os.close(file)
        path.unlink(missing_ok=True)


def _where_to_look(job: Job) -> str:
    return f"; see {job.folder / 'log.txt'}, and `aegen-bench check {job.trial.row}` for faults of the model"


def _log(job: Job, text: str) -> None:
    with contextlib.suppress(OSError):
        append_line(job.folder / "log.txt", text)


def _seconds_after(job: Job) -> dict[str, float]:
    """How long what follows each stage took in finished trials of the dataset on this kind of device."""
    trial, here = job.trial, environment.timed_on(job.environment())
    finished = Durations.of(job.place.results, trial.profile, here, dataset=trial.dataset)
    return finished.after(trial.row, trial.dataset, job.entry.stages)


def _told(record: results.Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason.partition(chr(10))[0]}"
    first = [(entry.draws or [{}])[0] for entry in record.metrics.values()]
    numbers = [f"{name} {value:.4g}" for draw in first for name, value in draw.items() if value is not None]
    failed = [f"{name} failed" for entry in record.metrics.values() for name in entry.failed]
    spent = sum(seconds or 0 for seconds in record.seconds.values())
    return ", ".join(["collapsed"] * bool(record.collapsed) + numbers + failed + [f"{spent:,.0f} s"])
