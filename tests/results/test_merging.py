"""Merging results of several machines: records are copied, completed and compared, never replaced."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from unittest import mock

import pytest
import records
from conftest import Bench
from filelock import FileLock

from aegen_bench.results import locks, read_record, timings
from aegen_bench.results import merge as merging
from aegen_bench.results.merge import merge


def test_new_trials_are_copied_and_a_second_merge_does_nothing(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    (path,) = records.put(there, records.make(seed=1))
    path.with_name("history.json").write_text("{}")
    path.with_name("log.txt").write_text("left behind")
    assert list(merge([there], here)) == [(False, "new: lite/fashion/glf/seed-1")]
    copied = here / "lite/fashion/glf/seed-1"
    assert {p.name for p in copied.iterdir()} == {"record.json", "history.json"}
    assert (copied / "record.json").read_bytes() == path.read_bytes()
    assert list(merge([there], here)) == []


def test_a_missing_evaluation_is_added_with_its_times_but_not_with_their_training_times(
    tmp_path: Path,
) -> None:
    theirs = records.make(seconds={"train": 9.0, "sample": 4.0}, facts={"fit": 1.0, "nll": 2.0})
    records.put(tmp_path / "there", theirs)
    (ours,) = records.put(tmp_path / "here", records.make(seconds={"train": 100.0}, facts={"fit": 1.0}, metrics={}))
    ((conflict, told),) = merge([tmp_path / "there"], tmp_path / "here")
    assert not conflict and "completed" in told
    merged = read_record(ours)
    assert merged.seconds == {"train": 100.0, "sample": 4.0} and merged.content()["metrics"] == theirs["metrics"]


def test_a_full_disk_or_unreadable_file_is_reported_in_one_line_and_leaves_no_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = records.put(bench.folder / "there", records.make())
    path.with_name("history.json").write_text("{}")
    path.with_name("artefacts.npz").write_bytes(b"images")
    fsync, read = os.fsync, merging.read_bytes

    def full(descriptor: int) -> None:
        if "artefacts" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    def forbidden(path: Path, limit: int, *, follow: bool) -> bytes:
        if path.name == "artefacts.npz":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return read(path, limit, follow=follow)

    trial, here = "lite/fashion/glf/seed-0", bench.folder / "results/lite/fashion/glf/seed-0"
    for owner, name, fault, told in (
        (os, "fsync", full, f"cannot write results/{trial}/artefacts.npz: No space left on device"),
        (merging, "read_bytes", forbidden, f"cannot read there/{trial}/artefacts.npz: Permission denied"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fault)
            ended = bench("merge", "there")
        assert (ended.code, ended.err) == (2, f"aegen-bench: {told}\n")
        assert {p.name for p in here.iterdir()} == {"history.json"}
    assert bench("merge", "there").code == 0
    assert {p.name for p in here.iterdir()} == {"record.json", "history.json", "artefacts.npz"}


def test_missing_protocols_and_metrics_are_added(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    more = records.evaluation([{"fd": 21.0}], records.INCEPTION)
    theirs = records.make()
    theirs["metrics"]["bbbbbbbbbbbb"] = more
    theirs["metrics"]["a1b2c3d4e5f6"]["draws"][0]["kid"] = 0.5
    theirs["metrics"]["a1b2c3d4e5f6"]["settings"]["kid"] = {"subsets": 100}
    theirs["seconds"]["train"] = theirs["stages"]["train"]["seconds"] = 11.0  # another machine, so the times differ
    records.put(there, theirs)
    (path,) = records.put(here, records.make())
    assert list(merge([there], here)) == [
        (False, "completed: lite/fashion/glf/seed-0: protocol a1b2c3d4e5f6, bbbbbbbbbbbb")
    ]
    merged = read_record(path)
    assert merged.content()["metrics"] == theirs["metrics"] and merged.seconds["train"] == 290.0


def test_a_trial_that_failed_on_one_side_is_taken_from_the_other(tmp_path: Path) -> None:
    good, bad = records.make(), records.ended("failed")
    (here,), _ = records.put(tmp_path / "here", bad), records.put(tmp_path / "there", good)
    assert list(merge([tmp_path / "there"], tmp_path / "here")) == [(False, "new: lite/fashion/glf/seed-0")]
    assert read_record(here).status == "ok"
    records.put(tmp_path / "there", bad)
    assert list(merge([tmp_path / "there"], tmp_path / "here")) == []
    assert read_record(here).status == "ok"


def test_a_trial_that_is_running_here_is_not_replaced(tmp_path: Path) -> None:
    records.put(tmp_path / "there", records.make())
    lock = locks.lock_path(tmp_path / "here", "lite", "fashion", "glf", "seed-0")
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        [(conflict, line)] = merge([tmp_path / "there"], tmp_path / "here")
    assert conflict and "a run is in progress here" in line and not (tmp_path / "here/lite").exists()
    assert [told for _, told in merge([tmp_path / "there"], tmp_path / "here")] == ["new: lite/fashion/glf/seed-0"]


def test_two_failed_trials_are_no_conflict(tmp_path: Path) -> None:
    records.put(tmp_path / "here", records.ended("failed"))
    records.put(tmp_path / "there", records.ended("failed", key="f" * 16))
    assert list(merge([tmp_path / "there"], tmp_path / "here")) == []


def test_the_newer_of_two_timing_runs_is_kept(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    timings.write(there, records.timing("glf", 8.0))
    timings.write(there, records.timing("vae", 7.0))
    timings.write(here, records.timing("vae", 6.0, when="2026-02-01T00:00:00+00:00"))
    told = f"new: times of glf on fashion, {records.timing('glf').place}"
    assert list(merge([there], here)) == [(False, told)] and list(merge([there], here)) == []
    timings.write(there, records.timing("glf", 9.0, when="2026-02-01T00:00:00+00:00"))
    assert list(merge([there], here)) == [(False, told)]
    assert {one.row: one.stages["train"].seconds for _, one in timings.read(here)} == {"glf": (9.0,), "vae": (6.0,)}
    (there / "times/lite/fashion/glf/bad.json").write_text("{}")
    [(conflict, line)] = merge([there], here)
    assert conflict and "bad.json is not a timing run" in line
    (there / "times/lite/fashion/glf/bad.json").unlink()
    [ours] = (here / "times/lite/fashion/vae").glob("*.json")
    ours.write_text("{}")
    records.put(there, records.make(seed=3))
    told = list(merge([there], here))
    assert (False, "new: lite/fashion/glf/seed-3") in told
    assert [(bad, str(ours) in line) for bad, line in told if "timing" in line] == [(True, True)]


def test_conflicts_are_shown_and_our_record_is_kept(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (path,) = records.put(here, records.make())
    before = path.read_bytes()
    other_key, number = records.make(key="f" * 16), records.make()
    training = records.make(status="diverged", metrics={})
    trunk = records.make(trunk={"key": "f" * 16, "weights_sha256": "0" * 64})
    number["metrics"]["a1b2c3d4e5f6"]["draws"][0]["fd"] = 1.0
    for name, theirs, said in [
        ("key", other_key, "key 3f2a000000000000 here, ffff"),
        ("number", number, "already has a different 'fd'"),
        ("training", training, "a different 'status'"),
        ("trunk", trunk, "a different 'trunk'"),
    ]:
        records.put(tmp_path / name, theirs)
        ((conflict, line),) = merge([tmp_path / name], here)
        assert conflict and line.startswith("conflict: lite/fashion/glf/seed-0: ") and said in line
    (damaged,) = records.put(tmp_path / "damaged", records.make())
    damaged.write_text(json.dumps({"schema": 0}))
    ((conflict, line),) = merge([tmp_path / "damaged"], here)
    assert conflict and str(damaged) in line
    assert path.read_bytes() == before


def test_protocols_that_were_added_before_a_conflict_are_reported_with_it(tmp_path: Path) -> None:
    theirs = records.make()
    number = theirs["metrics"].pop("a1b2c3d4e5f6")
    number["draws"][0]["fd"] = 1.0
    theirs["metrics"] = {"bbbbbbbbbbbb": records.evaluation([{"fd": 21.0}], records.INCEPTION), "a1b2c3d4e5f6": number}
    records.put(tmp_path / "there", theirs)
    (path,) = records.put(tmp_path / "here", records.make())
    added, (conflict, line) = merge([tmp_path / "there"], tmp_path / "here")
    assert added == (False, "completed: lite/fashion/glf/seed-0: protocol bbbbbbbbbbbb")
    assert conflict and "already has a different 'fd'" in line
    assert set(read_record(path).metrics) == {"a1b2c3d4e5f6", "bbbbbbbbbbbb"}


def test_the_commands_merge_and_clean_say_what_they_do_and_clean_asks(bench: Bench) -> None:
    key, gone = "0123456789abcdef", "fedcba9876543210"
    record = records.make(key=key)
    records.put(bench.folder / "elsewhere", record)
    ended = bench("merge", "elsewhere")
    assert ended.code == 0 and "new: lite/fashion/glf/seed-0\n" in ended.out
    records.put(bench.folder / "other", records.make(key=gone))
    assert bench("merge", "other").code == 1
    weights = bench.data / "weights"
    weights.mkdir(parents=True)
    for name in (key, gone, "not_ours"):
        (weights / f"{name}.safetensors").write_bytes(b"w" * 1000)
    (bench.folder / "results/lite/fashion/glf/seed-0/checkpoint-3.pt").write_bytes(b"c")
    with mock.patch("sys.stdin", io.StringIO("n\n")):
        asked = bench("clean", "--weights", str(weights))
    assert asked.code == 1 and "delete 2 files, 0.0 MB?" in asked.out and f"{gone}.safetensors" in asked.out
    unnamed = bench("clean", "--yes")
    assert unnamed.code == 0 and "1 weights files" in unnamed.out and f"--weights {weights}" in unnamed.out
    assert len(list(weights.iterdir())) == 3, "clean without --weights should keep weights of other results folders"
    assert bench("clean", "--yes", "--weights", str(weights)).code == 0
    assert sorted(path.stem for path in weights.iterdir()) == [key, "not_ours"]
    assert not list(bench.folder.rglob("checkpoint-*"))
    assert bench("clean").out == "nothing to clean\n"
