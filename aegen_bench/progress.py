"""What a person sees while the bench runs: a live board on a terminal, dated lines elsewhere and in a trial's log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from aegen_bench.files import append_line, require_folder

__all__ = ["Lines", "Progress", "clock", "facts", "logged", "watch"]


class Progress:
    """Says nothing. The harness calls the same few methods whatever is listening; losses arrive once an epoch."""

    def note(self, text: str) -> None:
        """Show one line."""

    def grid(self, done: int, total: int) -> None:
        """Of the `total` trials to do, `done` have ended."""

    def stage(self, label: str, epochs: int, steps: int, batch: int) -> None:
        """A stage of `steps` steps in `epochs` epochs begins."""

    def step(self) -> None:
        """One training step was issued. Runs in the hot loop: it must cost microseconds and never synchronise."""

    def epoch(self, epoch: int, loss: float) -> None:
        """Epoch `epoch` (from 1) is over, with the mean of its summed loss terms."""

    def count(self, label: str, done: int, total: int) -> None:
        """Something that is not training (preparing data, extracting features) has come to `done` of `total`."""

    def close(self) -> None:
        """Nothing more will be shown."""


class _Counting(Progress):
    """Keeps count of a stage: how far it is, how fast, how long still."""

    def stage(self, label: str, epochs: int, steps: int, batch: int) -> None:
        self._label, self._epochs, self._steps, self._batch = label, epochs, steps, batch
        self._epoch, self._loss = 0, float("nan")
        self._done, self._begin, self._shown = 0, time.perf_counter(), time.perf_counter()

    def step(self) -> None:
        self._done += 1

    def epoch(self, epoch: int, loss: float) -> None:
        self._epoch, self._loss = epoch, loss

    def facts(self) -> dict[str, Any]:
        """The stage's name, `epoch` of `epochs`, mean loss, images/s, seconds `left`, and the `share` that is done."""
        spent = time.perf_counter() - self._begin
        return {
            "stage": self._label,
            "epoch": self._epoch,
            "epochs": self._epochs,
            "loss": self._loss,
            "rate": self._done * self._batch / spent,
            "left": spent / max(self._done, 1) * (self._steps - self._done),
            "share": self._done / max(self._steps, 1),
        }


class Lines(_Counting):
    """Dated lines on standard error, at most one every ten seconds within a stage."""

    every = 10.0

    def __init__(self, label: str = "") -> None:
        self._prefix = f"{label}: " if label else ""

    def note(self, text: str) -> None:
        print(_dated(f"{self._prefix}{text}"), file=sys.stderr, flush=True)

    def epoch(self, epoch: int, loss: float) -> None:
        super().epoch(epoch, loss)
        now = time.perf_counter()
        if now - self._shown >= self.every or epoch >= self._epochs:
            self._shown = now
            self.note(facts(self.facts()))

    def count(self, label: str, done: int, total: int) -> None:
        if done == total:
            self.note(f"{label}: {total:,} done")


class _Log(Lines):
    """The same at the end of a file, which is opened for each: a disk that refuses a line stops nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def note(self, text: str) -> None:
        with contextlib.suppress(OSError):
            append_line(self._path, _dated(text))


def _dated(text: str) -> str:
    return f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}"


class _Telling(_Counting):
    """Hands the figures to `tell` every two seconds, for who looks from another process."""

    every = 2.0

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell, self._shown = tell, 0.0

    def step(self) -> None:
        self._done += 1
        now = time.perf_counter()
        if now - self._shown > self.every:
            self._shown = now
            self._tell(**self.facts())

    def count(self, label: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if now - self._shown > self.every:
            self._shown = now
            self._tell(stage=f"{label}: {done:,} of {total:,}", epochs=0, share=1.0, left=0.0)


class _Several(Progress):
    """All of them are told everything."""

    def __init__(self, *listening: Progress) -> None:
        self._listening = listening

    def note(self, text: str) -> None:
        for one in self._listening:
            one.note(text)

    def stage(self, label: str, epochs: int, steps: int, batch: int) -> None:
        for one in self._listening:
            one.stage(label, epochs, steps, batch)

    def step(self) -> None:
        for one in self._listening:
            one.step()

    def epoch(self, epoch: int, loss: float) -> None:
        for one in self._listening:
            one.epoch(epoch, loss)

    def count(self, label: str, done: int, total: int) -> None:
        for one in self._listening:
            one.count(label, done, total)


@contextlib.contextmanager
def logged(log: Path, tell: Callable[..., None], show: Progress) -> Iterator[Progress]:
    """Within, what `show` is told also goes to the end of the file `log`, and the figures to `tell`."""
    require_folder(log.parent)
    yield _Several(show, _Log(log), _Telling(tell))


def watch(running: Callable[[], Sequence[tuple[str, dict[str, Any]]]] = tuple) -> Progress:
    """Return what suits standard error: a board on a terminal, lines in a pipe or a log.

    `running` returns the label and figures of the trials that are being done now.
    """
    if not sys.stderr.isatty():
        return Lines()
    from aegen_bench.board import Board

    return Board(running)


def facts(figures: dict[str, Any]) -> str:
    """'train: epoch 3/10, loss 25.1, 640 images/s, 1:20 left', of what is known."""
    if not figures.get("epochs"):
        return str(figures.get("stage", "begins"))
    return (
        f"{figures['stage']}: epoch {figures['epoch']}/{figures['epochs']}, loss {figures['loss']:.4g}, "
        f"{figures['rate']:,.0f} images/s, {clock(figures['left'])} left"
    )


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
