"""Doing jobs: one after the other in this process, or several at the same time, a process for each device slot."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import joblib
import threadpoolctl
import torch

from aegen_bench import environment
from aegen_bench.progress import Lines, Progress
from aegen_bench.results import locks
from aegen_bench.runner.single_trial import Outcome, died_before, do, lock_of, record_death
from aegen_bench.trial.job import Job

__all__ = ["Slot", "WorkerProcess", "in_process", "in_workers", "slots"]


ATTEMPTS = 3  # to begin a job in a worker process that dies before it does


@dataclass(frozen=True)
class Slot:
    """Room for one trial at a time. Other runs on the results folder respect its `lock`, a name; empty: it has none.
    So many trials share its device `at_once`.
    """

    device: str
    threads: int
    lock: str = ""
    at_once: int = 1


def slots(jobs: int | None, devices: Sequence[str], per_device: int, device: str, threads: int) -> list[Slot]:
    """Return a slot for each process: `per_device` on each of `devices`, `jobs` at most; `device` without `devices`.

    Each has an equal share of the `threads` there are.
    """
    room = [(name, i) for i in range(per_device) for name in devices] if devices else [(device, 0)] * (jobs or 1)
    room = room[: jobs or None]
    share = max(1, threads // len(room))
    sharing = Counter(name for name, _ in room)
    return [
        Slot(name, share, f"{environment.identity(name)}-{i}" if devices else "", sharing[name]) for name, i in room
    ]


def in_process(jobs: Sequence[Job], show: Progress) -> Iterator[tuple[Job, Outcome]]:
    """Do every job in this process, and yield each with its outcome.

    A trial that has killed its process before gets a process of its own, and so does every one after a trial that left
    the device unusable, as CUDA is after a failed assertion in a kernel.
    """
    usable, worker = True, None
    try:
        for job in jobs:
            show.begin(f"{job.label}: {job.state}")
            if usable and not died_before(job):
                yield job, do(job, show)
                if not (usable := _usable(job.device)):
                    show.note(f"{job.device} fails every call since {job.label}: the others run in a new process")
                continue
            worker = worker or WorkerProcess(Slot(job.place.device, torch.get_num_threads()))
            yield job, worker.do(_for_worker(job, show))
    finally:
        if worker:
            worker.close()


def in_workers(jobs: Sequence[Job], show: Progress, *, slots: Sequence[Slot]) -> Iterator[tuple[Job, Outcome]]:
    """Do every job in a worker process, one for each slot, and yield each with its outcome as they end."""
    workers = [WorkerProcess(slot) for slot in slots[: len(jobs)]]
    if not workers:
        return
    free: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def in_a_worker(job: Job) -> tuple[Job, Outcome]:
        worker = free.get()
        try:
            with _reserved(worker.slot, job, show):
                show.begin(f"{job.label}: {job.state} on {worker.slot.device}")
                return job, worker.do(_for_worker(job, show))
        finally:
            free.put(worker)

    # Threads that wait for a process each, and not joblib's pool of processes: that one kills all of its workers
    # when one of them dies, and with them the trials that are well.
    parallel = joblib.Parallel(
        len(workers), backend="threading", batch_size=1, pre_dispatch=len(workers), return_as="generator_unordered"
    )
    try:
        yield from parallel(joblib.delayed(in_a_worker)(job) for job in jobs)
    finally:
        for worker in workers:
            worker.close()


def _reserved(slot: Slot, job: Job, show: Progress) -> contextlib.AbstractContextManager[None]:
    """Within, no other run on the results folder uses the slot."""
    if not slot.lock:
        return contextlib.nullcontext()
    path = locks.lock_path(job.place.results, ".devices", locks.HOST, slot.lock)
    return locks.wait_for(path, slot.device, lambda text: show.note(f"{job.label}: {text}"))


class WorkerProcess:
    """One process on one slot, and a new one when it was killed."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self._start()

    def _start(self) -> None:
        environment.prepare_processes()  # for the new one, also below a dask worker, which did not begin as we do
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(self.slot.threads,))
        self._pid: int | None = None

    def do(self, job: Job) -> Outcome:
        for _ in range(ATTEMPTS):
            started = False
            try:
                self._pid = self._pid or self._pool.submit(os.getpid).result()
                started = True
                outcome, usable = self._pool.submit(_in_worker, job, self.slot).result()
                if not usable:  # the next job needs a new process
                    self._restart()
                return outcome
            except BrokenProcessPool:
                self._restart()
                if not started:
                    break
                if locks.abandoned(lock_of(job)):
                    return record_death(job)
                # it died between two trials: this one has not begun
        return Outcome("failed", f"failed: a process for {self.slot.device} ends before it begins a trial")

    def _restart(self) -> None:
        self._pool.shutdown(wait=True)
        self._start()

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
    # numpy and scipy bring a BLAS each, with as many threads as the machine has processors.
    threadpoolctl.threadpool_limits(threads)
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)  # for one that is loaded later
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            while True:  # heard once while at work, which is saved; the next ends the process
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)

    threading.Thread(target=follow, daemon=True).start()


def _for_worker(job: Job, show: Progress) -> Job:
    """The job with what a worker shows: dated lines as `show` does, or nothing where that is a board."""
    return replace(job, show=Lines(job.trial.label) if isinstance(show, Lines) else Progress())


def _in_worker(job: Job, slot: Slot) -> tuple[Outcome, bool]:
    """Do a job in this worker process; return its outcome, and whether the device is still usable."""
    job = replace(job, place=replace(job.place, device=slot.device, at_once=slot.at_once))
    with job.interrupts.listening(hurry=False):  # a worker may be told more than once: with its group, by its parent
        outcome = do(job, job.show)
    return outcome, _usable(job.device)


def _usable(device: torch.device) -> bool:
    """Whether the device still computes. After an illegal access CUDA fails every later call of the process."""
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True
