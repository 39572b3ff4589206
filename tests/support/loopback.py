"""A dask scheduler and its workers on the loopback interface, in processes that start with their imports done."""

from __future__ import annotations

import contextlib
import json
import multiprocessing.process
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from distributed import Client
from warm import Process

PATIENCE = 300.0  # seconds: on a busy machine, a process may take long to start
GRACE = 20.0  # seconds to end in: a nanny that is told to end while its worker is starting may not do so


def until(happened: Callable[[], Any]) -> Any:
    """Call `happened` until it returns something true, and return that."""
    end = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return found


@dataclass
class Dask:
    """A scheduler on a free port, and workers with one thread and a nanny each. Their output goes to `folder`/log."""

    folder: Path
    processes: list[Process] = field(default_factory=list)

    @property
    def address(self) -> str:
        return json.loads((self.folder / "scheduler.json").read_text())["address"]

    def start(self, *args: str, without: str = "") -> None:
        """Start `dask ARGS` in a new process, which cannot import the package `without` if one is named."""
        words = [*args, "--scheduler-file", str(self.folder / "scheduler.json"), "--no-dashboard"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = Process(target=_dask, args=(words, self.folder, without), environment=environment)
        process.start()
        self.processes.append(process)

    def workers(self, count: int) -> None:
        """Start as many workers as are missing, and wait until there are `count`."""
        with Client(self.address) as client:
            for _ in range(count - len(client.scheduler_info()["workers"])):
                self.start("worker", "--nthreads", "1", "--local-directory", str(self.folder))
        self.wait_for(count)

    def wait_for(self, count: int) -> None:
        """Wait until there are `count` workers."""
        with Client(self.address) as client:
            client.wait_for_workers(count, timeout=PATIENCE)

    def parent_of(self, pid: int, *, nanny: bool = False) -> psutil.Process:
        """Return the worker or nanny that started the process `pid`.

        To the operating system, both are children of the server that forks them.
        """
        with Client(self.address) as client:
            families = client.run(_family, nanny=nanny).values()
        for parent, children in families:
            if pid in children:
                return psutil.Process(parent)
        raise psutil.NoSuchProcess(pid)

    def stop(self) -> None:
        """End the workers, then the scheduler: without a scheduler, a worker takes eight seconds to end."""
        for process in reversed(self.processes):
            process.terminate()
            process.join(GRACE)
            process.kill()
            process.join()


def _family() -> tuple[int, list[int]]:
    """Return the pid of this process, and those of the processes that it started."""
    return os.getpid(), [child.pid for child in multiprocessing.process._children]  # type: ignore[attr-defined]


def _dask(words: Sequence[str], folder: Path, without: str) -> None:
    """Run `dask WORDS`."""
    from dask.__main__ import main

    if without:
        for name in [name for name in sys.modules if name.startswith(f"{without}.")]:
            del sys.modules[name]
        sys.modules[without] = None  # type: ignore[assignment]
    os.chdir(folder)
    with Path("log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["dask", *words]
    main()


@contextlib.contextmanager
def scheduler(folder: Path) -> Iterator[Dask]:
    """Context with a scheduler that has no workers yet and keeps its files in `folder`."""
    started = Dask(folder)
    started.start("scheduler", "--host", "127.0.0.1", "--port", "0")
    try:
        file = folder / "scheduler.json"
        until(lambda: file.is_file() and file.read_text())  # the scheduler creates it before it writes it
        yield started
    finally:
        started.stop()
