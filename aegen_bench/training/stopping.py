"""When training is interrupted: by the clock to be saved, by a signal, by its time limit."""

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
"""What ends a run after a save: Ctrl-C, and what batch systems and terminals send as a warning."""
HASTE = 0.5
"""Seconds: signals that come closer together are one, which reached the process twice. Batch systems and timeout(1)
send theirs to a process and to its group.
"""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass
class Interrupts:
    """How often a training is saved, and what ends it early; one object for all trials of a run. Unit: seconds.

    `every` 0 saves at the end of each epoch. `limit` counts the training seconds of a trial, over all of its pieces.
    `signal` is the one that has come and waits for the next step, 0 while there is none.
    """

    every: float = 300.0
    limit: float | None = None
    signal: int = 0
    _at_steps: bool = False
    _hurry: bool = True
    _next: float = math.inf
    _came_at: float = -math.inf

    def start(self, spent: float) -> None:
        """Wind the clock: a trial has trained for `spent` seconds."""
        left = math.inf if self.limit is None else max(self.limit - spent, 0.0)
        self._next = time.monotonic() + min(self.every or math.inf, left)

    def due(self, *, epoch_over: bool = False) -> bool:
        """Whether to save here. Runs in the hot loop: a look at the clock and no more."""
        return time.monotonic() >= self._next or self.signal != 0 or (epoch_over and self.every == 0)

    def go_on(self, spent: float, where: str) -> None:
        """After a save: raise `Stopped` or `TimedOut` where training ends here, else wind the clock again."""
        if self.signal:
            raise Stopped(self.signal)
        if self.limit is not None and spent >= self.limit:
            raise TimedOut(f"{spent:,.0f} s of training reached the time limit of {self.limit:,.0f} s in {where}")
        self.start(spent)

    @contextlib.contextmanager
    def at_steps(self) -> Iterator[None]:
        """Within, a first signal waits until `due` is asked. Elsewhere nothing is gained by waiting, and it stops at
        once.
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
        """Within, `SIGNALS` come here; a second one, after `HASTE`, stops at once, if `hurry`. A signal that the
        process was told to ignore stays ignored.
        """
        self._hurry = hurry
        if threading.current_thread() is not threading.main_thread():
            yield  # Python gives signals to the main thread only
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
    """'3h', '90m', '1h30m' or '45s' -> seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(f"{option} {text}: expected a time such as 3h, 90m or 1h30m")
    return sum(float(number) * UNITS[unit] for number, unit in parts)
