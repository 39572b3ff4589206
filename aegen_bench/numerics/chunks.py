"""How many rows are taken at once, so that memory does not grow with the size of an image."""

from __future__ import annotations

__all__ = ["rows"]

ROW = 3 * 64 * 64


def rows(most: int, numbers: int) -> int:
    """Return how many rows of `numbers` numbers to take at once: `most`, and of rows larger than a 3x64x64 image so
    many that they hold as much.
    """
    return max(1, most * ROW // max(numbers, ROW))
