"""`clean` deletes what is not needed, and nothing that might be."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import records
from conftest import Bench
from filelock import FileLock

from aegen_bench.errors import UserError
from aegen_bench.results import clean, locks, store

KEY, OTHER, SHA = "0123456789abcdef", "fedcba9876543210", "12345678" * 8


@pytest.fixture
def kept(bench: Bench) -> Path:
    folder = bench.data / "weights"
    folder.mkdir(parents=True)
    return folder


def weights(folder: Path, key: str = KEY, sha256: str = SHA) -> Path:
    path = folder / (f"{key}-{sha256[:8]}.safetensors" if sha256 else f"{key}.safetensors")
    path.write_bytes(b"w" * 1000)
    return path


def trial(bench: Bench, **fields: Any) -> Path:
    """Write a trial that ended well and left a checkpoint; return the checkpoint."""
    (path,) = records.put(bench.folder / "results", records.make(**{"key": KEY, "weights_sha256": SHA} | fields))
    checkpoint = path.with_name("checkpoint-3.pt")
    checkpoint.write_bytes(b"c")
    return checkpoint


@pytest.mark.parametrize("note", [None, "{", '{"host": null}', "[" * 20_000, "null"])
def test_a_held_lock_stops_clean_whatever_its_note_says(bench: Bench, kept: Path, note: str | None) -> None:
    checkpoint, weight = trial(bench), weights(kept, OTHER, "b" * 64)
    lock = locks.lock_path(bench.folder / "results", "lite", "fashion", "vae", "seed-7")
    lock.parent.mkdir(parents=True)
    if note is not None:
        lock.with_suffix(".json").write_text(note)
    with FileLock(lock):
        ended = bench("clean", "--yes", "--weights", str(kept))
        assert ended.code == 2 and "lite/fashion/vae/seed-7 is in use by another process" in ended.err
        assert "running: vae on fashion, seed 7" in bench("list", "trials", "--profile", "lite").out
    assert checkpoint.exists() and weight.exists()


def test_no_weights_are_deleted_if_a_run_has_started_since_they_were_listed(bench: Bench, kept: Path) -> None:
    root, weight = bench.folder / "results", weights(kept, OTHER, "b" * 64)
    trial(bench)
    listed = [one for one in clean.abandoned(root, kept) if one.path == weight]
    lock = locks.lock_path(root, "lite", "fashion", "vae", "seed-7")
    lock.parent.mkdir(parents=True)
    with FileLock(lock), mock.patch.object(clean, "abandoned", lambda *args: listed):  # it starts after they are listed
        assert list(clean.delete(root, kept, listed)) == [(listed[0], "a run has started")]
    assert weight.exists()
    assert list(clean.delete(root, kept, listed)) == [(listed[0], "")] and not weight.exists()


def test_files_that_a_run_uses_or_writes_while_clean_waits_for_an_answer_are_kept(bench: Bench, kept: Path) -> None:
    checkpoint, weight = trial(bench), weights(kept, OTHER, "b" * 64)
    record = checkpoint.with_name("record.json")

    class Answer(io.StringIO):
        def readline(self, *size: Any) -> str:
            record.write_text(json.dumps(records.ended("timeout", key=KEY)))
            weight.write_bytes(b"trained anew")
            return "y\n"

    with mock.patch("sys.stdin", Answer()):
        ended = bench("clean", "--weights", str(kept))
    assert ended.code == 0 and "deleted 0 files" in ended.out and ended.out.count("kept: ") == 2
    assert checkpoint.exists() and weight.read_bytes() == b"trained anew"


def test_a_checkpoint_is_deleted_only_under_the_lock_of_its_trial(bench: Bench, kept: Path) -> None:
    checkpoint, root = trial(bench), bench.folder / "results"
    listed = clean.abandoned(root, kept)
    assert [one.path for one in listed] == [checkpoint]
    lock = locks.lock_path(root, "lite", "fashion", "glf", "seed-0")
    lock.parent.mkdir(parents=True)
    with mock.patch.object(clean, "abandoned", lambda *args: listed), FileLock(lock):  # it began after the listing
        assert list(clean.delete(root, kept, listed)) == [(listed[0], "its trial has started again")]
    assert checkpoint.exists()
    assert list(clean.delete(root, kept, listed)) == [(listed[0], "")] and not checkpoint.exists()


@pytest.mark.parametrize(
    "damage",
    [{"key": OTHER}, {"weights_sha256": "f" * 64}, {"weights_sha256": None}, {"key": "x"}, {"weights_sha256": 3}],
)
def test_a_damaged_key_or_sha256_never_leads_to_a_deletion(bench: Bench, kept: Path, damage: dict[str, Any]) -> None:
    weight = weights(kept)
    trial(bench, **damage)
    bench("clean", "--yes", "--weights", str(kept))
    assert weight.exists()


def test_older_weights_are_kept_while_a_record_without_sha256_lacks_its_own(bench: Bench, kept: Path) -> None:
    weight = weights(kept, sha256="")
    for key, exists in ((KEY, True), (OTHER, True)):
        (path,) = records.put(bench.folder / "results", records.make(key=key))
        assert bench("clean", "--yes", "--weights", str(kept)).code == 0 and weight.exists() == exists
    records.put(bench.folder / "results", records.make(key=OTHER, weights_sha256=SHA))
    assert bench("clean", "--yes", "--weights", str(kept)).code == 0 and not weight.exists()
    assert path.exists()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_folder_that_is_a_link_is_entered(bench: Bench, kept: Path, depth: int) -> None:
    trial(bench)
    weight = weights(kept)
    folder = bench.folder.joinpath("results", *("lite", "fashion", "glf")[:depth])
    elsewhere = bench.folder / "scratch"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    (elsewhere / "again").symlink_to(elsewhere)  # a loop, entered once
    ended = bench("clean", "--yes", "--weights", str(kept))
    assert ended.code == 0 and weight.exists() and "glf" in ended.out


def test_weights_of_records_kept_aside_hidden_or_deeply_nested_are_kept(bench: Bench, kept: Path) -> None:
    trial(bench, key=OTHER, weights_sha256="a" * 64)
    for number, place in enumerate(
        ("lite/fashion/glf/seed-0/record.x.1.json", ".old/record.json", "a/b/c/d/e/f/record.json")
    ):
        path = bench.folder / "results" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records.make(key=f"{number}" * 16, weights_sha256=SHA)))
    named = [weights(kept, f"{number}" * 16, "f" * 64) for number in range(3)]
    assert bench("clean", "--yes", "--weights", str(kept)).code == 0
    assert all(path.exists() for path in named)


@contextlib.contextmanager
def forbid(folder: Path) -> Iterator[None]:
    """Context in which this folder cannot be listed."""
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied")
        return real(path)

    with mock.patch.object(os, "scandir", scandir):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lost+found", "lite/lost+found", "lite/fashion/lost+found"])
def test_a_folder_that_cannot_be_listed_stops_only_clean(bench: Bench, kept: Path, name: str) -> None:
    checkpoint = trial(bench)
    folder = Path("results", name)
    (bench.folder / folder).mkdir()
    with forbid(folder):
        ended = bench("clean", "--yes")
        assert (ended.code, ended.err) == (2, f"aegen-bench: cannot list {folder}: Permission denied\n")
        report = bench("report")
        assert report.code == 0 and "674.1" in report.out
        assert f"cannot list {folder}" in report.out + report.err
        assert bench("list", "trials", "--profile", "lite").code == 0
        assert bench("merge", "results", "--results", "merged").code == 1
    assert checkpoint.exists()


def test_clean_keeps_weights_that_may_belong_to_other_results_and_says_so(bench: Bench, kept: Path) -> None:
    (bench.folder / "results").mkdir()
    weight = weights(kept)
    ended = bench("clean", "--yes")
    assert ended.code == 0 and weight.exists() and f"add --weights {kept}" in ended.out


def test_clean_ignores_a_link_or_fifo_among_the_weights(bench: Bench, kept: Path) -> None:
    (bench.folder / "results").mkdir()
    (kept / f"{KEY}.safetensors").symlink_to("/dev/zero")
    os.mkfifo(kept / f"{OTHER}.safetensors")
    assert bench("clean", "--yes", "--weights", str(kept)).out == "nothing to clean\n"


def test_a_corrupt_record_anywhere_stops_clean(bench: Bench, kept: Path) -> None:
    trial(bench).with_name("record.old.json").write_text("{")
    with pytest.raises(UserError, match=r"record\.old\.json is not a record"):
        clean.abandoned(bench.folder / "results", kept)
    assert list(store.every_record(bench.folder / "results", skip=mock.Mock()))
