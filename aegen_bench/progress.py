"""Progress display: a live board on a terminal, timestamped lines elsewhere and in the log of a trial.

A display that fails never stops the work: standard error may be a closed pipe or on a full disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from aegen_bench.errors import UserError, printable
from aegen_bench.files import append_line, require_folder

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = [
    "Board",
    "Lines",
    "Progress",
    "clock",
    "facts",
    "forgiving_output",
    "left",
    "logged",
    "terminal_width",
    "watch",
    "wrapped",
]

Running = Callable[[], Sequence[tuple[str, dict[str, Any]]]]


class Progress:
    """The interface of progress displays; this one shows nothing. Losses are reported once per epoch."""

    def note(self, text: str) -> None:
        """Show one line."""

    def begin(self, text: str) -> None:
        """A trial begins, which is only worth a line where nothing else shows it."""

    def grid(self, done: int, total: int) -> None:
        """`done` of the `total` planned trials have ended."""

    def expect(self, seconds_after: Mapping[str, float]) -> None:
        """A trial starts. `seconds_after` has the expected time from the end of each stage to the end of the trial."""

    def stage(self, label: str, epochs: int, steps: int, batch: int) -> None:
        """A stage of `steps` steps in `epochs` epochs starts."""

    def step(self) -> None:
        """One training step was issued. Runs in the hot loop: it must take microseconds and never synchronise."""

    def epoch(self, epoch: int, loss: float) -> None:
        """Epoch `epoch` (counted from 1) has ended; `loss` is the mean over the epoch of the summed loss terms."""

    def phase(self, name: str) -> None:
        """A part of a trial starts that is not a training stage, such as scoring."""

    def count(self, label: str, done: int, total: int) -> None:
        """Work other than training (preparing data, extracting features) has reached `done` of `total`."""

    def close(self) -> None:
        """End the display."""


class _Counting(Progress):
    """Tracks a trial: how much is done, how fast, and how much time is left."""

    _after: Mapping[str, float] = {}
    _label, _epochs, _epoch, _done = "", 0, 0, 0
    _loss: float | None = None
    _begin = _shown = 0.0
    _trial_began: float | None = None
    _ends: float | None = None  # expected end of the trial, once training is over

    def expect(self, seconds_after: Mapping[str, float]) -> None:
        self._after, self._trial_began = seconds_after, time.perf_counter()
        self._label, self._epochs, self._ends = "", 0, None

    def stage(self, label: str, epochs: int, steps: int, batch: int) -> None:
        self._label, self._epochs, self._steps, self._batch = label, epochs, steps, batch
        self._epoch, self._loss = 0, None
        self._done, self._begin, self._shown = 0, time.perf_counter(), time.perf_counter()

    def step(self) -> None:
        self._done += 1

    def epoch(self, epoch: int, loss: float) -> None:
        self._epoch, self._loss = epoch, loss

    def phase(self, name: str) -> None:
        now = time.perf_counter()
        if self._epochs:  # the first phase after the last stage
            known = self._after.get(self._label)
            self._ends = None if known is None else now + known
        self._label, self._epochs, self._begin = name, 0, now

    def facts(self) -> dict[str, Any]:
        """Return `stage`; during training also `epoch` of `epochs`, mean `loss` and `rate` in images/s; the `share` of
        the trial that is done; and the seconds `left`, of the trial or, if the rest is unknown, `of` the stage.
        """
        now = time.perf_counter()
        spent = now - (self._begin if self._trial_began is None else self._trial_began)
        if not self._epochs:
            rest = None if self._ends is None else max(self._ends - now, 0.0)
            share = 1.0 if rest is None else spent / max(spent + rest, 1e-9)
            return {"stage": self._label, "epochs": 0, "share": share, "left": rest}
        here = now - self._begin
        rest, after = here / max(self._done, 1) * (self._steps - self._done), self._after.get(self._label)
        share = spent / max(spent + rest + (after or 0.0), 1e-9)
        return {
            "stage": self._label,
            "epoch": self._epoch,
            "epochs": self._epochs,
            "loss": self._loss,
            "rate": self._done * self._batch / max(here, 1e-9),
            "left": (rest + (after or 0.0)) if self._done else None,
            "of": "" if after is not None else self._label,
            "share": share if self._done else 0.0,
        }


class Lines(_Counting):
    """Timestamped lines on standard error, at most one every ten seconds within a stage."""

    every = 10.0

    def __init__(self, label: str = "") -> None:
        self._prefix = f"{label}: " if label else ""

    def note(self, text: str) -> None:
        stream = _Forgiving(sys.stderr)
        stream.write(_dated(f"{self._prefix}{text.removeprefix(self._prefix)}") + "\n")
        stream.flush()

    def begin(self, text: str) -> None:
        self.note(text)

    def epoch(self, epoch: int, loss: float) -> None:
        super().epoch(epoch, loss)
        now = time.perf_counter()
        if now - self._shown >= self.every or epoch >= self._epochs:
            self._shown = now
            self.note(facts(self.facts()))

    def phase(self, name: str) -> None:
        super().phase(name)
        self.note(facts(self.facts()))

    def count(self, label: str, done: int, total: int) -> None:
        if done == total:
            self.note(f"{label}: {total:,} done")


class _Log(Lines):
    """The same, appended to a file. Lines that cannot be written are dropped."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def note(self, text: str) -> None:
        with contextlib.suppress(OSError):
            append_line(self._path, _dated(text))


def _dated(text: str) -> str:
    return f"{datetime.now():%Y-%m-%d %H:%M:%S}  {printable(text)}"


class _Telling(_Counting):
    """Passes the facts to `tell` every two seconds, so that other processes can show them."""

    every = 2.0

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell, self._shown = tell, 0.0

    def step(self) -> None:
        self._done += 1
        now = time.perf_counter()
        if now - self._shown > self.every:
            self._shown = now
            self._tell(**self.facts())

    def phase(self, name: str) -> None:
        super().phase(name)
        self._tell(**self.facts())

    def count(self, label: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if now - self._shown > self.every:
            self._shown = now
            within = f"{self._label}: " if self._label and not self._epochs else ""
            self._tell(**self.facts() | {"stage": f"{within}{label}: {done:,} of {total:,}", "epochs": 0})


class _Several(Progress):
    """Forwards every event to several listeners."""

    def __init__(self, *listeners: Progress) -> None:
        self._listeners = listeners

    def note(self, text: str) -> None:
        for one in self._listeners:
            one.note(text)

    def expect(self, seconds_after: Mapping[str, float]) -> None:
        for one in self._listeners:
            one.expect(seconds_after)

    def stage(self, label: str, epochs: int, steps: int, batch: int) -> None:
        for one in self._listeners:
            one.stage(label, epochs, steps, batch)

    def step(self) -> None:
        for one in self._listeners:
            one.step()

    def epoch(self, epoch: int, loss: float) -> None:
        for one in self._listeners:
            one.epoch(epoch, loss)

    def phase(self, name: str) -> None:
        for one in self._listeners:
            one.phase(name)

    def count(self, label: str, done: int, total: int) -> None:
        for one in self._listeners:
            one.count(label, done, total)


class Board(Progress):
    """A live board: number of finished trials, the state of each running one, and the time left for all.

    It is updated once a second with the trials of all processes; notes scroll above it.
    """

    def __init__(self, running: Running, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._running, self._begin = running, time.monotonic()
        self._done = self._total = 0
        self._aside = ""
        shown_on = console or Console(file=_Forgiving(sys.stderr))  # type: ignore[arg-type]
        self._live = Live(get_renderable=self.render, console=shown_on, refresh_per_second=1, transient=True)
        self._live.start()

    def note(self, text: str) -> None:
        # Wrapped here and not by rich, which would break a command that is to be pasted.
        told = wrapped(printable(text), self._live.console.width)
        self._live.console.print(told, highlight=False, markup=False, soft_wrap=True)

    def grid(self, done: int, total: int) -> None:
        self._done, self._total = done, total

    def count(self, label: str, done: int, total: int) -> None:
        self._aside = f"{label}: {done:,} of {total:,}" if done < total else ""

    def close(self) -> None:
        self._live.stop()

    def render(self) -> RenderableType:
        """Return the present content of the board."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        running = self._running()
        shares = [figures.get("share", 0.0) for _, figures in running]
        rest = left(time.monotonic() - self._begin, self._done, shares, self._total)
        head = f"{self._done} of {self._total} trials done"
        if running:
            head += f", {len(running)} running"
        elif self._total and self._done == self._total:
            head += "; scoring real images and noise, to compare with"
        table = Table.grid(padding=(0, 2), pad_edge=False)
        for _ in range(3):
            table.add_column()
        for label, figures in running:
            table.add_row(*map(Text, (f"  {label}", *_columns(figures))))
        # A running trial tells its own counts; this is what is done besides.
        lines = [head + (f", {clock(rest)} left" if rest is not None else "")] * bool(self._total)
        aside = [f"  {self._aside}"] * bool(self._aside and not running)
        return Group(*map(Text, lines), *[table] * bool(running), *map(Text, aside))


def left(spent: float, done: int, shares: Sequence[float], total: int) -> float | None:
    """Estimate the seconds until all `total` trials are done, at the pace so far; None while that is unknown.

    `spent` is the time so far in seconds, `shares` the finished share of each running trial.
    """
    worked = done + sum(shares)
    return None if worked < 0.01 or done >= total else spent / worked * max(total - worked, 0.0)


@contextlib.contextmanager
def logged(log: Path, tell: Callable[..., None], show: Progress) -> Iterator[Progress]:
    """Context whose display is `show`, the file `log`, to which it appends, and `tell`, which receives the facts."""
    require_folder(log.parent)
    yield _Several(show, _Log(log), _Telling(tell))


def watch(running: Running = tuple, *, quiet: bool = False) -> Progress:
    """Return the display for standard error: a board on a terminal, lines in a pipe or file, nothing if `quiet`.

    `running` returns the label and facts of the trials that are running now.
    """
    if quiet:
        return Progress()
    if sys.stderr is None or not sys.stderr.isatty():
        return Lines()
    return Board(running)


def facts(figures: dict[str, Any]) -> str:
    """Format facts, as far as they are known: 'train: epoch 3/10, loss 25.1, 640 images/s, 1:20 left'."""
    stage, pace, rest = _columns(figures)
    return ", ".join(filter(None, [stage, pace, rest]))


def _columns(figures: dict[str, Any]) -> tuple[str, str, str]:
    """Return what is being done, how fast, and the time left; unknown ones are empty."""
    stage, pace, rest = str(figures.get("stage") or "begins"), "", ""
    if figures.get("epochs"):
        stage += f": epoch {figures['epoch']}/{figures['epochs']}"
        pace = f"{figures['rate']:,.0f} images/s"
        if figures.get("loss") is not None:
            pace = f"loss {figures['loss']:.4g}, {pace}"
    if round(figures.get("left") or 0.0) > 0:  # the end of a stage is not the end of the trial
        rest = f"{clock(figures['left'])} left" + (f" of {figures['of']}" if figures.get("of") else "")
    return stage, pace, rest


def clock(seconds: float) -> str:
    """Format seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def terminal_width(stream: TextIO | None) -> int | None:
    """Return the width of the terminal behind a stream; None for a pipe or file."""
    return shutil.get_terminal_size().columns if stream is not None and stream.isatty() else None


def wrapped(text: str, width: int) -> str:
    """Wrap lines at spaces, but not between backticks, so that commands can be copied whole. Continuation lines are
    indented to the last column (text after two or more spaces), or to the text of a list item.

    >>> print(wrapped("  paper  table1 on mnist; `aegen-bench run`", 30))
      paper  table1 on mnist;
             `aegen-bench run`
    """
    return "\n".join(_wrapped(line, width) for line in text.split("\n"))


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width or line.startswith("|"):  # a line of a Markdown table
        return line
    columns = [found.end() for found in re.finditer(r"\S(?: {2,})(?=\S)", line) if found.end() <= 0.65 * width]
    start = re.match(r" *(?:- )?", line)
    hang = columns[-1] if columns else start.end() if start else 0
    lines, words = [line[:hang]], re.findall(r"[^\s`]*`[^`]*`\S*|\S+", line[hang:])
    for i, word in enumerate(words):
        here = lines[-1]
        if i and len(here) + 1 + len(word) > width:
            lines.append(" " * hang + word)
        else:
            lines[-1] = f"{here}{' ' * bool(i)}{word}"
    return "\n".join(lines)


class _Forgiving:
    """A text stream that drops what cannot be written, for example to a closed pipe or a full disk."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._attempt("write", text)
        return len(text)

    def flush(self) -> None:
        self._attempt("flush")

    def _attempt(self, method: str, *arguments: str) -> None:
        if self._stream is None:
            return
        try:
            getattr(self._stream, method)(*arguments)
        except (OSError, UserError):  # UserError from a stream that already explains the problem
            # The rest of its buffer would fail again when the interpreter exits, and change the exit code.
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
        except ValueError:  # the stream is closed
            self._stream = None

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def forgiving_output() -> Iterator[None]:
    """Context in which writing to standard output and standard error never raises; output may be lost."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Forgiving(before[0]), _Forgiving(before[1])
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
