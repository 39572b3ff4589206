"""A process that waits for the one that works, because nothing inside a process sees every way in which it may end.

Methods run in the process of a command. A library that they use can end it with exit code 0 (`_exit` of C), the kernel
can kill it, it can crash. So the command works in a child process, and the one that its user started, which has
imported nothing heavy, passes on signals and exit codes, and says how the child ended where that could not.
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
    """Fork: return in a child, which does the command, while this process waits for its end and ends as it did.

    Without a child where nothing is to be watched, or a fork is not safe: beside threads, or with torch loaded. Linux
    only: elsewhere no process can tell a signal of the terminal, which reaches both, from one that it must pass on.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    safe = "torch" not in sys.modules and threading.active_count() == 1
    if command not in COMMANDS or not safe or not sys.platform.startswith("linux"):
        return
    whole = mmap.mmap(-1, 1)  # shared; becomes 1 when the interpreter of the child shuts down in the usual way
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    heard = {*PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    parent, child = os.getpid(), os.fork()
    if child:
        code = _wait(child, heard)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _end(command, code, whole[0] == 1)
    _die_with(parent)
    register(_mark, whole, os.getpid())  # the first to be registered is the last to be called
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(child: int, heard: set[signal.Signals]) -> int:
    """Pass on signals until the child ends; return its exit code, or minus the signal that ended it."""
    while True:
        came = signal.sigwaitinfo(heard)
        if came.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
        elif came.si_code <= 0:  # sent by a program; what the terminal sends, the child has as well
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, came.si_signo)


def _end(command: str, code: int, whole: bool) -> NoReturn:
    """End this process as the child ended, and say it where that could not."""
    kept = KEPT if command == "run" else ""
    if code < 0:
        if -code not in PASSED_ON:
            how = "was killed (out of memory?)" if -code == signal.SIGKILL else f"crashed ({signal.strsignal(-code)})"
            faults.complain(f"{command}: the process {how}{kept}")
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the child has left its own
        with contextlib.suppress(OSError):  # no handler can be set for SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code == 0 and not whole:
        faults.complain(f"{command}: a method, or a library that it uses, has ended the process{kept}")
        code = 1
    os._exit(code)


def _die_with(parent: int) -> None:
    """Have this process killed when the one that waits for it is killed."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _mark(whole: mmap.mmap, pid: int) -> None:
    if os.getpid() == pid:  # and not in what a method has forked
        whole[0] = 1
