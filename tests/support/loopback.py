"""A dask scheduler and its workers on this machine's loopback, for measurements and tests."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client

PATIENCE = 300.0  # seconds: on a loaded machine a process takes its time to start
GRACE = 20.0  # seconds to end in: a nanny that is told to while its worker still starts may not


def until(happened: Callable[[], Any]) -> Any:
    """Wait for something, and return it."""
    end = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return found


@dataclass
class Dask:
    """A scheduler on a free port, and workers of one thread, each with its nanny; their words in `folder`/log."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return json.loads((self.folder / "scheduler.json").read_text())["address"]

    def start(self, *args: str) -> None:
        words = [sys.executable, "-m", "dask", *args, "--scheduler-file", str(self.folder / "scheduler.json")]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen([*words, "--no-dashboard"], cwd=self.folder, env=env, stdout=log, stderr=log)
        self.processes.append(process)

    def workers(self, count: int) -> None:
        """Wait until there are `count` workers, and start those that are missing."""
        with Client(self.address) as client:
            for _ in range(count - len(client.scheduler_info()["workers"])):
                self.start("worker", "--nthreads", "1", "--local-directory", str(self.folder))
        self.wait_for(count)

    def wait_for(self, count: int) -> None:
        """Wait until there are `count` workers."""
        with Client(self.address) as client:
            client.wait_for_workers(count, timeout=PATIENCE)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def scheduler(folder: Path) -> Iterator[Dask]:
    """Within: a scheduler without workers, which leaves its files in `folder`."""
    started = Dask(folder)
    started.start("scheduler", "--host", "127.0.0.1", "--port", "0")
    try:
        until((folder / "scheduler.json").is_file)
        yield started
    finally:
        started.stop()
