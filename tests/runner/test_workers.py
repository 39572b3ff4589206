"""Concurrent trials: in worker processes, and in several runs that share a results folder."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import threadpoolctl
import torch
from conftest import Bench
from loopback import until
from methods import SLOW
from rich.console import Console

from aegen_bench.progress import Board, Progress, left
from aegen_bench.results import locks
from aegen_bench.runner import execution, running, workers
from aegen_bench.runner.planning import plan
from aegen_bench.runner.single_trial import Outcome
from aegen_bench.study import Study
from aegen_bench.training.stopping import Interrupts
from aegen_bench.trial import lifecycle
from aegen_bench.trial.job import Place

pytestmark = pytest.mark.slow

RUN = ("run", "--profile", "tiny")
HOLD = "import sys, time; from pathlib import Path; from aegen_bench.results import locks\n"
HOLD += "with locks.claim(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
DIES = """
import os, signal
from torch import nn
from aegen_bench.baseline import Baseline

class Dies(Baseline):
    '''Kills its process in its first step.'''

    def __init__(self, nets):
        super().__init__(nets)
        self.decoder = nets.decoder()

    def decode(self, z):
        return self.decoder(z)

    def step(self, x, index):
        os.kill(os.getpid(), signal.SIGKILL)
        yield
"""
DIES_LATE = """
import os, signal
from pathlib import Path
from aegen_bench.baseline import Baseline

class Dies(Baseline):
    "Kills its process when it draws samples of a trial that has been recorded."

    def __init__(self, nets):
        super().__init__(nets)
        self.decoder = nets.decoder()

    def prior(self, e):
        if Path(os.environ.get("DIES_AFTER", "never")).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return e

    def decode(self, z):
        return self.decoder(z)

    def step(self, x, index):
        yield "model", {"reconstruction": self.recon(self.decoder(self.randn(len(x), self.nets.d)), x)}
"""


def test_the_lock_of_a_living_process_holds_and_that_of_a_killed_one_does_not(tmp_path: Path) -> None:
    path = locks.lock_path(tmp_path, "tiny", "digits", "glf", "seed-0")
    other = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    with locks.claim(path) as mine:
        assert mine is None
    ((names, note),) = locks.held(tmp_path)
    assert names == ("tiny", "digits", "glf", "seed-0")
    assert (note["pid"], note["host"]) == (other.pid, locks.HOST) and note["start"] <= time.time()
    assert not locks.abandoned(path)
    other.kill()
    other.communicate()
    assert locks.abandoned(path) and list(locks.held(tmp_path)) == []
    with locks.claim(path) as mine:
        assert mine is not None and locks.whose(path)["pid"] == os.getpid()
    assert not locks.abandoned(path)


def test_a_killed_worker_is_recorded_and_does_not_stop_others(bench: Bench) -> None:
    bench.baseline("dies", DIES)
    bench.declare(profiles=bench.tiny(models=["vae", "dies", "glf"]))
    process = bench.start(*RUN, "--jobs", "2")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert "dies on digits, seed 0: failed: killed (out of memory?)" in err
    dead = bench.record("dies")
    assert (dead["status"], dead["reason"]) == ("failed", "killed (out of memory?)")
    assert bench.record("vae")["status"] == bench.record("glf")["status"] == "ok"
    assert "ended: " in out and "2 ok" in out and "1 failed" in out
    assert bench.record("vae")["environment"]["threads"] == 1
    assert "train: epoch 1/1" in (bench.trial("glf") / "log.txt").read_text()


def test_a_worker_killed_in_evaluation_leaves_a_trained_trial_that_the_next_run_evaluates(bench: Bench) -> None:
    bench.baseline("dies", DIES_LATE)
    bench.declare(profiles=bench.tiny(models=["dies", "vae"]))
    process = bench.start(*RUN, "--jobs", "2", DIES_AFTER=str(bench.trial("dies") / "record.json"))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1 and "1 ok" in out and "1 evaluation failed" in out, err
    assert "dies on digits, seed 0: evaluation failed: killed (out of memory?)" in err
    trained = bench.record("dies")
    assert (trained["status"], trained["metrics"]) == ("ok", {}) and bench.record("vae")["metrics"]
    again = bench(*RUN)
    assert again.code == 0 and "to score: dies on digits, seed 0" in again.out
    record = bench.record("dies")
    assert record["metrics"] and record["weights_sha256"] == trained["weights_sha256"]


def test_two_runs_at_once_do_not_repeat_a_trial(bench: Bench) -> None:
    bench.declare(profiles=bench.tiny(models=["vae", "glf"], seeds=2))
    two = [bench.start(*RUN) for _ in range(2)]
    told = [process.communicate(timeout=300) for process in two]
    assert [process.returncode for process in two] == [0, 0], told
    ended = [line for _, err in told for line in err.splitlines() if line.endswith(" s")]
    trained = [line for line in ended if "another process did it" not in line]
    assert len(trained) == 4, told
    assert "tiny: 4 trials: 4 done" in bench(*RUN).out
    for row in ("vae", "glf"):
        assert len(list(bench.trial(row).glob("record*.json"))) == 1


def test_ctrl_c_stops_the_workers_which_save_and_the_same_command_resumes_them(bench: Bench) -> None:
    bench.baseline("slow", SLOW)
    (bench.folder / "hold").touch()
    bench.declare(profiles=bench.tiny(models=["slow"], seeds=2, stages={"*": {"epochs": 2, "batch": 64, "lr_at": {}}}))
    command = *RUN, "--jobs", "2", "--checkpoint-every", "0.00001"
    process = bench.start(*command)
    until(lambda: all(list(bench.trial("slow", seed).glob("checkpoint-*.pt")) for seed in (0, 1)))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command resumes from there" in err
    assert list(locks.held(bench.folder / "results")) == [], "nothing is still running"
    (bench.folder / "hold").unlink()
    ended = bench(*command)
    assert ended.code == 0 and ended.out.count("resume: slow on digits, seed") == 2
    assert [bench.record("slow", seed)["status"] for seed in (0, 1)] == ["ok", "ok"]


def test_a_run_waits_for_a_device_that_another_run_uses(bench: Bench) -> None:
    bench.declare(profiles=bench.tiny(models=["vae"]))
    with locks.claim(locks.lock_path(bench.folder / "results", ".devices", locks.HOST, "cpu-0")):
        process = bench.start(*RUN, "--devices", "cpu")
        assert process.stderr
        too_long = threading.Timer(60, process.kill)
        too_long.start()
        assert any("waiting for cpu, held by" in line for line in process.stderr)
        too_long.cancel()
        assert not bench.trial("vae").exists()
    assert process.communicate(timeout=60) and process.returncode == 0
    assert bench.record("vae")["status"] == "ok"


def test_a_job_without_a_record_and_one_that_never_ended_are_not_good(bench: Bench) -> None:
    """As if a worker had lost them: its executor says that one is done, and nothing of the other."""
    study = Study("tiny", local=bench.folder, data=bench.data)
    place = Place(bench.data, bench.folder / "results", bench.data / "weights")
    jobs = plan(study, study.trials(["vae", "glf"], ["digits"], [0]), place)

    def loses(jobs: Any, show: Any) -> Iterator[tuple[Any, Outcome]]:
        yield jobs[0], Outcome("ok", "ok")

    ended = execution.run(study, jobs, Progress(), {}, Interrupts(), loses, "cpu")
    assert ended.outcomes == {"not recorded": 1, "not run": 1} and not ended.good


@pytest.mark.parametrize(
    ("done", "shares", "expected"), [(0, [], None), (1, [0.5, 0.5], 100.0), (2, [], 100.0), (4, [], None)]
)
def test_the_time_left_follows_from_the_pace_so_far(done: int, shares: list[float], expected: float | None) -> None:
    assert left(100.0, done, shares, 4) == expected


def test_a_running_trial_is_shown_in_another_terminal_and_on_the_board(bench: Bench) -> None:
    root = bench.folder / "results"
    with locks.claim(locks.lock_path(root, "tiny", "digits", "glf", "seed-0")) as mine:
        assert mine is not None
        mine.tell(stage="train", epoch=1, epochs=3, loss=2.5, rate=100.0, left=65.0, share=0.4)
        listed = bench("list", "--trials", "--profile", "tiny").out
        board = Board(lambda: running(root), Console(file=io.StringIO()))
        board.grid(2, 4)
        console = Console(width=100, file=io.StringIO())
        console.print(board.render())
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        board.close()
    told = "glf on digits, seed 0: train: epoch 1/3, loss 2.5, 100 images/s, 1:05 left"
    assert f"  running: {told}, process {os.getpid()} on {locks.HOST}\n" in listed and "models:" not in listed
    assert shown.splitlines()[0].startswith("2 of 4 trials done, 1 running, ")
    assert re.search(r"  glf on digits, seed 0 +train: epoch 1/3 +loss 2.5, 100 images/s +1:05 left", shown)
    assert "running:" not in bench("list", "--trials", "--profile", "tiny").out


def test_after_a_device_fails_every_call_the_other_trials_get_a_new_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_usable", lambda device: False)
    bench.declare(profiles=bench.tiny(models=["vae", "glf"]))
    ended = bench(*RUN)
    assert ended.code == 0 and "cpu fails every call since [1/2] vae on digits, seed 0: the others run in" in ended.err
    assert bench.record("vae")["status"] == bench.record("glf")["status"] == "ok"


def test_a_worker_limits_the_blas_of_numpy_and_scipy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.linalg  # noqa: F401, which brings its own BLAS

    def numbers() -> set[int]:
        return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}

    monkeypatch.setattr(workers.signal, "signal", lambda *args: None)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(1):
        assert numbers() == {1}
        workers._begin(2)
        try:
            assert numbers() == {2} and torch.get_num_threads() == 2 and os.environ["OPENBLAS_NUM_THREADS"] == "2"
        finally:
            torch.set_num_threads(before)


def test_only_cuda_is_asked_whether_it_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(device: torch.device) -> None:
        raise torch.AcceleratorError("an illegal memory access was encountered", 700)

    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    assert workers._usable(torch.device("cpu")) and not workers._usable(torch.device("cuda:0"))


def test_a_gpu_that_a_trial_left_unusable_does_not_stop_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed assertion in a kernel, every CUDA call fails, including the one that frees memory."""
    calls = []

    def broken() -> None:
        calls.append(1)
        raise torch.AcceleratorError("CUDA error: device-side assert triggered", 710)

    monkeypatch.setattr(torch.cuda, "empty_cache", broken)
    bench.declare(profiles=bench.tiny(models=["vae", "glf"]))
    assert bench(*RUN).code == 0 and calls
    assert bench.record("vae")["status"] == bench.record("glf")["status"] == "ok"


def test_the_hint_for_a_full_gpu_mentions_other_work_on_it() -> None:
    trial = SimpleNamespace(label="glf on digits, seed 0", config={"stages": {"train": {"batch": 64}}})
    alone, shared = (
        lifecycle.out_of_memory(SimpleNamespace(trial=trial, device=torch.device(device)))  # type: ignore[arg-type]
        for device in ("cpu", "cuda:0")
    )
    assert (
        alone == "out of memory: glf on digits, seed 0, batch {'train': 64}; lower it with --set 'stages.*.batch=...'"
    )
    assert shared == f"{alone}, or keep cuda:0 free of other work (fewer --jobs-per-device, no other run)"
