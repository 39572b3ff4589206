"""Resuming: however a trial is interrupted, it finishes with the same numbers as an undisturbed one."""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import small_grid
import torch
import warm
from conftest import Bench

from aegen_bench import files
from aegen_bench.errors import Stopped, UserError
from aegen_bench.numerics import tuning
from aegen_bench.training import checkpoint
from aegen_bench.training.checkpoint import Checkpoints
from aegen_bench.training.optimizers import Optimizers
from aegen_bench.training.stopping import HASTE, Interrupts, seconds

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_tables")]

RUN = ("run", "--profile", "tiny", "--models", "glf", "--checkpoint-every", "0.00001")  # saves after each step


# ---- killed -----------------------------------------------------------------------------------------------------


def dying(folder: Path, row: str, looks: int, target: str, calls: int) -> None:
    """Train `row`, save a checkpoint at the `looks`-th look at the clock, and die by SIGKILL at the `calls`-th call of
    the function `target`.
    """
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(f"aegen_bench.{module}")
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, left, looked = getattr(owner, name), itertools.count(1), itertools.count(1)

    def counted(*args: Any, **kwargs: Any) -> Any:
        meant = name != "replace" or "checkpoint" in str(args[0])
        if meant and next(left) == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, counted)
    Interrupts.due = lambda self, epoch_over=False: next(looked) == looks  # type: ignore[method-assign]
    small_grid.command(folder, "--models", row)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that returns what a resumed trial of a row must have in common with an undisturbed one."""
    folder = small_grid.prepare(tmp_path_factory.mktemp("alone") / "work")

    @cache
    def of(row: str) -> dict[str, Any]:
        small_grid.begin(folder, row).join()
        return small_grid.essence(folder, row)

    return of


# An epoch has 4 steps. Training looks at the clock after each step and at the end of the epoch.
@pytest.mark.parametrize(
    ("row", "looks", "target", "calls"),
    [
        ("vae", 7, "training.optimizers:Optimizers.update", 8),  # one stage, within its second epoch
        ("vae", 5, "training.optimizers:Optimizers.update", 8),  # between two epochs
        ("two_stage_vae", 18, "training.optimizers:Optimizers.update", 18),  # within its second stage, on codes
        ("two_stage_vae", 12, "training.loop:extract", 1),  # between stages
        ("glann", 22, "training.optimizers:Optimizers.update", 20),  # a buffer not in state_dict; fresh optimizers
        ("wae_gan", 22, "training.optimizers:Optimizers.update", 26),  # between the two updates of a step
        ("rae_gmm", 12, "training.loop:_fit", 1),
        ("vae", 3, "files:os.replace", 1),  # while writing the checkpoint
        ("vae", 3, "evaluation.scorer:Scorer.score", 1),
    ],
)
def test_a_killed_trial_ends_like_an_undisturbed_one(
    row: str, looks: int, target: str, calls: int, alone: Any, tmp_path: Path
) -> None:
    folder = small_grid.prepare(tmp_path / "work")
    process = warm.Process(target=dying, args=(folder, row, looks, target, calls))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    small_grid.begin(folder, row).join()
    resumed = small_grid.RESUMED.findall((folder / "log").read_text())
    assert len(resumed) == (target not in ("files:os.replace", "evaluation.scorer:Scorer.score"))
    assert small_grid.essence(folder, row) == alone(row)


# ---- stopped, out of time, out of space; in this process --------------------------------------------------------


@pytest.fixture
def one(bench: Bench) -> Iterator[Bench]:
    """The bench with SIGINT enabled: a shell starts background jobs with SIGINT ignored, which the program respects."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    bench.declare(profiles=bench.tiny(models=["glf"], stages={"*": {"epochs": 2, "batch": 64, "lr_at": {}}}))
    yield bench
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = Bench(tmp_path_factory.mktemp("undisturbed") / "work", tmp_path_factory.mktemp("data"))
    made.folder.mkdir()
    made.declare(profiles=made.tiny(models=["glf"], stages={"*": {"epochs": 2, "batch": 64, "lr_at": {}}}))
    assert made(*RUN[:5]).code == 0
    return outcome(made)


def outcome(bench: Bench) -> dict[str, Any]:
    record = bench.record("glf")
    assert record["status"] == "ok" and checkpoint.paths(bench.trial("glf")) == []
    (entry,) = record["metrics"].values()
    return {"weights": record["weights_sha256"], "draws": entry["draws"], "model": entry["model"]}


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int, *signals: int) -> None:
    """Send signals to this process during the step that makes update number `at`; 0 is a pause instead of a signal."""
    original, count = Optimizers.update, [0]

    def update(self: Optimizers, *args: Any) -> None:
        original(self, *args)
        count[0] += 1
        if count[0] == at:
            for number in signals:
                if number:
                    os.kill(os.getpid(), number)
                else:
                    time.sleep(HASTE)

    monkeypatch.setattr(Optimizers, "update", update)


@pytest.mark.parametrize(
    ("signals", "code", "after"),
    [
        ([signal.SIGINT], 130, "0 epochs and 3 steps"),
        ([signal.SIGTERM], 143, "0 epochs and 3 steps"),
        ([signal.SIGHUP], 129, "0 epochs and 3 steps"),  # what terminals and batch systems send as a warning
        ([signal.SIGUSR1], 138, "0 epochs and 3 steps"),
        ([signal.SIGUSR2], 140, "0 epochs and 3 steps"),
        ([signal.SIGTERM, signal.SIGTERM], 143, "0 epochs and 3 steps"),  # to a process and its group: they count once
        ([signal.SIGINT, 0, signal.SIGINT], 130, None),  # in a hurry: nothing is saved
    ],
)
def test_a_signal_saves_and_stops(
    one: Bench, monkeypatch: pytest.MonkeyPatch, undisturbed: Any, signals: list[int], code: int, after: str | None
) -> None:
    before = signal.getsignal(signal.SIGINT)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup, which the program respects
    try:
        with monkeypatch.context() as patch:
            interrupt(patch, 3, *signals)
            ended = one(*RUN[:5])
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert ended.code == code and signal.getsignal(signal.SIGINT) is before
    (told,) = [line for line in ended.err.splitlines() if line.startswith("aegen-bench: ")]
    assert "the same command resumes" in told
    again = one(*RUN[:5])
    assert ("resume: glf on digits, seed 0" in again.out) == (after is not None)
    assert after is None or f"resumes after stage 1, {after} from its checkpoint" in again.err
    assert outcome(one) == undisturbed


def test_a_trial_out_of_time_is_recorded_and_resumes_only_when_asked(one: Bench, undisturbed: Any) -> None:
    ended = one(*RUN[:5], "--time-limit", "0.0001s")
    assert ended.code == 1 and "time limit: " in ended.out
    record = one.record("glf")
    assert record["status"] == "timeout" and "after 0 epochs and 1 steps" in record["reason"]
    assert len(checkpoint.paths(one.trial("glf"))) == 1
    assert "--retry timeout`\n" in one(*RUN[:5], "--dry-run", "--no-forecast").out
    assert one.record("glf") == record, "it is not retried unless asked"
    again = one(*RUN[:5], "--retry", "diverged,timeout")
    assert again.code == 0 and "retry: glf on digits, seed 0: " in again.out
    assert outcome(one) == undisturbed
    assert "did you mean 'timeout'" in one(*RUN[:5], "--retry", "timeouts").err


def test_a_full_disk_costs_the_checkpoint_but_not_the_trial(
    one: Bench, monkeypatch: pytest.MonkeyPatch, undisturbed: Any
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise UserError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    ended = one(*RUN)
    assert ended.code == 0 and "warning: no checkpoint: cannot write " in ended.err
    assert outcome(one) == undisturbed


def test_a_full_disk_while_recording_prints_one_line_and_the_next_run_resumes(
    one: Bench, monkeypatch: pytest.MonkeyPatch, undisturbed: Any
) -> None:
    original = os.fsync

    def full(descriptor: int) -> None:
        if "checkpoint" not in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        ended = one(*RUN)
    assert ended.code == 2 and ended.err.count("aegen-bench: cannot write ") == 1 and "Traceback" not in ended.err
    left = {path.name.partition("-")[0] for path in one.trial("glf").iterdir()}
    assert left == {"checkpoint", "log.txt"}, "no unfinished file is left"
    assert one(*RUN[:5]).code == 0
    assert outcome(one) == undisturbed


# ---- which checkpoint is used -----------------------------------------------------------------------------------


def saved(one: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stop a trial in its first epoch, after three saved steps, and return its checkpoints."""
    with monkeypatch.context() as patch:
        interrupt(patch, 3, signal.SIGINT)
        assert one(*RUN).code == 130
    found = checkpoint.paths(one.trial("glf"))
    assert len(found) == 2, "the last two are kept"
    return found


def test_the_previous_checkpoint_is_used_if_the_last_is_damaged(
    one: Bench, monkeypatch: pytest.MonkeyPatch, undisturbed: Any
) -> None:
    _, newest = saved(one, monkeypatch)
    newest.write_bytes(newest.read_bytes()[:-100])
    ended = one(*RUN[:5])
    assert f"{newest.name} is not used, because it cannot be read" in ended.err
    assert "resumes after stage 1, 0 epochs and 2 steps" in ended.err
    assert outcome(one) == undisturbed


def test_a_checkpoint_of_another_torch_is_not_used(
    one: Bench, monkeypatch: pytest.MonkeyPatch, undisturbed: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9")
        saved(one, monkeypatch)
    ended = one(*RUN[:5])
    assert ended.err.count("is not used, because it was made with another torch") == 1
    assert "resumes after" not in ended.err and outcome(one) == undisturbed


def test_a_checkpoint_of_a_cpu_that_uses_another_library_for_linear_layers_is_not_used(
    one: Bench, monkeypatch: pytest.MonkeyPatch, undisturbed: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tuning, "library", lambda: "another")
        saved(one, monkeypatch)
    ended = one(*RUN[:5])
    assert ended.err.count("is not used, because it was made with another library of products") == 1
    assert "resumes after" not in ended.err and outcome(one) == undisturbed


def test_a_resumed_trial_uses_the_threads_of_its_checkpoint_and_adds_up_its_seconds(
    one: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(one, monkeypatch)
    threads = torch.get_num_threads()
    before = Checkpoints(one.trial("glf")).read()
    assert before and before["threads"] == threads and before["elapsed"] > 0
    torch.set_num_threads(threads + 1)
    try:
        assert one(*RUN[:5]).code == 0
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert one.record("glf")["environment"]["threads"] == threads
    first = json.loads((one.trial("glf") / "history.json").read_text())["epochs"][0]
    assert first["seconds"] > before["elapsed"] and first["images"] == 256


# ---- when a trial is saved -------------------------------------------------------------------------------------


def test_a_trial_is_saved_by_the_clock_at_epochs_or_at_a_signal() -> None:
    by_epoch = Interrupts(every=0)
    by_epoch.start(0.0)
    assert not by_epoch.due() and by_epoch.due(epoch_over=True)
    by_clock = Interrupts(every=300)
    by_clock.start(0.0)
    assert not by_clock.due() and not by_clock.due(epoch_over=True)
    by_clock.signal = signal.SIGTERM
    assert by_clock.due()
    with pytest.raises(Stopped) as stopped:
        by_clock.go_on(0.0, "here")
    assert stopped.value.code == 143


def test_times_on_the_command_line() -> None:
    assert [seconds("--time-limit", text) for text in ("3h", "90m", "1h30m", "0.5s")] == [10800, 5400, 5400, 0.5]
    for text in ("3", "h", "3 h", "3x", ""):
        with pytest.raises(UserError, match="expected a time such as 3h"):
            seconds("--time-limit", text)
