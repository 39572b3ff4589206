"""Sizes of chunks, chosen so that memory does not grow with the size of an image."""

from __future__ import annotations

__all__ = ["rows"]

ROW = 3 * 64 * 64


def rows(most: int, numbers: int) -> int:
    """Return how many rows of `numbers` numbers to process at once: `most`, or proportionally fewer if a row is larger
    than a 3x64x64 image.
    """
    return max(1, most * ROW // max(numbers, ROW))
