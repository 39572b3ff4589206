"""Running one job while holding the lock of its trial, so that several runs can share a results folder."""

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
from aegen_bench.evaluation.metric import DISTANCES
from aegen_bench.files import append_line, read_bytes, write_bytes
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
LARGEST_FILE = 512 << 20  # bytes of what lies beside a record and is copied
UNBOUNDED = -1.0  # patience without limit
GIVEN_UP = 600.0  # seconds to wait for the lock of a lost worker, until it ends or the file system notices its death


@dataclass(frozen=True)
class Outcome:
    """How a job ended: a word for counting and a line to show."""

    status: str
    text: str


def lock_of(job: Job) -> Path:
    """Return the path of the lock of the job's trial."""
    trial = job.trial
    return locks.lock_path(job.place.results, trial.profile, trial.dataset, trial.row, f"seed-{trial.seed}")


def do(job: Job, show: Progress, *, patience: float = locks.PATIENCE) -> Outcome:
    """Train and evaluate a trial as its state demands, holding its lock. A failed trial is an outcome, not an error.

    A pair first trains its trunk, or waits for the process that does.
    """
    job = replace(job, place=job.place.absolute())  # a method may change the working directory
    if job.trunk is not None:  # trained here too, or read from here
        job = replace(job, trunk=replace(job.trunk, place=job.place, interrupts=job.interrupts, run=job.run))
    if job.trunk is not None and job.state in TRAINING and (why := _without_trunk(job, job.trunk, show)):
        return Outcome(BLOCKED, f"{BLOCKED}: {why}")
    lock, state = lock_of(job), job.state
    # A lost worker of this run will end soon. A process that trains a pair's trunk is not lost, and may take long, so
    # it neither waits like one nor gives its run.
    run = "" if patience == UNBOUNDED else job.run
    ours = patience != UNBOUNDED and job.run != "" and locks.whose(lock).get("run") == job.run
    with (
        locks.claim(lock, patience=GIVEN_UP if ours else patience, run=run) as mine,
        environment.exact(),
        tuning.keeping_memory(),
    ):
        if mine is None:
            holder = locks.holder(lock)
            if ours:
                return Outcome(
                    "locked", f"a lost worker, {holder}, still holds its lock: run again when that one has ended"
                )
            return Outcome(ELSEWHERE, f"{ELSEWHERE}, {holder}")
        if results.stamp(job.record) != job.stamp and job.record.is_file():  # another process has written it
            theirs = results.read_record(job.record)
            if theirs.key == job.trial.key:
                lacks = any(theirs.lacking(p.id, p.metrics) for p in job.protocols)
                if theirs.status != "ok" or not lacks:
                    return Outcome(theirs.status, f"another process did it: {_told(theirs)}")
                state = "evaluate"
            elif theirs.status != "failed":
                return Outcome(ELSEWHERE, f"{ELSEWHERE}: its record has another key (other settings)")
            else:  # it may have been planned as "evaluate", but nothing of this key is left to evaluate
                state = "retry"
        with logged(job.folder / "log.txt", mine.tell, show) as told, _crash_noted(lock):
            job = replace(job, show=told)
            told.expect(_seconds_after(job))
            record: results.Record | None = None
            if state != "evaluate":
                results.keep_aside(job.record)
                record = (_copied(job, job.trunk) if job.trunk else None) or lifecycle.train(job)
            if record is None or record.status == "ok":
                try:
                    record = lifecycle.evaluate(job)
                except Exception as error:  # the trained model is kept, and the next run evaluates it
                    why = " ".join(str(error).split()) or type(error).__name__
                    if not isinstance(error, UserError):
                        _log(job, "".join(traceback.format_exception(error)))
                    return Outcome("evaluation failed", f"evaluation failed: {why}")
        if record.status == "failed" and "\n" in record.reason:  # an exception, with its traceback
            _log(job, record.reason)
        return Outcome(record.status, _told(record))


def _copied(job: Job, trunk: Job) -> results.Record | None:
    """Copy what a pair of the same key and trunk has under another row's name, and return the new record; None if there
    is no such pair.
    """
    for row in job.aliases:
        other = replace(job, trial=replace(job.trial, row=row))
        try:
            record, below = results.read_record(other.record), results.read_record(trunk.record)
        except UserError:
            continue
        same = record.stands_for(job.trial.key, {p.id: job.fingerprint(p.split) for p in job.protocols})
        same &= record.config.get("data_sha256") == job.fingerprint("train") and record.status == "ok"
        same &= record.trunk is not None and record.trunk.weights_sha256 == below.weights_sha256
        if not same or not record.has_weights(job.place.weights):
            continue
        job.show.note(f"{job.label}: the same trial as {other.trial.label}, whose results are copied")
        for name in results.NEIGHBOURS:
            with contextlib.suppress(FileNotFoundError):
                write_bytes(job.folder / name, read_bytes(other.folder / name, LARGEST_FILE))
        record.row, record.config = job.trial.row, record.config | dict(job.trial.config)
        results.write_record(job.record, record)
        return record
    return None


def _without_trunk(job: Job, trunk: Job, show: Progress) -> str:
    """Make sure that a pair's trunk is trained; return the reason if that is impossible, or ""."""
    if _stands(trunk):
        return ""
    said = f"its trunk, {trunk.trial.label}, is not trained"
    if trunk.state not in TRAINING:
        return f"{said} any more: run again"
    show.note(f"{job.label}: its trunk first, {trunk.trial.label}")
    outcome = do(trunk, show, patience=UNBOUNDED)
    return "" if _stands(trunk) else f"{said}: {outcome.text}"


def _stands(trunk: Job) -> bool:
    """Whether a trunk is trained with its present key, and its weights are there."""
    try:
        record = results.read_record(trunk.record)
    except UserError:
        return False
    trained = record.status == "ok" and record.key == trunk.trial.key
    return trained and record.has_weights(trunk.place.weights)


def record_death(job: Job) -> Outcome:
    """Record that the process holding the lock died, unless the trial had already been trained."""
    lock = lock_of(job)
    with locks.claim(lock) as mine:
        reason = crash(job) or KILLED
        if mine is None:  # another run has taken it over
            return Outcome(ELSEWHERE, f"{reason}; {ELSEWHERE}")
        _crash_file(lock).unlink(missing_ok=True)
        if results.stamp(job.record) not in (None, job.stamp) or job.state == "evaluate":
            return Outcome("evaluation failed", f"evaluation failed: {reason}")
        results.keep_aside(job.record)
        record = lifecycle.blank(job)
        record.status, record.reason = "failed", reason
        results.write_record(job.record, record)
        return Outcome("failed", f"failed: {reason}")


def died_before(job: Job) -> bool:
    """Whether the trial's last process crashed or its last two were killed: the next one is likely to die, too."""
    if job.state == "retry" and job.detail.startswith((CRASHED, KILLED)):  # it died before, and that was recorded
        return True
    lock = lock_of(job)
    return locks.abandoned(lock) and (crash(job) != "" or locks.deaths(lock) >= 2)


def crash(job: Job) -> str:
    """Return the crash report of the trial's last process on one line: the signal and where it happened; or ""."""
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
    """Context in which a crash of the process (segmentation fault, abort, ...) leaves the signal and stack next to the
    lock, for `crash`. Does nothing if faulthandler is already enabled.
    """
    path, file = _crash_file(lock), None
    if not faulthandler.is_enabled():
        with contextlib.suppress(OSError):  # without this file, only the reason of a crash is lost
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


def _log(job: Job, text: str) -> None:
    with contextlib.suppress(OSError):
        append_line(job.folder / "log.txt", text)


def _seconds_after(job: Job) -> dict[str, float]:
    """Return the time from the end of each stage to the end of the trial, from finished trials of the dataset on this
    kind of device.
    """
    trial, here = job.trial, environment.timed_on(job.environment())
    finished = Durations.of(job.place.results, trial.profile, here, dataset=trial.dataset)
    return finished.after(trial.row, trial.dataset, job.entry.stages)


def _told(record: results.Record) -> str:
    """Return how a trial ended: its distances, means over draws, and its seconds; or why it has none."""
    if record.status != "ok":
        return f"{record.status}: {record.reason.partition(chr(10))[0]}"
    numbers = [
        f"{name} {sum(values) / len(values):.4g} ({entry.about.get('name', protocol)})"
        for protocol, entry in record.metrics.items()
        for name in DISTANCES
        if (values := [value for draw in entry.draws if (value := draw.get(name)) is not None])
    ]
    failed = [f"{name} failed" for entry in record.metrics.values() for name in entry.failed]
    spent = sum(seconds or 0 for seconds in record.seconds.values())
    return ", ".join(["collapsed"] * bool(record.collapsed) + numbers + failed + [f"{spent:,.0f} s"])
