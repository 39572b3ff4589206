"""Interruptions of training: for a checkpoint, by a signal, or by the time limit."""

from __future__ import annotations

import contextlib
import math
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aegen_bench.errors import Stopped, TimedOut, UserError

__all__ = ["Interrupts", "seconds"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that end a run after a checkpoint: Ctrl-C, and the warnings of batch systems and terminals."""
HASTE = 0.5
"""Seconds within which two signals count as one. Batch systems and timeout(1) signal both a process and its group."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass
class Interrupts:
    """How often training is saved, and what ends it early; one object for all trials of a run. Unit: seconds.

    `every` = 0 saves at the end of each epoch. `limit` applies to the training time of a trial, including earlier runs.
    `signal` is a signal that has arrived and takes effect at the next step, or 0.
    """

    every: float = 300.0
    limit: float | None = None
    signal: int = 0
    _at_steps: bool = False
    _hurry: bool = True
    _next: float = math.inf
    _came_at: float = -math.inf

    def start(self, spent: float) -> None:
        """Start the timer for a trial that has trained for `spent` seconds."""
        left = math.inf if self.limit is None else max(self.limit - spent, 0.0)
        self._next = time.monotonic() + min(self.every or math.inf, left)

    def due(self, *, epoch_over: bool = False) -> bool:
        """Whether to save now. Runs in the hot loop, so it only reads the clock."""
        return time.monotonic() >= self._next or self.signal != 0 or (epoch_over and self.every == 0)

    def go_on(self, spent: float, where: str) -> None:
        """After a checkpoint: raise `Stopped` or `TimedOut` if training ends here, otherwise restart the timer."""
        if self.signal:
            raise Stopped(self.signal)
        if self.limit is not None and spent >= self.limit:
            raise TimedOut(f"{spent:,.0f} s of training reached the time limit of {self.limit:,.0f} s in {where}")
        self.start(spent)

    @contextlib.contextmanager
    def at_steps(self) -> Iterator[None]:
        """Context in which a first signal takes effect at the next checkpoint. Outside it stops the run immediately,
        because there is nothing to save.
        """
        self._at_steps = True
        try:
            yield
        finally:
            self._at_steps = False
        if self.signal:
            raise Stopped(self.signal)

    @contextlib.contextmanager
    def listening(self, *, hurry: bool = True) -> Iterator[None]:
        """Context that handles `SIGNALS`. With `hurry`, a second one, after `HASTE`, stops the run immediately.

        Signals that the process ignores stay ignored.
        """
        self._hurry = hurry
        if threading.current_thread() is not threading.main_thread():
            yield  # Python delivers signals only to the main thread
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        heard = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
        for number in heard:
            signal.signal(number, self._came)
        try:
            yield
        finally:
            for number, handler in heard.items():
                signal.signal(number, handler)

    def _came(self, number: int, frame: Any) -> None:
        first, self.signal = self.signal == 0, number
        if first:
            self._came_at = time.monotonic()
        again = self._hurry and time.monotonic() >= self._came_at + HASTE
        if again or (first and not self._at_steps):
            raise Stopped(number)


def seconds(option: str, text: str) -> float:
    """Parse '3h', '90m', '1h30m' or '45s' as seconds; UserError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(f"{option} {text}: expected a time such as 3h, 90m or 1h30m")
    return sum(float(number) * UNITS[unit] for number, unit in parts)
