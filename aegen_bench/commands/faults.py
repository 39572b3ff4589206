"""Error reporting and safe output of the command line: no escape codes on terminals, bugs reported on one line."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO, TypeVar

from typer.core import TyperGroup

from aegen_bench import __version__, files
from aegen_bench.errors import UserError, printable
from aegen_bench.progress import terminal_width, wrapped

__all__ = ["CODE", "Commands", "complain", "printable_output", "refuse", "report", "without_debug"]

CODE = 70  # EX_SOFTWARE of sysexits.h


class _Escaped(Exception):
    """Wraps an error that typer would handle in its own way; the error is its `__cause__`."""


class Commands(TyperGroup):
    """A command group in which EOFError ("Aborted!") and sys.exit() reach `main` like other unexpected errors."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raises _Escaped in place of EOFError and SystemExit."""
        try:
            return super().invoke(ctx)
        except (EOFError, SystemExit) as error:
            raise _Escaped from error


T = TypeVar("T")


class _Printable(io.TextIOBase):
    """A text stream that removes escape codes and replaces characters that its encoding lacks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        return self._attempt(self._stream.write, printable(text))

    def _attempt(self, do: Callable[..., T], *given: str) -> T:
        try:
            return do(*given)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # for the interpreter's flush at exit
            if isinstance(error, BrokenPipeError):  # for example `| head`
                raise
            raise UserError(f"cannot write the output: {error.strerror or error}") from error

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:  # attributes that typer and others use: encoding, buffer, ...
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


@contextmanager
def printable_output() -> Iterator[None]:
    """Context in which standard output removes escape codes and replaces characters that its encoding lacks."""
    out = sys.stdout
    if out is None:
        yield
        return
    sys.stdout = _Printable(out)
    try:
        yield
    finally:
        try:
            sys.stdout.flush()  # reports a full disk
        finally:
            sys.stdout = out


def without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Return the arguments without --debug, which may be anywhere, and whether it was there."""
    rest = [word for word in arguments if word != "--debug"]
    return rest, len(rest) < len(arguments)


def refuse(error: UserError, debug: bool) -> None:
    """Print a user error on one line, with `debug` also its traceback."""
    if debug:
        complain("".join(traceback.format_exception(error)))
    complain(str(error))


def report(error: BaseException, arguments: Sequence[str], debug: bool) -> None:
    """Save the traceback of an unexpected error and print one line: the command, the error, the file in use and the
    path of the traceback. With `debug` the traceback is printed as well.
    """
    if isinstance(error, _Escaped):
        error = error.__cause__ or error
    command = next((word for word in arguments if not word.startswith("-")), "")
    said = " ".join(str(error).split())[:300]
    line = f"{command}: a bug in aegen-bench: {type(error).__name__}" + (f": {said}" if said else "")
    if path := files.last_file():
        line += f" (last file: {files.shown(path)})"
    text = "".join(traceback.format_exception(error))
    if debug:
        complain(text)
    try:
        line += f"; its traceback is in {_keep(text, arguments)}"
    except (OSError, UserError):
        line += "; --debug shows its traceback"
    complain(line)


def _keep(text: str, arguments: Sequence[str]) -> Path:
    """Write a traceback to the results folder or, if there is none, to the folder for temporary files."""
    named = [after for word, after in pairwise(arguments) if word == "--results"]
    named += [word.partition("=")[2] for word in arguments if word.startswith("--results=")]
    results = files.place(named[-1] if named else "results")
    about = f"aegen-bench {__version__}, {datetime.now():%Y-%m-%d %H:%M:%S}: {' '.join(map(repr, arguments))}\n\n{text}"
    content = about.encode(errors="backslashreplace")
    if results.is_dir():
        path = files.inside(results, ".errors", f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt")
        files.write_bytes(path, content)
        return path
    descriptor, name = tempfile.mkstemp(".txt", "aegen-bench-")
    with open(descriptor, "wb") as file:
        file.write(content)
    return Path(name)


def complain(text: str) -> None:
    """Print to standard error if possible."""
    try:
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        line = f"aegen-bench: {printable(text)}"
        if (width := terminal_width(sys.stderr)) is not None:
            line = wrapped(line, width)
        print(line.encode(encoding, errors="backslashreplace").decode(encoding), file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass
