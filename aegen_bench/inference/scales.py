"""The scales on which rows are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LOG", "RAW", "Scale"]


@dataclass(frozen=True)
class Scale:
    """Numbers as they are, or their logarithms; `window` is how far behind the best a row may be, in units of the
    scale, and still count towards the noise and the number of rows that others are judged by (see `leading.py`).
    """

    logarithmic: bool
    window: float

    def of(self, values: Sequence[float]) -> list[float]:
        """Return the finite numbers on this scale. Zero and negative numbers have no logarithm and are left out."""
        finite = [float(x) for x in values if math.isfinite(x)]
        return [math.log(x) for x in finite if x > 0] if self.logarithmic else finite

    def factor(self, share: float) -> float:
        """Return the step on this scale from a number to one that is larger by `share` of it (logarithms only)."""
        if not self.logarithmic:
            raise ValueError("a share of a number is a fixed step on the logarithmic scale only")
        return math.log1p(share)

    def gap(self, step: float) -> str:
        """Write a difference on this scale: `4.2%` of a number whose logarithm was compared, else `0.042`."""
        if not math.isfinite(step):
            return "unknown"
        if not self.logarithmic:
            return f"{step:.2g}"
        percent = 100 * math.expm1(step)
        return f"{percent:.2g}%" if abs(percent) < 99.5 else f"{percent:.0f}%"


LOG = Scale(logarithmic=True, window=math.log(1.5))
"""For distances and times: seeds spread by a share of the number, about the same share for good rows and poor ones."""
RAW = Scale(logarithmic=False, window=0.25)
"""For scores in [0, 1] and whatever can be negative. In the committed results the spread of scores is no more alike
between rows on the logit than as they are, and a score of exactly 0 or 1 has no logit (`perf/inference.py`).
"""
