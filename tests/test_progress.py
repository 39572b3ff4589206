"""The progress display: numbers of a trial, its phases, and the remaining time."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from conftest import Bench

from aegen_bench import progress
from aegen_bench.progress import Lines, facts


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def in_training(clock: list[float], after: dict[str, float]) -> progress._Counting:
    """Return the progress of a trial two seconds, and two of ten steps, into the first of five epochs."""
    counting = progress._Counting()
    counting.expect(after)
    counting.stage("train", epochs=5, steps=10, batch=64)
    for _ in range(2):
        counting.step()
    clock[0] += 2.0
    return counting


def test_no_loss_is_shown_before_there_is_one(clock: list[float]) -> None:
    counting = in_training(clock, {})
    assert facts(counting.facts()) == "train: epoch 0/5, 64 images/s, 0:08 left of train"
    counting.epoch(1, 25.125)
    assert facts(counting.facts()) == "train: epoch 1/5, loss 25.12, 64 images/s, 0:08 left of train"


def test_the_time_left_includes_what_follows_training_if_that_is_known(clock: list[float]) -> None:
    counting = in_training(clock, {"train": 30.0})
    told = counting.facts()
    assert facts(told) == "train: epoch 0/5, 64 images/s, 0:38 left"
    assert told["share"] == pytest.approx(2 / 40)
    for _ in range(8):
        counting.step()
    clock[0] += 8.0
    assert counting.facts()["left"] == pytest.approx(30.0), "the time left should not jump when scoring starts"
    counting.phase("scoring with protocol lite")
    told = counting.facts()
    assert facts(told) == "scoring with protocol lite, 0:30 left" and told["share"] == pytest.approx(10 / 40)
    clock[0] += 20.0
    counting.phase("scoring with protocol paper")
    assert facts(counting.facts()) == "scoring with protocol paper, 0:10 left"
    clock[0] += 60.0
    assert facts(counting.facts()) == "scoring with protocol paper", "past the expected end, no time should be shown"


def test_a_new_trial_forgets_the_expected_end_of_the_one_before(clock: list[float]) -> None:
    counting = in_training(clock, {"train": 60.0})
    counting.phase("scoring A")
    counting.expect({})
    counting.phase("scoring B")
    assert counting.facts()["left"] is None and facts(counting.facts()) == "scoring B"


def test_closed_standard_streams_count_as_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with progress.forgiving_output():
        assert progress.terminal_width(sys.stdout) is None
        assert isinstance(progress.watch(), Lines)


def test_scoring_shows_no_time_left_if_it_is_unknown(clock: list[float]) -> None:
    counting = in_training(clock, {})
    counting.phase("scoring with protocol lite")
    assert facts(counting.facts()) == "scoring with protocol lite"


def test_other_processes_see_the_phase_with_its_count(clock: list[float]) -> None:
    told: list[dict[str, object]] = []
    telling = progress._Telling(lambda **figures: told.append(figures))
    telling.expect({"train": 30.0})
    telling.stage("train", epochs=1, steps=1, batch=64)
    telling.step()
    telling.phase("scoring with protocol lite")
    clock[0] += 5.0
    telling.count("draw 1", 3000, 10_000)
    assert facts(told[-1]) == "scoring with protocol lite: draw 1: 3,000 of 10,000, 0:25 left"


@pytest.mark.slow
def test_every_trial_shows_its_phases_and_logs_them(bench: Bench) -> None:
    bench.declare(profiles=bench.tiny(models=["glf"], seeds=2))
    ended = bench("run", "--profile", "tiny")
    assert ended.code == 0 and "nan" not in ended.err and "0:00 left" not in ended.err
    for phase in ("train: epoch 1/1, loss ", "drawing artefacts", "scoring with protocol tiny"):
        assert ended.err.count(phase) == 2
        assert phase in (bench.trial("glf") / "log.txt").read_text()


@pytest.mark.slow
def test_the_time_after_each_stage_is_known_from_finished_trials(bench: Bench, tmp_path: Path) -> None:
    from aegen_bench.runner import single_trial
    from aegen_bench.study import Study
    from aegen_bench.trial.job import Job, Place

    bench.declare(profiles=bench.tiny(models=["two_stage_vae", "vae"], seeds=1))
    study = Study("tiny", local=bench.folder, data=bench.data)
    place = Place(bench.data, bench.folder / "results", bench.data / "weights")

    def after(row: str) -> dict[str, float]:
        (trial,) = study.trials([row], ["digits"], [5])
        return single_trial._seconds_after(Job(trial, study.entry(row), [], 1, place))

    assert after("two_stage_vae") == {}
    assert bench("run", "--profile", "tiny", "--models", "vae").code == 0
    first, second = study.entry("two_stage_vae").stages
    assert set(after("two_stage_vae")) == {second}, "the duration of its second stage should not be known yet"
    assert bench("run", "--profile", "tiny", "--models", "two_stage_vae").code == 0
    known, seconds = after("two_stage_vae"), bench.record("two_stage_vae")["stages"][second]["seconds"]
    assert known[first] == pytest.approx(known[second] + seconds)


def test_lines_have_a_timestamp(capsys: pytest.CaptureFixture[str]) -> None:
    Lines("glf").note("begins")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  glf: begins\n", capsys.readouterr().err)


def test_a_note_names_its_trial_only_once(capsys: pytest.CaptureFixture[str]) -> None:
    Lines("glf on digits, seed 0").note("glf on digits, seed 0: resumes after 4 epochs")
    assert capsys.readouterr().err.count("glf on digits") == 1


def test_notes_contain_no_terminal_control_codes(capsys: pytest.CaptureFixture[str]) -> None:
    progress.Lines().note("failed: \x1b]0;title\x07\x1b[31mred\x9b0m")
    assert capsys.readouterr().err.endswith("  failed: red0m\n")
