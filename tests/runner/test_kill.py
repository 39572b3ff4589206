"""`kill.py`, once for each kind: the process is killed, and the resumed trial equals an undisturbed one."""

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
def test_a_trial_killed_halfway_ends_like_an_undisturbed_one(bench: kill.Bench, how: str) -> None:
    """If other work delays the watcher, the trial may end before it is killed; then an earlier moment is tried."""
    for share in (0.5, 0.3, 0.1):
        where, _, equal = bench.disturb(how, ["vae"] if how == "one" else ["vae", "rae_gmm"], share)
        assert equal
        if where in kill.PLACES.values():
            break
    assert where in kill.PLACES.values(), "it was killed in the middle of its work"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_full_disk_leaves_no_unfinished_file_and_changes_no_result(bench: kill.Bench, share: float) -> None:
    """1 kB has no room for a log, 316 kB has room for records but not for a checkpoint, and 32 MB for both."""
    try:
        where, _, equal = bench.disturb("disk", ["vae"], share)
    except subprocess.CalledProcessError:
        pytest.skip("only root may mount a small file system")
    assert where == {0.0: "exit code 2", 0.5: "exit code 0", 0.9: "exit code 0"}[share] and equal
