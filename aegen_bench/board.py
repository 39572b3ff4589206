"""The live board on a terminal: trials done, each running one with its figures, time left for the grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from aegen_bench.progress import Progress, clock, facts

__all__ = ["Board", "left"]

Running = Callable[[], Sequence[tuple[str, dict[str, Any]]]]


class Board(Progress):
    """Looks at the running trials once a second, in whatever process they run; notes scroll above it."""

    def __init__(self, running: Running, console: Console | None = None) -> None:
        self._running, self._begin = running, time.monotonic()
        self._done = self._total = 0
        self._aside = ""
        self._live = Live(
            get_renderable=self.render, console=console or Console(stderr=True), refresh_per_second=1, transient=True
        )
        self._live.start()

    def note(self, text: str) -> None:
        self._live.console.print(text, highlight=False, markup=False)

    def grid(self, done: int, total: int) -> None:
        self._done, self._total = done, total

    def count(self, label: str, done: int, total: int) -> None:
        self._aside = f"{label}: {done:,} of {total:,}" if done < total else ""

    def close(self) -> None:
        self._live.stop()

    def render(self) -> Text:
        running = self._running()
        shares = [figures.get("share", 0.0) for _, figures in running]
        rest = left(time.monotonic() - self._begin, self._done, shares, self._total)
        head = f"{self._done} of {self._total} trials done, {len(running)} running"
        lines = [head + (f", {clock(rest)} left" if rest is not None else "")] if self._total else []
        lines += [f"  {label}: {facts(figures)}" for label, figures in running]
        return Text("\n".join(lines + [f"  {self._aside}"] * bool(self._aside)))


def left(spent: float, done: int, shares: Sequence[float], total: int) -> float | None:
    """Seconds until all `total` trials are done, at the pace of the `spent` ones; None while nothing tells."""
    worked = done + sum(shares)
    return None if worked < 0.01 or done >= total else spent / worked * max(total - worked, 0.0)
