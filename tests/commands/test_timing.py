"""`aegen-bench time`."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Bench

from aegen_bench import environment
from aegen_bench.results import timings

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without other work."""
    monkeypatch.setattr(environment, "free_processors", lambda: None)


def test_a_row_is_timed_and_only_its_times_are_kept(bench: Bench) -> None:
    ended = bench("time", "--profile", "tiny", "--models", "vae", "--epochs", "2")
    assert ended.code == 0 and "vae on digits: train " in ended.out
    [(_, found)] = timings.read(bench.folder / "results", "tiny")
    stage = found.stages["train"]
    assert len(stage.seconds) in (1, 2) and min(stage.seconds) > 0 and found.sample > 0
    assert found.about["rule"] == "mean of 2 epochs after 1 that warms up" and found.peak_memory
    assert [path.name for path in (bench.folder / "results").iterdir()] == ["times"]


def test_a_pair_is_timed_with_its_trunk_which_is_timed_once(bench: Bench) -> None:
    rows = "glf_two_step,ae+gaussian,ae+gmm"
    ended = bench("time", "--profile", "tiny", "--models", rows, "--epochs", "2", "--set", "stages.*.epochs=4")
    assert ended.code == 0 and ended.out.count("ae on digits: train ") == 1, ended
    found = {one.row: one for _, one in timings.read(bench.folder / "results", asked(bench))}
    assert found.keys() == {"ae", *rows.split(",")} and len({one.id for one in found.values()}) == 1
    trunk, flow = found["ae"], found["glf_two_step"]
    assert [*flow.stages] == ["train", "prior"] and flow.stages["train"] == trunk.stages["train"]
    assert flow.training > trunk.training + 4 * flow.stages["prior"].pace > trunk.training
    assert flow.sample > 0 and flow.extract > trunk.extract
    for row in ("ae+gaussian", "ae+gmm"):
        assert found[row].stages == trunk.stages and found[row].fit > 0
    assert "glf_two_step on digits: train " in ended.out and ", prior " in ended.out


def asked(bench: Bench) -> str:
    """Return the folder's name, which is the profile with its `--set`."""
    (folder,) = (bench.folder / "results" / "times").iterdir()
    return folder.name


def test_a_broken_row_is_named_and_the_exit_code_says_so(bench: Bench) -> None:
    bench.baseline("broken", "import\n")
    ended = bench("time", "--profile", "tiny", "--models", "broken")
    assert ended.code == 1 and ended.out.startswith("broken: broken: ")


def test_a_pair_whose_trunk_cannot_be_timed_is_not_timed(bench: Bench) -> None:
    source = (Path(__file__).parents[2] / "baselines" / "ae.py").read_text()
    bench.baseline(
        "bad", source.replace("self.recon(self.decoder(z), x)}", "self.recon(self.decoder(z), x) * float('nan')}")
    )
    bench.declare(rows={"mine": {"trunk": "bad", "prior": "flow"}})
    ended = bench("time", "--profile", "tiny", "--models", "mine")
    assert ended.code == 1 and "mine on digits: not timed, because its trunk, bad, was not\n" in ended.out
    assert not (bench.folder / "results").exists()


def test_timing_is_refused_while_other_work_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import joblib

    monkeypatch.setattr(environment, "free_processors", lambda: joblib.cpu_count() - 1)
    ended = bench("time", "--profile", "tiny", "--models", "vae")
    assert ended.code == 2 and "busy with other work" in ended.err and "--anyway" in ended.err
    assert not (bench.folder / "results").exists()
