"""`aegen-bench time`."""

from __future__ import annotations

import pytest
from conftest import Bench

from aegen_bench import environment
from aegen_bench.results import timings

pytestmark = pytest.mark.slow


def test_a_row_is_timed_and_nothing_of_it_is_kept_but_its_times(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "free_processors", lambda: None)
    ended = bench("time", "--profile", "tiny", "--models", "vae", "--epochs", "2")
    assert ended.code == 0 and "vae on digits: train " in ended.out
    [found] = timings.read(bench.folder / "results", "tiny")
    stage = found.stages["train"]
    assert len(stage.seconds) in (1, 2) and min(stage.seconds) > 0 and found.sample > 0
    assert found.about["rule"] == "mean of 2 epochs after 1 that warms up" and found.peak_memory
    assert [path.name for path in (bench.folder / "results").iterdir()] == ["times"]


def test_beside_other_work_it_refuses(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import joblib

    monkeypatch.setattr(environment, "free_processors", lambda: joblib.cpu_count() - 1)
    ended = bench("time", "--profile", "tiny", "--models", "vae")
    assert ended.code == 2 and "busy with other work" in ended.err and "--anyway" in ended.err
    assert not (bench.folder / "results").exists()
