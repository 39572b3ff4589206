"""The parent process of a command: it reports how its child ended in every case, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="commands are watched on Linux only")

WORKS = """
import atexit, ctypes, os, signal, sys, time
from aegen_bench.commands import guardian
guardian.watch(sys.argv[1:2])
exec(sys.argv[2])
"""
LIBC = "ctypes.CDLL(None)"
KEPT = "; finished trials and checkpoints are kept: the same command goes on from there"
ENDED = "a method, or a library that it uses, has ended the process"


def start(command: str, work: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WORKS, command, work]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize(
    ("command", "work", "code", "told"),
    [
        ("run", "pass", 0, ""),
        ("run", "sys.exit(3)", 3, ""),
        ("run", f"{LIBC}._exit(0)", 1, f"run: {ENDED}{KEPT}"),
        ("check", f"{LIBC}._exit(0)", 1, f"check: {ENDED}"),
        ("run", f"{LIBC}.exit(0)", 1, f"run: {ENDED}{KEPT}"),
        ("run", "atexit.register(os._exit, 0)", 1, f"run: {ENDED}{KEPT}"),
        ("run", f"os.fork() or sys.exit(); os.wait(); {LIBC}._exit(0)", 1, f"run: {ENDED}{KEPT}"),
        ("run", f"{LIBC}._exit(7)", 7, ""),
        ("run", "os.abort()", -signal.SIGABRT, f"run: the process crashed (Aborted){KEPT}"),
        ("run", "os.kill(os.getpid(), 9)", -signal.SIGKILL, f"run: the process was killed (out of memory?){KEPT}"),
        ("run", "os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("list", f"{LIBC}._exit(0)", 0, ""),  # `list` runs no method
    ],
)
def test_a_command_ends_as_its_child_did_and_never_silently(command: str, work: str, code: int, told: str) -> None:
    process = start(command, work)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert err == (f"aegen-bench: {told}\n" if told else "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_to_the_parent_reaches_the_child(number: int) -> None:
    heard = f"signal.signal({number}, lambda n, _: (print('heard', n), sys.exit(5))); print('ready', flush=True)"
    process = start("run", f"{heard}; time.sleep(60)")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (5, f"heard {int(number)}\n", "")


def test_the_child_dies_with_its_parent() -> None:
    process = start("run", "print(os.getpid(), flush=True); time.sleep(60)")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert child != process.pid and Path(f"/proc/{child}").exists()
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_with_threads_is_not_forked() -> None:
    work = "print(os.getppid(), flush=True)"
    script = f"import threading, time; threading.Thread(target=time.sleep, args=[1]).start()\n{WORKS}"
    ended = subprocess.run([sys.executable, "-c", script, "run", work], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, f"{os.getpid()}\n")
