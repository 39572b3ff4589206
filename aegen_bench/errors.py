"""The one kind of error that a user can mend, and the hint that goes with it."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import Any, ClassVar, NoReturn

__all__ = [
    "BrokenContract",
    "Diverged",
    "EndsProcess",
    "Incomplete",
    "Interrupted",
    "MissingError",
    "Stopped",
    "TimedOut",
    "UserError",
    "contained",
    "printable",
    "unknown",
]


_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return text without escape codes and control characters, which could act on the terminal that shows it."""
    return _ESCAPES.sub("", text)


class UserError(Exception):
    """Something the user can put right. The command line prints the text as one line and exits with `code`."""

    code: ClassVar[int] = 2


class MissingError(UserError):
    """Data or weights that are not on this machine; the text ends with the command that brings them."""


class Incomplete(UserError):
    """Something was done and recorded, but not all of it."""

    code = 1


class Interrupted(UserError):
    """An evaluation was stopped by Ctrl-C."""

    code = 130


def unknown(kind: str, name: str, legal: Iterable[str]) -> UserError:
    """Return the error for a name that does not exist, with the nearest one that does.

    >>> str(unknown("model", "gfl", ["glf", "vae"]))
    "unknown model 'gfl': did you mean 'glf'? (there are: glf, vae)"
    """
    names = sorted(legal)
    close = get_close_matches(name, names, cutoff=0.5)
    close.sort(key=lambda other: sorted(other) != sorted(name))  # letters swapped is the likeliest slip
    hint = f": did you mean '{close[0]}'?" if close else ""
    return UserError(f"unknown {kind} '{name}'{hint} (there are: {', '.join(names) or 'none'})")


class Diverged(Exception):
    """A loss, a parameter or an image is not finite: the trial ends with status `diverged`."""


class BrokenContract(Exception):
    """A method gave something that is no image or no code: the trial ends with status `failed` and this reason."""


class TimedOut(Exception):
    """A trial has trained for as long as it may: it ends with status `timeout` and keeps its checkpoint."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. `code` is the exit code that shells give to a process that the signal ended."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)  # so that it comes whole out of another process
        self.code = 128 + signal


class EndsProcess(Exception):
    """A method, or something it calls, tried to end the process: `sys.exit()`, `os._exit()`, or an exception that only
    ends a process by default. It is a fault of the method like any other.
    """


@contextmanager
def contained() -> Iterator[None]:
    """Within, code of a method runs: what would end the process raises `EndsProcess` instead. Ctrl-C still ends it.

    What fails in a thread of the method's, or where Python can only ignore it, is logged in one line. Afterwards the
    working folder is what it was.
    """
    original, here = os._exit, os.getpid()
    folder = os.getcwd() if os.path.isdir(".") else ""  # a run outlives its working folder
    hooks = threading.excepthook, sys.unraisablehook

    def refuse(status: int) -> NoReturn:
        if os.getpid() != here:  # a process that the method forked ends in the usual way
            original(status)
        raise EndsProcess(f"it called os._exit({status})")

    os._exit = refuse
    threading.excepthook, sys.unraisablehook = _log_failure, _log_failure
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except SystemExit as error:
        told = f"it called sys.exit({'' if error.code is None else repr(error.code)})"
        raise EndsProcess(told).with_traceback(error.__traceback__) from error
    except BaseException as error:
        raise EndsProcess(f"it raised {type(error).__name__}: {error}").with_traceback(error.__traceback__) from error
    finally:
        os._exit = original
        threading.excepthook, sys.unraisablehook = hooks
        with suppress(OSError):  # it may have been removed meanwhile
            os.chdir(folder)


def _log_failure(failed: Any) -> None:
    """For `threading.excepthook` and `sys.unraisablehook`, which print tracebacks."""
    where = f" in thread {failed.thread.name}" if getattr(failed, "thread", None) else ""
    told = " ".join(f"{failed.exc_type.__name__}: {failed.exc_value}".split())
    logging.getLogger(__name__).warning("a method failed%s and went on: %s", where, told)
