"""Runs a command in a child process and reports how it ended, since a process cannot observe every end of its own.

Methods run in the process of a command. A library that they use can end it with exit code 0 (C's `_exit`), the kernel
can kill it, or it can crash. The command therefore runs in a child process. Its parent, the process that the user
started, imports nothing heavy, forwards signals and the exit code, and reports an end that the child could not report.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
import threading
from atexit import register
from collections.abc import Sequence
from typing import NoReturn

from aegen_bench.commands import faults

__all__ = ["COMMANDS", "watch"]

COMMANDS = ("run", "check", "evaluate", "sample")  # they run methods
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
PR_SET_PDEATHSIG = 1
KEPT = "; finished trials and checkpoints are kept: the same command goes on from there"


def watch(arguments: Sequence[str]) -> None:
    """Fork, and return in the child, which runs the command; the parent waits for it and exits with the same status.

    Returns without forking if the command runs no methods, or if a fork is not safe, with other threads or torch
    loaded. Linux only: elsewhere, a signal from the terminal, which reaches both processes, cannot be told from one
    that must be forwarded.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    safe = "torch" not in sys.modules and threading.active_count() == 1
    if command not in COMMANDS or not safe or not sys.platform.startswith("linux"):
        return
    whole = mmap.mmap(-1, 1)  # shared; set to 1 when the child's interpreter shuts down normally
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    heard = {*PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    parent, child = os.getpid(), os.fork()
    if child:
        code = _wait(child, heard)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _end(command, code, whole[0] == 1)
    _die_with(parent)
    register(_mark, whole, os.getpid())  # registered first, so called last
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(child: int, heard: set[signal.Signals]) -> int:
    """Forward signals until the child ends; return its exit code, or minus the signal that ended it."""
    while True:
        came = signal.sigwaitinfo(heard)
        if came.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        elif came.si_code <= 0:  # sent by a program; the child receives signals of the terminal itself
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, came.si_signo)


def _end(command: str, code: int, whole: bool) -> NoReturn:
    """End this process in the way the child ended, with a message if the child could not print one."""
    kept = KEPT if command == "run" else ""
    if code < 0:
        if -code not in PASSED_ON:
            how = "was killed (out of memory?)" if -code == signal.SIGKILL else f"crashed ({signal.strsignal(-code)})"
            faults.complain(f"{command}: the process {how}{kept}")
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the child has dumped its own core
        with contextlib.suppress(OSError):  # no handler can be set for SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code == 0 and not whole:
        faults.complain(f"{command}: a method, or a library that it uses, has ended the process{kept}")
        code = 1
    os._exit(code)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent is killed."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _mark(whole: mmap.mmap, pid: int) -> None:
    if os.getpid() == pid:  # not in a process that a method has forked
        whole[0] = 1
