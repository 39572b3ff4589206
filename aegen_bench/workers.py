"""Doing planned trials: one after the other in this process, or side by side, a process to each device slot.

A trial is done by the process that holds its lock, so several runs on one results folder share the work.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import torch

from aegen_bench import catalog, environment, locks, results
from aegen_bench import trial as work
from aegen_bench.evaluation import Protocol
from aegen_bench.files import write_json
from aegen_bench.job import Job, Place
from aegen_bench.locks import ELSEWHERE
from aegen_bench.progress import Lines, Progress, logged
from aegen_bench.stopping import Pace
from aegen_bench.study import Trial

__all__ = ["Ended", "Slot", "Task", "each", "slots"]

KILLED = "killed (out of memory?)"


@dataclass(frozen=True)
class Slot:
    """Room for one trial at a time. A named device's slots are locked: other runs on the folder respect them."""

    device: str
    threads: int
    number: int = 0
    named: bool = False


@dataclass(frozen=True)
class Task:
    """A planned trial and all that a process needs to do it. `seen` is the time of its record when it was planned."""

    trial: Trial
    state: str
    seen: int | None
    entry: catalog.Entry
    protocols: Sequence[Protocol]
    draws: int
    place: Place
    label: str
    quiet: bool
    pace: Pace

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


def slots(jobs: int | None, devices: Sequence[str], per_device: int, device: str) -> list[Slot]:
    """Return a slot for each process: `per_device` on each of `devices`, `jobs` at most; `device` without `devices`.

    Each has an equal share of the processors, and no more threads than OMP_NUM_THREADS says.
    """
    room = [(name, i) for i in range(per_device) for name in devices] if devices else [(device, 0)] * (jobs or 1)
    room = room[: jobs or None]
    share = max(1, joblib.cpu_count() // len(room))
    if (limit := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        share = min(share, int(limit))
    return [Slot(name, share, i, bool(devices)) for name, i in room]


def each(tasks: Sequence[Task], where: Sequence[Slot], show: Progress) -> Iterator[tuple[Task, Ended]]:
    """Do every task and yield how it ended, in the order in which they end. Without slots: in this process."""
    if not where:
        for task in tasks:
            show.note(f"{task.label}: {task.state}")
            yield task, _do(task, show)
        return
    lanes = [_Lane(slot) for slot in where]
    free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def in_a_lane(task: Task) -> tuple[Task, Ended]:
        lane = free.get()
        try:
            show.note(f"{task.label}: {task.state} on {lane.slot.device}")
            return task, lane.do(task)
        finally:
            free.put(lane)

    # Threads that wait for a process each, and not joblib's pool of processes: that one kills all of its workers
    # when one of them dies, and with them the trials that are well.
    parallel = joblib.Parallel(
        len(lanes), backend="threading", batch_size=1, pre_dispatch=len(lanes), return_as="generator_unordered"
    )
    try:
        yield from parallel(joblib.delayed(in_a_lane)(task) for task in tasks)
    finally:
        for lane in lanes:
            lane.close()


class _Lane:
    """One process on one slot, and a new one when it was killed."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(self.slot.threads,))
        self._pid: int | None = None

    def do(self, task: Task) -> Ended:
        while True:
            try:
                self._pid = self._pid or self._pool.submit(os.getpid).result()
                return self._pool.submit(_in_worker, task, self.slot).result()
            except BrokenProcessPool:
                started = self._pid is not None
                self._pool.shutdown(wait=True)
                self._start()
                if not started:
                    return Ended("failed", "a worker process could not be started")
                if locks.abandoned(task.lock):
                    return _killed(task)
                # it died between two trials: this one has not begun

    def close(self) -> None:
        """End the process; one that is still at work is told to save and stop, and is waited for, unless that too is
        interrupted.
        """
        self._send(signal.SIGTERM)
        try:
            self._pool.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt:
            self._send(signal.SIGKILL)
            raise

    def _send(self, number: int) -> None:
        if self._pid is not None and self._pool._pending_work_items:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)


def _begin(threads: int) -> None:
    """A worker process begins: its share of threads; and it ends when the process that started it dies.

    Ctrl-C reaches all processes of a terminal; here it waits for the word of the one that started this.
    """
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()


def _in_worker(task: Task, slot: Slot) -> Ended:
    task = replace(task, place=replace(task.place, device=torch.device(slot.device)))
    show = Progress() if task.quiet else Lines(task.trial.label)
    with task.pace.listening():
        if not slot.named:
            return _do(task, show)
        name = f"{slot.device.replace(':', '-')}-{slot.number}"
        with locks.claim(locks.lock_path(task.place.results, ".devices", locks.HOST, name), wait=True):
            return _do(task, show)


def _do(task: Task, show: Progress) -> Ended:
    """Train and evaluate what the task's state says, holding its lock. A trial that fails is an outcome, no error."""
    with locks.claim(task.lock) as mine, environment.exact():
        if mine is None:
            return Ended(ELSEWHERE, f"{ELSEWHERE}, {locks.describe(locks.whose(task.lock))}")
        job, state = task.job, task.state
        if results.stamp(job.record) != task.seen and job.record.is_file():  # another run was faster
            theirs = results.read_record(job.record)
            lacks = any(results.lacking(theirs, p.id, p.metrics) for p in task.protocols)
            if theirs["status"] != "ok" or (theirs["key"] == task.trial.key and not lacks):
                return Ended(theirs["status"], f"another run did it: {_outcome(theirs)}")
            state = "evaluate"
        with logged(job.folder / "log.txt", mine.tell, show) as told:
            job = replace(job, show=told)
            record: dict[str, Any] | None = None
            if state != "evaluate":
                results.keep_aside(job.record)
                record = work.train(job)
            if record is None or record["status"] == "ok":
                try:
                    record = work.evaluate(job)
                except Exception as error:  # what was trained stays, and the next run evaluates it
                    why = " ".join(str(error).split()) or type(error).__name__
                    return Ended("evaluation failed", f"evaluation failed: {why}")
        return Ended(record["status"], _outcome(record))


def _killed(task: Task) -> Ended:
    """Record that the process that held the task's lock was killed; a trial that was trained keeps its record."""
    with locks.claim(task.lock) as mine:
        if mine is None:  # another run has taken it over
            return Ended(ELSEWHERE, f"{KILLED}; {ELSEWHERE}")
        job = task.job
        if results.stamp(job.record) not in (None, task.seen) or task.state == "evaluate":
            return Ended("evaluation failed", f"evaluation failed: {KILLED}")
        results.keep_aside(job.record)
        record = work.blank(job) | {"status": "failed", "reason": KILLED}
        write_json(job.record, record)
        return Ended("failed", f"failed: {KILLED}")


def _outcome(record: dict[str, Any]) -> str:
    if record["status"] != "ok":
        return f"{record['status']}: {record['reason'].partition(chr(10))[0]}"
    numbers = [f"{k} {v:.4g}" for entry in record["metrics"].values() for k, v in (entry["draws"] or [{}])[0].items()]
    failed = [f"{name} failed" for entry in record["metrics"].values() for name in entry["failed"]]
    spent = sum(record["seconds"].values())
    return ", ".join(["collapsed"] * record["collapsed"] + numbers + failed + [f"{spent:,.0f} s"])
