"""The scales on which rows are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LOG", "RAW", "Scale"]


@dataclass(frozen=True)
class Scale:
    """Numbers, or their logarithms. `window` is the distance from the best, on the scale, up to which a row is a
    contender (see `leading.py`).
    """

    logarithmic: bool
    window: float

    def of(self, values: Sequence[float]) -> list[float]:
        """Return the finite numbers on this scale. A logarithmic scale leaves out zero and negative numbers."""
        finite = [float(x) for x in values if math.isfinite(x)]
        return [math.log(x) for x in finite if x > 0] if self.logarithmic else finite

    def gap(self, step: float) -> str:
        """Format a difference on this scale: `4.2%` on a logarithmic scale, else `0.042`."""
        if not math.isfinite(step):
            return "unknown"
        if not self.logarithmic:
            return f"{step:.2g}"
        percent = 100 * math.expm1(step)
        return f"{percent:.2g}%" if abs(percent) < 99.5 else f"{percent:.0f}%"


LOG = Scale(logarithmic=True, window=math.log(1.5))
"""For distances and times, whose spread over seeds is proportional to the value, for good and poor rows alike."""
RAW = Scale(logarithmic=False, window=0.25)
"""For scores in [0, 1] and numbers that can be negative. In the committed results a logit does not make the spreads of
rows more similar, and it is undefined for a score of exactly 0 or 1 (`perf/inference.py`).
"""
