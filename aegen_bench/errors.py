"""The one kind of error that a user can mend, and the hint that goes with it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

__all__ = ["Diverged", "Incomplete", "Interrupted", "MissingError", "Stopped", "TimedOut", "UserError", "unknown"]


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


class TimedOut(Exception):
    """A trial has trained for as long as it may: it ends with status `timeout` and keeps its checkpoint."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. `code` is the exit code that shells give to a process that the signal ended."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)  # so that it comes whole out of another process
        self.code = 128 + signal
