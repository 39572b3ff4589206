"""Locks: their holders, messages while waiting, and file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import Bench

from aegen_bench import environment, files
from aegen_bench.errors import UserError
from aegen_bench.results import locks
from aegen_bench.runner import workers

HOLD = "import sys, time; from pathlib import Path; from aegen_bench.results import locks\n"
HOLD += "with locks.claim(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A lock that another process holds."""
    path = locks.lock_path(tmp_path, "thing")
    other = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    yield path
    other.kill()
    other.communicate()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EIO])
@pytest.mark.parametrize("travelled", [False, True], ids=["new", "with the locks of another machine"])
def test_a_file_system_without_locks_is_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int, travelled: bool
) -> None:
    if travelled:
        lock = locks.lock_path(bench.folder / "results", "tiny", "digits", "vae", "seed-0")
        lock.parent.mkdir(parents=True)
        lock.touch()

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    begin = time.monotonic()
    ended = bench("run", "--profile", "tiny", "--models", "vae")
    assert ended.code in (1, 2) and "Traceback" not in ended.err and "left to another run" not in ended.err
    assert f": {os.strerror(number)}: the file system of " in ended.err and "may have no locks" in ended.err
    assert time.monotonic() - begin < 300 and not (bench.trial("vae") / "record.json").exists()


@pytest.mark.slow
def test_commands_on_a_file_system_without_locks_never_wait_for_copied_lock_files(
    finished: Bench, tmp_path: Path
) -> None:
    """Make `flock` fail in libc itself, so that every lock is covered, including those of libraries and of records."""
    import no_flock
    from PIL import Image

    images = finished.folder / "images"
    images.mkdir()
    for number in range(64):
        Image.new("L", (8, 8), number).save(images / f"{number}.png")
    came_along = [finished.trial("vae", seed=1), finished.trial("vae")]
    for trial in came_along:
        lock = locks.lock_path(finished.folder / "results", *trial.parts[-4:])
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        note = {"host": "mars", "pid": 4711, "start": 0.0}
        lock.with_suffix(".json").write_text(json.dumps(note))
    (finished.trial("vae") / "record.lock").touch()
    (finished.folder / "results/external/digits/images/seed-0").mkdir(parents=True)
    (finished.folder / "results/external/digits/images/seed-0/record.lock").touch()
    asked = [
        (number, list(command))
        for number in (errno.ENOSYS, errno.ENOLCK, errno.EIO)
        for command in (
            ("run", "--profile", "tiny", "--models", "vae", "--seeds", "2"),
            ("evaluate", "images", "--dataset", "digits", "--protocol", "tiny"),
            ("evaluate", "--trial", str(finished.trial("vae")), "--protocol", "other"),
            ("clean", "--yes"),
            ("list", "--trials", "--profile", "tiny"),
            ("report", "--profile", "tiny"),
        )
    ]
    for (number, command), ended in zip(
        asked, no_flock.run(finished.folder, finished.data, no_flock.shim(tmp_path), asked), strict=True
    ):
        told = f"{command}: {ended}"
        assert float(str(ended["seconds"])) < 300, told
        if command[0] in ("list", "report"):
            assert ended["code"] == 0 and not ended["err"], told
            continue
        assert ended["code"] in (1, 2) and "left to another run" not in str(ended["err"]), told
        last = str(ended["err"]).splitlines()[-1]
        assert f": {os.strerror(number)}: the file system of " in last and "may have no locks" in last, told
    assert finished.record("vae")["status"] == "ok" and finished.weights("vae").is_file()


def test_waiting_too_long_for_a_lock_is_an_error_that_names_its_file(held: Path) -> None:
    with pytest.raises(UserError, match=f"{held} has been locked by another process for 0 minutes: wait for"):
        files.locked(held, wait=0.2).__enter__()


def test_a_claim_releases_its_lock_when_it_ends_though_somebody_still_refers_to_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquired = []

    def acquire(path: Path, wait: float) -> object:
        acquired.append(files.lock(path, wait))
        return acquired[-1]

    monkeypatch.setattr(locks, "lock", acquire)
    path = locks.lock_path(tmp_path, "thing")
    with pytest.raises(KeyError), locks.claim(path):
        assert acquired[0].is_locked
        raise KeyError
    assert not acquired[0].is_locked and not path.with_suffix(".json").exists()


def test_a_waiting_process_says_once_what_it_waits_for_and_who_holds_it(held: Path) -> None:
    said, entered = list[str](), threading.Event()
    pid = locks.whose(held)["pid"]

    def wait() -> None:
        with locks.wait_for(held, "cuda:0", said.append):
            entered.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not said:
        time.sleep(0.01)
    assert not entered.is_set() and said == [f"waiting for cuda:0, held by process {pid} on {locks.HOST}"]
    os.kill(pid, 9)
    waiting.join(60)
    assert entered.is_set() and len(said) == 1


def test_a_silent_holder_on_another_host_is_reported_with_what_to_do(tmp_path: Path) -> None:
    path = locks.lock_path(tmp_path, "thing")
    note = path.with_suffix(".json")
    note.parent.mkdir(parents=True)
    for host, age, told in ((locks.HOST, 3600, False), ("mars", 0, False), ("mars", 3600, True)):
        note.write_text(json.dumps({"host": host, "pid": 4711, "start": 0.0}))
        os.utime(note, (time.time() - age, time.time() - age))
        said = locks.holder(path)
        assert said.startswith(f"process 4711 on {host}")
        assert (f"(silent for 60 minutes; if it is dead, delete {path})" in said) == told


def test_a_gpu_is_locked_by_its_uuid_whatever_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"u{device.index}"))
    assert environment.identity("cuda:1") == "GPU-u1" and environment.identity("cpu") == "cpu"
    slots = workers.slots(None, ["cuda:0", "cuda:1"], 2, "cuda:0", 8)
    assert [slot.lock for slot in slots] == ["GPU-u0-0", "GPU-u1-0", "GPU-u0-1", "GPU-u1-1"]
    assert {slot.threads for slot in slots} == {2} and {slot.at_once for slot in slots} == {2}
    assert [slot.lock for slot in workers.slots(2, [], 1, "cuda:0", 3)] == ["", ""]
