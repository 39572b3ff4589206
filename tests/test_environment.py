"""Memory that is freed stays with the process while a trial runs, and goes back to the system afterwards."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

import pytest
import torch

from aegen_bench import environment

LARGE = 48 * 2**20  # above the 32 MB from which malloc by itself gives each block back at once
PAGE = resource.getpagesize()


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def fill() -> None:
    torch.ones(LARGE // 4)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_a_large_block_is_cleared_by_the_system_once_and_given_back_at_the_end() -> None:
    fill()
    before = faults()
    fill()
    usual = faults() - before
    with environment.keeping_memory():
        fill()
        before = faults()
        fill()
        kept, held = faults() - before, resident()
    assert kept < 0.1 * usual
    assert held - resident() > 0.9 * LARGE
    before = faults()
    fill()
    assert faults() - before > 0.5 * usual


def test_where_there_is_no_such_malloc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: None) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with environment.keeping_memory():
        fill()
