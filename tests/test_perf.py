"""The scripts in perf/ and experiments/: each has a --help, and the cheap ones run."""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import warm

from aegen_bench import weights

pytestmark = pytest.mark.slow

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
    """A function that runs a script in this process and returns what it prints."""

    def run(name: str, *options: str) -> str:
        for folder in ("perf", "experiments"):
            monkeypatch.syspath_prepend(str(ROOT / folder))
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
        monkeypatch.setattr(weights, "load", weights.load)  # to restore it, since whole_paper replaces it
        try:
            runpy.run_path(str(ROOT / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            assert not end.code
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_help_of_each_script_says_how_to_call_it(name: str, script: Script) -> None:
    said = " ".join(script(name, "--help").split())
    assert f"python {name}.py" in said and "usage:" in said


def test_the_table_of_whole_paper_matches_a_count_of_flops_by_hand(script: Script) -> None:
    said = script("perf/whole_paper", "--quick", "--models", "vae,rae_gmm")
    # A VAE trains for 200 epochs of 234 steps of 256 images. A multiply-add counts as 2 FLOPs, and there are three
    # passes, except through the first layer.
    assert re.search(r"^\| vae \| 1\.88 \|$", said, re.M) and re.search(r"^\| rae_gmm \| 0\.94 \|$", said, re.M)
    assert "calculated, not measured" in said and "20 trials (10 seeds): training 28 PFLOP" in said


def test_the_second_stage_is_compared_with_a_bare_loop_over_the_same_losses(script: Script) -> None:
    said = script("perf/second_stage", "--steps", "10", "--rounds", "2", "--batch", "16")
    (line,) = re.findall(r"^\| [\d,]+ \| [\d,]+ \| ([\d.]+) \([\d.]+, [\d.]+\) \|$", said, re.M)
    assert 0.1 < float(line) < 10


def check(folder: Path, options: tuple[str, ...], broken: str) -> None:
    """Run `perf/gpu.py` and write what it prints to `folder`/said. A section named by `broken` ends its process."""
    import gpu

    if broken:
        gpu.SECTIONS[broken] = (lambda quick: os._exit(3), 15)
    os.chdir(folder)
    with Path("said").open("wb") as said:
        os.dup2(said.fileno(), 1)
    sys.argv = ["gpu.py", "--quick", "--rehearse", *options]
    gpu.main()


def checked(folder: Path, *options: str, broken: str = "") -> list[dict[str, Any]]:
    """Return the lines that the GPU check prints on an emulated device."""
    warm.run(check, folder, options, broken)
    return [json.loads(line) for line in (folder / "said").read_text().splitlines()]


def test_the_gpu_check_completes_on_an_emulated_device(tmp_path: Path) -> None:
    """Run every section, so that the check works once there is a GPU. Only those that need a real one are skipped."""
    lines = checked(tmp_path, "--out", "gpu.json")
    by_section: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_section.setdefault(line["section"], []).append(line)
    skipped = {name for name, found in by_section.items() if "skipped" in found[0]}
    assert skipped == {"kernels", "sharing", "two_processes", "compiling"}
    for name in set(by_section) - skipped:
        *found, end = by_section[name]
        assert found and end["ended"], name
        assert not any({"failed", "error"} & set(line) for line in found), found
        assert all(line.get("ok", True) for line in found), found
    (of_glf,) = (line for line in by_section["equality"] if "replayed" in line)
    assert of_glf["replayed"] and of_glf["repeated"] and of_glf["not captured"] == []
    written = (tmp_path / "gpu.json").read_text().splitlines()
    assert [json.loads(line) for line in written] == [line for line in lines if line["section"] not in skipped]


def test_a_section_of_the_gpu_check_that_dies_affects_no_other(tmp_path: Path) -> None:
    first, *rest = checked(tmp_path, "--only", "machine,checkpoint", broken="machine")
    assert first == {"section": "machine", "failed": "ended with 3"}
    assert rest[-1]["section"] == "checkpoint" and rest[-1]["ended"]
