"""Running planned trials on a cluster: each is a task of dask.distributed, run in a child process of a dask worker.

This uses dask directly rather than joblib's dask backend, which in joblib 1.6 waits forever for a failed task (such as
one whose workers died) and cannot tell a running task to save and stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from distributed import Client, Future, KilledWorker, Reschedule, Worker, WorkerPlugin, get_worker, wait
from distributed.client import FuturesCancelledError
from distributed.core import Status

from aegen_bench import environment
from aegen_bench.errors import Stopped, UserError
from aegen_bench.progress import Progress
from aegen_bench.results import locks
from aegen_bench.runner.single_trial import Outcome, record_death
from aegen_bench.runner.worker_check import WorkerCheck
from aegen_bench.runner.workers import Slot, WorkerProcess
from aegen_bench.trial.job import Job

__all__ = ["Cluster"]

CONNECTING = 10.0  # seconds
LOOKING = 2.0  # seconds between checks of the number of workers
RETRIES = 2  # of a task that raised an error, for example because the worker's disk is full; dask itself counts deaths


@dataclass(frozen=True)
class Cluster:
    """A dask scheduler, and what a trial needs on a worker: a device, and `resources` that the worker was started with
    ({"GPU": 1}).
    """

    address: str
    device: str = "auto"
    resources: Mapping[str, float] = field(default_factory=dict)

    def execute(self, jobs: Sequence[Job], show: Progress) -> Iterator[tuple[Job, Outcome]]:
        """Run every job and yield it with its outcome, in the order in which they end.

        UserError, before the first job starts, if a worker lacks something that this process has. If the caller stops
        iterating, the workers are told to save and stop, and this waits for them.
        """
        if not jobs:
            return
        run = f"aegen-bench-{uuid.uuid4().hex[:8]}"
        jobs = [replace(job, run=run, place=job.place.absolute()) for job in jobs]
        with (
            self._connected() as client,
            WorkerCheck.of(run, jobs) as check,
            _offered(client, TrialSlots(run, check, self.device, self.resources)),
        ):
            for _, told in client.get_events(run):
                show.note(told)
            client.subscribe_topic(run, lambda event: show.note(event[1]))
            if not client.nthreads():
                show.note(f"{self.address} has no worker yet: waiting for the first")
            elif not _slots(client, run):
                asked = ",".join(f"{name}={amount:g}" for name, amount in self.resources.items())
                raise UserError(f"no worker of {self.address} has {asked}: `dask worker --resources {asked} ...`")
            try:
                yield from _through(client, run, jobs, {run: 1, **self.resources})
            except FuturesCancelledError as error:
                told = "finished trials are kept, and the same command resumes when it is back"
                raise UserError(f"the dask scheduler at {self.address} is gone; {told}") from error

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Client]:
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are reported by us, on one line
        try:
            client = Client(self.address, timeout=CONNECTING)
        except (OSError, ValueError) as error:
            hint = "start one with `dask scheduler` (docs/cluster.md)"
            raise UserError(f"--cluster {self.address}: no dask scheduler answers there; {hint}") from error
        except TypeError as error:  # raised by dask if no certificates are configured
            if not self.address.startswith("tls:"):
                raise
            hint = "set distributed.comm.tls in dask's configuration (https://distributed.dask.org/en/stable/tls.html)"
            raise UserError(f"--cluster {self.address}: dask knows no certificates here: {hint}") from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"--cluster {self.address}: cannot connect: {reason}") from error
        with client:
            yield client


class TrialSlots(WorkerPlugin):
    """Lets a dask worker run one trial of a run at a time: a worker that passes the check gets a resource named after
    the run.
    """

    def __init__(self, run: str, check: WorkerCheck, device: str, resources: Mapping[str, float]) -> None:
        self.name, self._check, self._device, self._resources = run, check, device, resources

    async def setup(self, worker: Worker) -> None:
        """Check a worker, when the run starts or when it joins later. UserError for what it lacks."""
        self._worker, self._changing = worker, threading.Lock()
        self._process: WorkerProcess | None = None
        self._closed = False
        if any(worker.state.total_resources.get(name, 0.0) < least for name, least in self._resources.items()):
            return
        try:
            warnings = await asyncio.to_thread(self._check.check)
            self._slot = Slot(str(environment.pick_device(self._device)), worker.state.nthreads)
        except UserError as error:
            worker.log_event(self.name, told := f"worker {worker.address} is not used: {error}")
            raise UserError(told) from error
        for warning in warnings:
            worker.log_event(self.name, f"warning: {warning}")
        await worker.set_resources(**{self.name: 1})
        # The scheduler reconsiders waiting tasks only when a worker changes to running.
        worker.status = Status.paused
        worker.status = Status.running

    def do(self, job: Job) -> Outcome:
        """Run a trial in a child process of the dask worker, which unlike a thread can receive signals, and may die."""
        with self._changing:
            if self._closed:
                raise Reschedule
            # A nanny's worker is a daemon, which may not have children. Ours exits by itself when its parent does.
            multiprocessing.current_process().daemon = False
            self._process = process = self._process or WorkerProcess(self._slot)
        self._worker.log_event(self.name, f"{job.label}: {job.state} on {self._slot.device} of {locks.HOST}")
        try:
            return process.do(job)
        except BaseException as error:
            if self._closed or isinstance(error, Stopped):  # the trial was saved, and another worker resumes it
                raise Reschedule from None
            raise

    async def teardown(self, worker: Worker) -> None:
        """The worker leaves or the run ends: save the running trial."""
        with self._changing:
            self._closed = True
        if self._process:
            await asyncio.to_thread(self._process.close)


def _do(run: str, job: Job) -> Outcome:
    slots = get_worker().plugins.get(run)
    if not isinstance(slots, TrialSlots):
        raise Reschedule
    return slots.do(job)


@contextlib.contextmanager
def _offered(client: Client, slots: TrialSlots) -> Iterator[None]:
    """Context in which every worker that passes the check accepts trials; on exit, running trials are saved."""
    try:
        try:
            client.register_plugin(slots, name=slots.name)
        except UserError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"a dask worker cannot load aegen-bench: {reason}; install the same there") from error
        yield
    finally:
        with contextlib.suppress(KeyError):  # from a worker that could not load it
            if client.status == "running":
                client.unregister_worker_plugin(slots.name)


def _slots(client: Client, run: str) -> int:
    return sum(run in worker["resources"] for worker in client.scheduler_info()["workers"].values())


def _through(
    client: Client, run: str, jobs: Sequence[Job], resources: Mapping[str, float]
) -> Iterator[tuple[Job, Outcome]]:
    """Submit no more jobs than there are slots, because dask blames a worker's death on all tasks assigned to it."""
    waiting, given = list(reversed(jobs)), dict[Future[Outcome], Job]()
    try:
        while waiting or given:
            while waiting and len(given) < max(1, _slots(client, run)):
                job = waiting.pop()
                future = client.submit(_do, run, job, resources=resources, retries=RETRIES, pure=False)
                given[future] = job
            for future in _done(given):
                job = given.pop(future)
                yield job, _outcome(future, job)
    finally:
        client.cancel(list(given))


def _done(given: Iterable[Future[Outcome]]) -> set[Future[Outcome]]:
    try:
        done: set[Future[Outcome]] = wait(list(given), timeout=LOOKING, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return set()
    return done


def _outcome(future: Future[Outcome], job: Job) -> Outcome:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        return record_death(job)
    raise error
