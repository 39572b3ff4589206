"""Tools for authors of methods: `new`, `check`, and methods in external packages."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Bench
from test_cli import refused

from aegen_bench.study import Study

ROOT = Path(__file__).parents[2]
OWN = """# my study
datasets:
  digits:   # smaller than shipped
    recipe: {source: digits}
    d: 4

rows:
    slow:   # four columns, a comment at the end

        baseline: vae
        stages:
            train: {epochs: 3}   # three
        # and nothing else

# after the rows
groups:
  mine: [slow]
"""


@pytest.fixture
def empty(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "work", tmp_path / "data")
    made.folder.mkdir()
    return made


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# ---- new ---------------------------------------------------------------------------------------------


def test_new_writes_a_method_and_nothing_else(empty: Bench) -> None:
    ended = empty("new", "my_model")
    assert ended.code == 0 and "aegen-bench check my_model" in ended.out
    assert files(empty.folder) == {"baselines/my_model.py"}
    assert "class MyModel(Baseline):" in (empty.folder / "baselines/my_model.py").read_text()
    assert re.search(r"^  my_model +An auto-encoder whose codes", empty("list", "models").out, re.M)


@pytest.mark.slow
def test_a_new_method_keeps_the_contract_and_trains_as_it_is(bench: Bench) -> None:
    assert bench("new", "my_model").code == 0
    checked = bench("check", "my_model")
    assert (checked.code, checked.out, checked.err) == (0, "my_model keeps the contract\n", "")
    ended = bench("run", "--profile", "tiny", "--models", "my_model")
    assert ended.code == 0 and bench.record("my_model")["status"] == "ok"


def test_the_command_that_new_suggests_does_what_it_says(empty: Bench) -> None:
    told = empty("new", "my_model", "--data", str(empty.data / "a b")).out
    (suggested,) = re.findall(r"`aegen-bench (run .*)`", told)
    planned = empty(*shlex.split(suggested), "--dry-run", "--no-forecast")
    assert "smoke: 2 trials: 2 to train\n" in planned.out and "my_model" in planned.out


@pytest.mark.slow
@pytest.mark.parametrize("tool", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_a_new_method_passes_lint_and_type_checks(empty: Bench, tool: list[str]) -> None:
    """Uses the project's own settings; mypy caches what it learns about torch in the checkout, as in `make lint`."""
    pytest.importorskip(tool[0])
    empty("new", "my_model")
    path = empty.folder / "baselines" / "my_model.py"
    settings = ["--config", str(ROOT / "pyproject.toml")] if tool[0] == "ruff" else []
    done = subprocess.run(
        [sys.executable, "-m", *tool, *settings, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("glf", "'glf' is taken: "),
        ("slow", "'slow' is taken: it is a row of benchmarks.yaml"),
        ("all", "'all' is taken: it is a group of benchmarks.yaml"),
        ("my-model", "'my-model' cannot name a baseline: use letters, digits and underscores"),
        ("2vae", "'2vae' cannot name"),
        ("_mine", "'_mine' cannot name"),
        ("class", "'class' cannot name"),
        ("none", "'none' cannot name"),
        ("naïve", "'naïve' cannot name"),
        ("../glf", "'../glf' cannot name"),
        ("", "'' cannot name"),
        ("baseline", "its class Baseline would hide an imported one of that name"),
        ("odd", "odd.py is a baseline of this name"),
    ],
)
def test_taken_and_invalid_names_are_refused_in_one_line(empty: Bench, name: str, said: str) -> None:
    (empty.folder / "benchmarks.yaml").write_text(OWN)
    empty.baseline("odd", "broken (")
    refused(empty("new", name), said)
    assert files(empty.folder) == {"baselines/odd.py", "benchmarks.yaml"}
    assert (empty.folder / "benchmarks.yaml").read_text() == OWN


@pytest.mark.parametrize("text", [OWN, "rows: {slow: {baseline: vae}}\n", ""], ids=["rows", "in braces", "nothing"])
def test_new_leaves_benchmarks_yaml_unchanged(empty: Bench, text: str) -> None:
    (empty.folder / "benchmarks.yaml").write_text(text)
    assert empty("new", "first").code == 0
    assert (empty.folder / "benchmarks.yaml").read_text() == text
    assert "first" in Study("paper", local=empty.folder, data=empty.data).rows


# ---- check -------------------------------------------------------------------------------------------


def test_check_prints_one_line_per_problem_and_exits_with_1(bench: Bench) -> None:
    bench("new", "mine")
    path = bench.folder / "baselines" / "mine.py"
    path.write_text(path.read_text().replace("return self.decoder(z)", "return 2 * self.decoder(z)"))
    ended = bench("check", "mine")
    assert ended.code == 1 and ended.err == ""
    assert all("images must be in [0, 1]" in line for line in ended.out.splitlines()) and ended.out
    path.write_text("class Mine(Baseline) oh\n")
    assert bench("check", "mine").code == 1
    assert "baselines/mine.py: invalid syntax" in bench("check", "mine").out


@pytest.mark.slow
def test_check_uses_the_arguments_of_a_row_and_refuses_unknown_ones(bench: Bench) -> None:
    rows = {
        "mild": {"baseline": "vae", "with": {"beta": 2}},
        "odd": {"baseline": "vae", "on": {"digits": {"with": {}}}},
    }
    bench.declare(rows=rows)
    assert bench("check", "mild").out == "mild keeps the contract\n"
    rows["odd"]["on"]["digits"]["with"] = {"betta": 2}  # type: ignore[index]
    bench.declare(rows=rows)
    ended = bench("check", "odd")
    told = "row odd of benchmarks.yaml: unknown argument of vae 'betta': did you mean 'beta'? (there are: beta)\n"
    assert (ended.code, ended.out) == (1, told)


def test_an_unknown_name_is_refused_with_the_nearest_existing_one(bench: Bench) -> None:
    refused(bench("check", "gfl"), "unknown model or prior 'gfl': did you mean 'glf'?")


@pytest.mark.slow
def test_check_notes_what_replaces_something_shipped(bench: Bench) -> None:
    path = bench.baseline("vae", (ROOT / "baselines" / "vae.py").read_text() + "\n\nX = 1\n")
    bench.declare(rows={"vae": {"with": {"beta": 2}}})
    ended = bench("check", "vae")
    assert ended.code == 0
    first, second, last = ended.out.splitlines()
    assert first.startswith("note: ") and path.name in first and str(ROOT / "baselines" / "vae.py") in first
    assert second.startswith("note: the row vae of ") and last == "vae keeps the contract"
