"""Processes that begin with the imports done: forked from a server that has imported everything and computed nothing.

They start in a tenth of a second. A process of Python's own takes four seconds of a core to import torch and the rest.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

# torch's optimizers import torch._dynamo when they first step, which takes longer than a small trial.
NEEDED = (
    "aegen_bench.cli",
    "aegen_bench.commands.request",
    "aegen_bench.report",
    "aegen_bench.runner.workers",
    "PIL.Image",
    "safetensors.torch",
    "sklearn.datasets",
    "sklearn.mixture",
    "torch._dynamo",
)
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(list(NEEDED))


def environment_of(environment: Mapping[str, str]) -> None:
    """Make an environment that of this process: the server keeps that of the first who used it."""
    os.environ.clear()
    os.environ.update(environment)


def _command(
    args: tuple[str, ...], folder: Path, environment: dict[str, str], memory: tuple[int, int], *ends: Connection
) -> None:
    """Run a command as `python -m aegen_bench` does, with its output in two pipes."""
    from aegen_bench import cli

    resource.setrlimit(resource.RLIMIT_DATA, memory)
    for number, end in enumerate(ends, 1):
        os.dup2(end.fileno(), number)
        end.close()
    out, err = (io.BufferedWriter(io.FileIO(number, "w", closefd=False)) for number in (1, 2))
    sys.stdout = io.TextIOWrapper(out)
    sys.stderr = io.TextIOWrapper(err, errors="backslashreplace", line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    environment_of(environment)
    os.chdir(folder)
    sys.argv = ["aegen-bench", *args]
    cli.main()


class Command:
    """A command of the program in a process of its own; the part of `subprocess.Popen` that tests use."""

    def __init__(self, args: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        pipes = [processes.Pipe(duplex=False) for _ in range(2)]
        ends = [writing for _, writing in pipes]
        given = (args, folder, environment, resource.getrlimit(resource.RLIMIT_DATA), *ends)
        self._process = processes.Process(target=_command, args=given)
        self._process.start()
        for end in ends:
            end.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(reading.fileno())) for reading, _ in pipes)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("aegen-bench", timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        with ThreadPoolExecutor(2) as readers:
            reading = [readers.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except BaseException:
                self.kill()
                raise
            out, err = (read.result() for read in reading)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
