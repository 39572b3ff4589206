"""Processes that start with their imports done: forked from a server that imported `prepared.py` and computed nothing.

They start in a tenth of a second. An ordinary Python process needs four seconds of a core to import torch and the rest.
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
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

_server: Any = forkserver._forkserver  # type: ignore[attr-defined]
_server.set_forkserver_preload(["prepared"])
_starting = threading.Lock()


def _ensure_running(start: Callable[[], None] = forkserver.ensure_running) -> None:
    """Start the server if it is not running, with a path on which it finds `prepared`."""
    with _starting:
        if _server._forkserver_address is None:
            here = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
            with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(here)):
                start()


_server.ensure_running = forkserver.ensure_running = _ensure_running


def start_server_for_workers() -> None:
    """Start the server for processes that this one starts, and which call `use_server_of_parent`."""
    forkserver.ensure_running()
    os.environ["WARM_SERVER"] = _server._forkserver_address


def use_server_of_parent() -> None:
    """Use the server of the parent process if it has started one, which ends with that process."""
    if address := os.environ.get("WARM_SERVER"):
        _server._forkserver_address = address
        _server._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)


class Process(ForkServerProcess):
    """A process that the server forks, by default with the environment and the output of the process that starts it.

    Processes that it spawns are forked, too. If TEST_STACKS in its environment names a folder, SIGQUIT makes it write
    its stack to a file in that folder, named by its pid.
    """

    def __init__(
        self, *args: Any, environment: Mapping[str, str] | None = None, output: Sequence[int] = (1, 2), **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self._environment, self._output = environment, output

    def start(self) -> None:
        forkserver.ensure_running()
        output = [Connection(os.dup(number), readable=False) for number in self._output]
        environment = dict(os.environ if self._environment is None else self._environment)
        self._given = environment, _server._forkserver_address, output
        super().start()
        for end in output:
            end.close()

    def run(self) -> None:
        assert "prepared" in sys.modules, "the server could not import `prepared`: see its output"
        environment, _server._forkserver_address, output = self._given
        os.environ.clear()
        os.environ.update(environment)
        for number, end in enumerate(output, 1):
            os.dup2(end.fileno(), number)
            end.close()
        if folder := environment.get("TEST_STACKS"):
            file = open(Path(folder, str(os.getpid())), "w")  # noqa: SIM115, open for as long as the process lives
            faulthandler.register(signal.SIGQUIT, file, all_threads=True)
        fork_what_is_spawned()
        super().run()


class _Forked(ForkServerContext):
    Process = Process  # type: ignore[assignment]


def fork_what_is_spawned() -> None:
    """From now on, let the server fork the processes that this one would spawn."""
    real = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: _Forked() if method == "spawn" else real(method)


def run(target: Callable[..., None], *args: Any, patience: float = 600.0) -> None:
    """Call a function in a new process, which must succeed within `patience` seconds."""
    process = Process(target=target, args=args)
    process.start()
    process.join(patience)
    process.kill()
    process.join()
    assert process.exitcode == 0, f"{target.__name__} ended with {process.exitcode}"


def _command(args: tuple[str, ...], folder: Path, memory: tuple[int, int]) -> None:
    """Run a command as `python -m aegen_bench` does."""
    from aegen_bench import cli

    resource.setrlimit(resource.RLIMIT_DATA, memory)
    out, err = (io.BufferedWriter(io.FileIO(number, "w", closefd=False)) for number in (1, 2))
    sys.stdout = io.TextIOWrapper(out)
    sys.stderr = io.TextIOWrapper(err, errors="backslashreplace", line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    sys.argv = ["aegen-bench", *args]
    cli.main()


class Command:
    """A command of the program in a process that the server forks, with the methods of `Popen` that tests use."""

    def __init__(self, args: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        pipes = [os.pipe() for _ in range(2)]
        self.stdout, self.stderr = (os.fdopen(reading) for reading, _ in pipes)
        output = [writing for _, writing in pipes]
        given = args, folder, resource.getrlimit(resource.RLIMIT_DATA)
        self._process = Process(target=_command, args=given, environment=environment, output=output)
        self._process.start()
        for end in output:
            os.close(end)

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
