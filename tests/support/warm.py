"""Processes that begin with the imports done: forked from a server that imported `prepared.py` and computed nothing.

They start in a tenth of a second. A process of Python's own takes four seconds of a core to import torch and the rest.
The worker processes of a command begin so too, instead of being spawned.
"""

from __future__ import annotations

import faulthandler
import io
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["prepared"])


def _ensure_running(start: Callable[[], None] = forkserver.ensure_running) -> None:
    """Start the server, unless it runs, so that it finds `prepared`."""
    with mock.patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):
        start()


_of_this_process: Any = forkserver._forkserver  # type: ignore[attr-defined]
_of_this_process.ensure_running = forkserver.ensure_running = _ensure_running


def settle(environment: Mapping[str, str], address: str) -> None:
    """Give this forked process an environment, since the server keeps that of the first who used it, and let the
    server at this address fork what this process would spawn.

    With `STACKS`, a folder, in the environment, SIGQUIT makes it write its stack to a file there named by its pid.
    """
    os.environ.clear()
    os.environ.update(environment)
    if folder := environment.get("STACKS"):
        faulthandler.register(signal.SIGQUIT, open(Path(folder, str(os.getpid())), "w"), all_threads=True)  # noqa: SIM115
    _of_this_process._forkserver_address = address
    _of_this_process.ensure_running = forkserver.ensure_running = lambda: None
    fork_what_is_spawned()


def fork_what_is_spawned() -> None:
    """Let the server fork the processes that this one would spawn from now on."""
    real = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: _Workers() if method == "spawn" else real(method)


def server() -> str:
    """The address of the server, which runs from now on."""
    forkserver.ensure_running()
    return str(_of_this_process._forkserver_address)


class _Worker(ForkServerProcess):
    """A worker of a command, in the command's environment; what it spawns in turn is forked, too."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._given = dict(os.environ), server()

    def run(self) -> None:
        settle(*self._given)
        super().run()


class _Workers(ForkServerContext):
    Process = _Worker  # type: ignore[assignment]


def _command(
    args: tuple[str, ...],
    folder: Path,
    environment: dict[str, str],
    memory: tuple[int, int],
    address: str,
    *ends: Connection,
) -> None:
    """Run a command as `python -m aegen_bench` does, with its output and errors at the two ends."""
    from aegen_bench import cli

    settle(environment, address)
    resource.setrlimit(resource.RLIMIT_DATA, memory)
    for number, end in enumerate(ends, 1):
        os.dup2(end.fileno(), number)
        end.close()
    out, err = (io.BufferedWriter(io.FileIO(number, "w", closefd=False)) for number in (1, 2))
    sys.stdout = io.TextIOWrapper(out)
    sys.stderr = io.TextIOWrapper(err, errors="backslashreplace", line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    sys.argv = ["aegen-bench", *args]
    cli.main()


class Command:
    """A command of the program in a process of its own; the part of `subprocess.Popen` that tests use. It prints to
    `out`, an open file, if there is one.
    """

    def __init__(self, args: tuple[str, ...], folder: Path, environment: dict[str, str], out: int = -1) -> None:
        pipes = [processes.Pipe(duplex=False) for _ in range(2)]
        ends = [writing if out < 0 else Connection(os.dup(out), readable=False) for _, writing in pipes]
        given = (args, folder, environment, resource.getrlimit(resource.RLIMIT_DATA), server(), *ends)
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
