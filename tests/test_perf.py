"""The scripts of perf/ and experiments/: each says what it answers, and the cheap ones do so."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aegen_bench import weights

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix()
    for folder in ("perf", "experiments")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text()
)
Script = Callable[..., str]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Runs a script in this process and returns what it prints."""

    def run(name: str, *options: str) -> str:
        for folder in ("perf", "experiments"):
            monkeypatch.syspath_prepend(str(ROOT / folder))
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
        monkeypatch.setattr(weights, "load", weights.load)  # which whole_paper replaces
        try:
            runpy.run_path(str(ROOT / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            assert not end.code
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_says_what_it_measures_and_how_it_is_called(name: str, script: Script) -> None:
    said = " ".join(script(name, "--help").split())
    assert f"python {name}.py" in said and "usage:" in said


def test_the_whole_papers_table_has_what_the_count_says(script: Script) -> None:
    said = script("perf/whole_paper", "--quick", "--models", "vae,rae_gmm")
    # A VAE takes 200 epochs of 234 steps of 256 images; 2 FLOPs a multiply-add, three passes but for the first layer's.
    assert re.search(r"^\| vae \| 1\.88 \|$", said, re.M) and re.search(r"^\| rae_gmm \| 0\.94 \|$", said, re.M)
    assert "calculated, not measured" in said and "20 trials (10 seeds): training 28 PFLOP" in said


def test_the_second_stage_is_compared_with_a_loop_of_the_same_losses(script: Script) -> None:
    said = script("perf/second_stage", "--quick", "--steps", "3")
    (line,) = re.findall(r"^\| [\d,]+ \| [\d,]+ \| ([\d.]+) \([\d.]+, [\d.]+\) \|$", said, re.M)
    assert 0.1 < float(line) < 10
