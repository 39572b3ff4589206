"""Running jobs: one after another in this process, or in parallel, with a process for each device slot."""

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
from pathlib import Path

import joblib
import threadpoolctl
import torch

from aegen_bench import environment
from aegen_bench.progress import Lines, Progress
from aegen_bench.results import locks
from aegen_bench.runner.single_trial import BLOCKED, Outcome, died_before, do, lock_of, record_death
from aegen_bench.trial.job import Job

__all__ = ["Slot", "WorkerProcess", "in_process", "in_workers", "slots"]


ATTEMPTS = 3  # to start a job in worker processes that die before it starts


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time. Other runs on the results folder respect its `lock` (a name; empty for none).
    `at_once` trials share its device.
    """

    device: str
    threads: int
    lock: str = ""
    at_once: int = 1


def slots(jobs: int | None, devices: Sequence[str], per_device: int, device: str, threads: int) -> list[Slot]:
    """Return a slot for each process: `per_device` on each of `devices`, at most `jobs`; or `jobs` on `device`.

    Each has an equal share of the available `threads`.
    """
    room = [(name, i) for i in range(per_device) for name in devices] if devices else [(device, 0)] * (jobs or 1)
    room = room[: jobs or None]
    share = max(1, threads // len(room))
    sharing = Counter(name for name, _ in room)
    return [
        Slot(name, share, f"{environment.identity(name)}-{i}" if devices else "", sharing[name]) for name, i in room
    ]


def in_process(jobs: Sequence[Job], show: Progress) -> Iterator[tuple[Job, Outcome]]:
    """Run every job in this process, and yield each with its outcome.

    A separate process runs trials that have killed their process before, and all trials after one that left the device
    unusable, as a failed assertion in a CUDA kernel does.
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
    """Run every job in a worker process, one for each slot, and yield each with its outcome as they end."""
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

    # Threads that each wait for a process, rather than joblib's pool of processes, which kills all of its workers,
    # with healthy trials, when one of them dies.
    parallel = joblib.Parallel(
        len(workers), backend="threading", batch_size=1, pre_dispatch=len(workers), return_as="generator_unordered"
    )
    try:
        yield from parallel(joblib.delayed(in_a_worker)(job) for job in jobs)
    finally:
        for worker in workers:
            worker.close()


def _reserved(slot: Slot, job: Job, show: Progress) -> contextlib.AbstractContextManager[None]:
    """Context in which no other run on the results folder uses the slot."""
    if not slot.lock:
        return contextlib.nullcontext()
    path = locks.lock_path(job.place.results, ".devices", locks.HOST, slot.lock)
    return locks.wait_for(path, slot.device, lambda text: show.note(f"{job.label}: {text}"))


class WorkerProcess:
    """A process on a slot, which is replaced by a new one if it dies."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self._start()

    def _start(self) -> None:
        environment.prepare_processes()  # needed under a dask worker, which was not started by `main`
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(self.slot.threads,))
        self._pid: int | None = None

    def do(self, job: Job) -> Outcome:
        """Run a job in the process. If the process dies, the job's outcome is a failure."""
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
                pid = self._pid
                self._restart()
                if not started:
                    break
                if locks.abandoned(lock_of(job)):
                    return record_death(job)
                if (trunk := job.trunk) and _died_with(lock_of(trunk), pid):
                    return Outcome(BLOCKED, f"{BLOCKED}: its trunk, {trunk.trial.label}: {record_death(trunk).text}")
                # it died between two trials, and this one has not started
        return Outcome("failed", f"failed: processes for {self.slot.device} end before they start a trial")

    def _restart(self) -> None:
        self._pool.shutdown(wait=True)
        self._start()

    def close(self) -> None:
        """End the process. If it is running a trial, tell it to save and stop and wait for it, unless interrupted."""
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


def _died_with(lock: Path, pid: int | None) -> bool:
    """Whether the process with this pid died while it held the lock."""
    return locks.abandoned(lock) and locks.whose(lock).get("pid") == pid


def _begin(threads: int) -> None:
    """Initialise a worker process: set its share of threads, and make it end when its parent dies.

    Ctrl-C reaches all processes of a terminal; a worker ignores it and waits for a signal from its parent.
    """
    torch.set_num_threads(threads)
    # numpy and scipy each ship a BLAS, with as many threads as the machine has processors.
    threadpoolctl.threadpool_limits(threads)
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)  # for a BLAS that is loaded later
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            while True:  # the first signal saves a running trial, the next one ends the process
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)

    threading.Thread(target=follow, daemon=True).start()


def _for_worker(job: Job, show: Progress) -> Job:
    """Return the job with a display for a worker: timestamped lines if `show` is that, nothing if it is a board."""
    return replace(job, show=Lines(job.trial.label) if isinstance(show, Lines) else Progress())


def _in_worker(job: Job, slot: Slot) -> tuple[Outcome, bool]:
    """Run a job in this worker process; return its outcome, and whether the device is still usable."""
    job = replace(job, place=replace(job.place, device=slot.device, at_once=slot.at_once))
    with job.interrupts.listening(hurry=False):  # a worker may be signalled twice: with its group, and by its parent
        outcome = do(job, job.show)
    return outcome, _usable(job.device)


def _usable(device: torch.device) -> bool:
    """Whether the device still works. After an illegal access, CUDA fails every later call of the process."""
    try:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True
