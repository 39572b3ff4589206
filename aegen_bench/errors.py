"""Exceptions: errors that the user can fix, and the ways in which a trial can end."""

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


MOST_NAMES, FEW_NAMES = 40, 8  # that one line lists
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return text without escape codes and control characters, which could act on the terminal that shows it."""
    return _ESCAPES.sub("", text)


class UserError(Exception):
    """An error that the user can fix. The command line prints the message on one line and exits with `code`."""

    code: ClassVar[int] = 2


class MissingError(UserError):
    """Data or weights are not on this machine. The message ends with the command that gets them."""


class Incomplete(UserError):
    """Part of the work was done and recorded, but not all of it."""

    code = 1


class Interrupted(UserError):
    """An evaluation was stopped by Ctrl-C."""

    code = 130


def unknown(kind: str, name: str, legal: Iterable[str]) -> UserError:
    """Return the error for an unknown name, which suggests the closest valid one. Of very many names it shows the
    closest few.

    >>> str(unknown("model", "gfl", ["glf", "vae"]))
    "unknown model 'gfl': did you mean 'glf'? (there are: glf, vae)"
    """
    names = sorted(legal)
    close = get_close_matches(name, names, cutoff=0.5)
    close.sort(key=lambda other: sorted(other) != sorted(name))  # swapped letters are the most likely typo
    hint = f": did you mean '{close[0]}'?" if close else ""
    listed = ", ".join(names) or "none"
    if len(names) > MOST_NAMES:
        nearest = get_close_matches(name, names, n=FEW_NAMES, cutoff=0.0)
        listed = f"{', '.join(nearest)} and {len(names) - len(nearest)} more"
    return UserError(f"unknown {kind} '{name}'{hint} (there are: {listed})")


class Diverged(Exception):
    """A loss, a parameter or an image is not finite: the trial ends with status `diverged`."""


class BrokenContract(Exception):
    """A method returned something that is not a valid image or code: the trial ends as `failed` with this reason."""


class TimedOut(Exception):
    """A trial reached its time limit: it ends with status `timeout` and keeps its checkpoint."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. `code` is the exit code that shells report for a process ended by that signal."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)  # so that it survives pickling between processes
        self.code = 128 + signal


class EndsProcess(Exception):
    """A method, or something it calls, tried to end the process: `sys.exit()`, `os._exit()`, or an exception outside
    the `Exception` hierarchy. It counts as an error of the method like any other.
    """


@contextmanager
def contained() -> Iterator[None]:
    """Context for running a method's code: whatever would end the process raises `EndsProcess`. Ctrl-C still works.

    Errors in a thread of the method, or where Python can only ignore them, are logged on one line. On exit the working
    directory is restored.
    """
    original, here = os._exit, os.getpid()
    folder = os.getcwd() if os.path.isdir(".") else ""  # a run survives the deletion of its working directory
    hooks = threading.excepthook, sys.unraisablehook

    def refuse(status: int) -> NoReturn:
        if os.getpid() != here:  # a process forked by the method may end normally
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
        with suppress(OSError):  # it may have been removed in the meantime
            os.chdir(folder)


def _log_failure(failed: Any) -> None:
    """Replaces `threading.excepthook` and `sys.unraisablehook`, which would print tracebacks."""
    where = f" in thread {failed.thread.name}" if getattr(failed, "thread", None) else ""
    told = " ".join(f"{failed.exc_type.__name__}: {failed.exc_value}".split())
    logging.getLogger(__name__).warning("a method failed%s and went on: %s", where, told)
