"""What a person sees while the bench runs: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Any

__all__ = ["Lines", "Live", "Progress", "watch"]


class Progress:
    """Says nothing. The harness calls the same few methods whatever is listening; losses arrive once an epoch."""

    def note(self, text: str) -> None:
        """Show one line."""

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


class Lines(Progress):
    """Dated lines on standard error, at most one every ten seconds within a stage."""

    every = 10.0

    def note(self, text: str) -> None:
        print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)

    def stage(self, label: str, epochs: int, steps: int, batch: int) -> None:
        self._label, self._epochs, self._steps, self._batch = label, epochs, steps, batch
        self._done, self._begin, self._shown = 0, time.perf_counter(), time.perf_counter()

    def step(self) -> None:
        self._done += 1

    def epoch(self, epoch: int, loss: float) -> None:
        now = time.perf_counter()
        if now - self._shown < self.every and epoch < self._epochs:
            return
        self._shown = now
        rate = self._done * self._batch / (now - self._begin)
        left = (now - self._begin) / max(self._done, 1) * (self._steps - self._done)
        self.note(
            f"{self._label}: epoch {epoch}/{self._epochs}, loss {loss:.4g}, {rate:,.0f} images/s, {_clock(left)} left"
        )

    def count(self, label: str, done: int, total: int) -> None:
        if done == total:
            self.note(f"{label}: {total:,} done")


class Live(Progress):
    """A bar on the terminal: stage, loss, images/s and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
        ]
        self._bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task: Any = None
        self._name = ""

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)

    def stage(self, label: str, epochs: int, steps: int, batch: int) -> None:
        self._begin_task(label, steps)
        self._epochs, self._batch, self._loss = epochs, batch, ""
        self._done, self._begin, self._shown = 0, time.perf_counter(), 0.0

    def step(self) -> None:
        self._done += 1
        now = time.perf_counter()
        if now - self._shown > 0.5:
            self._shown = now
            facts = f"{self._loss}{self._done * self._batch / (now - self._begin):,.0f} images/s"
            self._bar.update(self._task, completed=self._done, facts=facts)

    def epoch(self, epoch: int, loss: float) -> None:
        self._loss = f"epoch {epoch}/{self._epochs}  loss {loss:.4g}  "

    def count(self, label: str, done: int, total: int) -> None:
        if label != self._name:
            self._begin_task(label, total)
        self._bar.update(self._task, completed=done)

    def close(self) -> None:
        self._bar.stop()

    def _begin_task(self, label: str, total: int) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._name, self._task = label, self._bar.add_task(label, total=total, facts="")


def watch() -> Progress:
    """Return what suits standard error: a bar on a terminal, lines in a pipe or a log."""
    return Live() if sys.stderr.isatty() else Lines()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
