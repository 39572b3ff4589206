"""The scripts of perf/: each says what it answers, and the cheap ones do so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path.stem for path in (ROOT / "perf").glob("*.py") if path.stem != "contest")


def script(name: str, *options: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, ROOT / "perf" / f"{name}.py", *options], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_says_what_it_measures_and_how_it_is_called(name: str) -> None:
    said = script(name, "--help")
    assert f"python perf/{name}.py" in said and "usage:" in said


def test_the_makefile_runs_the_short_form_of_every_script_that_has_one() -> None:
    quick = {name for name in SCRIPTS if '"--quick"' in (ROOT / "perf" / f"{name}.py").read_text()}
    quick |= {name for name in SCRIPTS if "options(__doc__" in (ROOT / "perf" / f"{name}.py").read_text()}
    made = subprocess.run(["make", "-n", "perf", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"perf/(\w+)\.py --quick", made)) == quick


def test_the_whole_papers_table_has_what_the_count_says() -> None:
    said = script("whole_paper", "--quick", "--models", "vae,rae_gmm")
    # A VAE takes 200 epochs of 234 steps of 256 images; 2 FLOPs a multiply-add, three passes but for the first layer's.
    assert re.search(r"^\| vae \| 1\.88 \|$", said, re.M) and re.search(r"^\| rae_gmm \| 0\.94 \|$", said, re.M)
    assert "calculated, not measured" in said and "20 trials (10 seeds): training 28 PFLOP" in said


def test_the_second_stage_is_compared_with_a_loop_of_the_same_losses() -> None:
    said = script("second_stage", "--quick", "--steps", "3")
    (line,) = re.findall(r"^\| [\d,]+ \| [\d,]+ \| ([\d.]+) \([\d.]+, [\d.]+\) \|$", said, re.M)
    assert 0.1 < float(line) < 10
