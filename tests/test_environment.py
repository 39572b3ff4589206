"""The environment of a trial: device, threads, and freed memory, kept while the trial runs and returned afterwards."""

from __future__ import annotations

import ctypes
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
import warm

from aegen_bench import environment
from aegen_bench.errors import UserError
from aegen_bench.numerics import tuning

LARGE = 48 * 2**20  # above 32 MB, from which malloc by default returns each freed block to the system at once
PAGE = resource.getpagesize()


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def fill() -> None:
    torch.ones(LARGE // 4)


def measure(path: Path) -> None:
    """Write the page faults of one `fill` after many, outside and inside `keeping_memory`, and the bytes returned when
    it ends.
    """

    def again() -> int:
        for _ in range(40):  # it takes several calls until each reuses the memory of an earlier one
            fill()
        before = faults()
        fill()
        return faults() - before

    usual = again()
    with tuning.keeping_memory():
        kept, held = again(), resident()
    path.write_text(json.dumps([usual, kept, held - resident()]))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_freed_large_blocks_are_reused_and_returned_at_the_end(tmp_path: Path) -> None:
    """Measure in a new process, like that of a trial: in this one, a thousand earlier tests have filled the heap."""
    warm.run(measure, tmp_path / "pages.json")
    usual, kept, given_back = json.loads((tmp_path / "pages.json").read_text())
    assert usual > 0.9 * LARGE / PAGE and kept < 0.1 * usual
    assert given_back > 0.9 * LARGE


def test_keeping_memory_does_nothing_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: None) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with tuning.keeping_memory():
        fill()


def test_cuda_is_initialised_before_peak_memory_of_an_indexed_device_is_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    monkeypatch.setattr(torch.cuda, "init", lambda: called.append("init"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: called.append(f"reset {device}"))
    environment.reset_peak_memory(torch.device("cuda:1"))
    assert called == ["init", "reset cuda:1"]


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"device": "CPU, 2 threads", "products": "oneDNN"}, "CPU, 2 threads, oneDNN"),
        ({"device": "H200", "trials_at_once": 1, "graphs": True}, "H200"),
        ({"device": "H200", "trials_at_once": 2, "graphs": False}, "H200, 2 trials at once, no CUDA graphs"),
        ({}, ""),
    ],
)
def test_times_are_labelled_with_the_device_and_settings_that_change_them(described: dict[str, Any], said: str) -> None:
    assert environment.timed_on(described) == said


def test_auto_says_why_it_takes_the_cpu_or_that_there_are_more_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert environment.about_auto() == f"device: cpu, because torch {torch.__version__} is built without CUDA"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    said = environment.about_auto()
    assert "finds no GPU that its CUDA 13.0 can use" in said and said.endswith(", and mps is not supported")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for count, said in ((1, ""), (2, "device: cuda:0, one of 2 GPUs; --devices cuda:0,cuda:1 uses all")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert environment.about_auto() == said


@pytest.mark.parametrize(("name", "why"), [("mps", "it has no float64"), ("xpu", "it was never tried")])
def test_other_accelerators_are_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(UserError, match=f"--device {name}: not supported: {why}.*; use auto, cpu, cuda or cuda:N"):
        environment.pick_device(name)


def test_gpu_memory_kept_by_torch_is_released_after_each_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: called.append("emptied"))
    with pytest.raises(KeyboardInterrupt), tuning.keeping_memory():
        assert called == []
        raise KeyboardInterrupt
    assert called == ["emptied"]


# ---- threads ----------------------------------------------------------------------------------------------------


def stat(idle: dict[int, int], busy: dict[int, int]) -> str:
    return "cpu  1 2 3\n" + "".join(f"cpu{n} {busy[n]} 0 0 {idle[n]} 0 0 0 0 0 0\n" for n in idle) + "intr 5\n"


@pytest.mark.parametrize(("busy", "threads"), [((0, 0, 0, 0), 4), ((9, 9, 0, 1), 2), ((9, 9, 9, 9), 1)])
def test_a_run_uses_one_thread_per_idle_processor_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: tuple[int, ...], threads: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    path, before, notes = tmp_path / "stat", torch.get_num_threads(), list[str]()
    path.write_text(stat(dict.fromkeys(range(4), 100), dict.fromkeys(range(4), 100)))

    def wait(seconds: float) -> None:
        path.write_text(stat({n: 110 - b for n, b in enumerate(busy)}, {n: 100 + b for n, b in enumerate(busy)}))

    monkeypatch.setattr(environment.time, "sleep", wait)
    with environment.on_free_processors(notes.append, path) as chosen:
        assert chosen == threads == torch.get_num_threads()
    assert torch.get_num_threads() == before
    assert len(notes) == (threads < 4) and all(f"{4 - threads} of 4 processors are busy" in note for note in notes)


def test_omp_num_threads_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with environment.on_free_processors(pytest.fail) as chosen:
        assert chosen == torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_all_processors_are_used_if_their_load_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    with environment.on_free_processors(pytest.fail, tmp_path / "none") as chosen:
        assert chosen == 4
