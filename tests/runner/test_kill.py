"""`kill.py`, once for each kind: it kills the process, and the resumed trial equals an undisturbed one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from unittest import mock

import kill
import pytest

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def bench() -> Iterator[kill.Bench]:
    with mock.patch.dict(os.environ), kill.laboratory(["dask"]) as made:
        yield made


@pytest.mark.parametrize("how", ["one", "two", "jobs", "dask"])
def test_what_is_killed_half_way_ends_as_what_was_left_alone(bench: kill.Bench, how: str) -> None:
    """Where other work delays the watcher, the trial may be over before its moment: then an earlier one is tried."""
    for share in (0.5, 0.3, 0.1):
        where, _, equal = bench.disturb(how, ["vae"] if how == "one" else ["vae", "rae_gmm"], share)
        assert equal
        if where in kill.PLACES.values():
            break
    assert where in kill.PLACES.values(), "it was hit in the middle of its work"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_full_disk_leaves_no_half_of_a_file_and_costs_nothing(bench: kill.Bench, share: float) -> None:
    """From 1 kB, which takes no log, over 316 kB, which takes records but no checkpoint, to 32 MB, which takes one."""
    try:
        where, _, equal = bench.disturb("disk", ["vae"], share)
    except subprocess.CalledProcessError:
        pytest.skip("only root may mount a small file system")
    assert where == {0.0: "exit code 2", 0.5: "exit code 0", 0.9: "exit code 0"}[share] and equal
