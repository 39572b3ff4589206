"""The report on a fixed set of records in every format, compared with golden files: numbers and structure exactly, and
in machine-readable formats to nine digits. The notes under the tables are compared in one place, notes.md.

`PYTHONPATH=tests/support python tests/report/test_golden.py` rewrites the golden files; look at them before you commit
them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records import ended, evaluation, make, put, stage, timing

from aegen_bench import report
from aegen_bench.results import timings

HERE = Path(__file__).parents[1]
GOLDEN = HERE / "report" / "golden"
PROTOCOL = {
    "name": "lite",
    "extractor": "efficientnet_lite0",
    "describe": "Protocol aaaaaaaaaaaa: EfficientNet-Lite0 at 224 px.",
    "real_sha256": "c867c93ff953" + "0" * 52,
}
FORMATS = {
    "markdown": "tables.md",
    "latex": "tables.tex",
    "csv": "tables.csv",
    "json": "tables.json",
    "html": "report.html",
}


FILES = (*FORMATS.values(), "notes.md")
NOTES = {
    "tables.md": r"^- .*\n",
    "tables.tex": r"^\\par\\smallskip\\begin\{minipage\}.*?\\end\{minipage\}\n",
    "tables.json": r'^  "notes": \[.*?\],\n',
    "report.html": r'^<ul class="notes">.*?</ul>\n',
}
"""The notes in each format, which are not compared because notes.md has them."""


def trials(dataset: str, row: str, *distances: float, f8: float = 0.9, **fields: Any) -> Iterator[dict[str, Any]]:
    """Yield one trial per distance, with two draws: one below it and one above."""
    for seed, distance in enumerate(distances):
        draws = [{"fd": distance + gap, "f8": f8 - 0.01 * seed, "f1_8": f8 - 0.1} for gap in (-1.0, 1.0)]
        record = make(dataset=dataset, row=row, seed=seed, metrics={"aaaaaaaaaaaa": evaluation(draws, PROTOCOL)})
        yield record | fields


def records() -> list[dict[str, Any]]:
    """Return rows that lead, follow, diverged, failed, collapsed, are stale or marked, on two datasets with a floor."""
    two = {
        "stages": {
            "first": {"epochs": 40},
            "second": {"steps": 9},
        },
        "config": make()["config"] | {"stages": {"first": {"epochs": 40}, "second": {"steps": 9}}},
        "layers": {"encoder": "Conv 1->64", "second_encoder": "FC1024, ReLU, FC1024, ReLU"},
    }
    marked = make()["config"] | {"dagger": ["efficientnet_lite0"]}
    return [
        *trials("fashion", "vae", 1300.0, 1352.2, 1387.0, f8=0.4),
        *trials("fashion", "rae_gmm", 661.0, 675.0, 683.0, f8=0.82),
        *trials("fashion", "glf", 690.0, 701.0, 738.0, f8=0.80),
        *trials("fashion", "glf_perceptual", 569.0, 571.0, config=marked),
        *trials("fashion", "two_stage_vae", 692.1, **two),
        *trials("fashion", "my_row", 700.0, 1900.0, collapsed=True),
        ended("diverged", row="my_row", seed=2),
        ended("diverged", row="wae_gan"),
        ended("failed", row="aae", environment={}),
        *trials("mnist", "vae", 300.0, 310.0, f8=0.5),
        *trials("mnist", "glf", 101.0, 99.0),
        *trials("fashion", "floor", 32.7, profile="anchors"),
        *trials("mnist", "floor", 10.0, profile="anchors"),
        *trials("fashion", "ceiling", 3844.2, f8=0.1, profile="anchors"),
    ]


def written(folder: Path) -> Path:
    """Make the report of the records and return the folder of its files, with all notes in notes.md."""
    put(folder / "results", *records())
    two = {"first": stage(26.0, 26.8, epochs=40), "second": stage(5.2, epochs=9)}
    for one in (timing("glf", 28.0, 29.0), timing("rae_gmm", 25.0, 26.0), timing("two_stage_vae", stages=two)):
        timings.write(folder / "results", one)
    made = report.make(
        folder / "results",
        [name for name in report.EVERY if name != "scores"],
        profile="lite",
        planned=[(dataset, row) for dataset in ("mnist", "fashion") for row in ("vae", "wae_gan", "rae_gmm", "glf")],
        no_data=["celeba"],
        stale=lambda _: {("lite", "fashion", "glf")},
    )
    made.write(folder / "out", list(FORMATS))
    notes = [line for table in made.chapters[0].tables for line in ("", f"# {table.name}", *table.notes)]
    (folder / "out/lite/notes.md").write_text("\n".join([*notes[1:], ""]), encoding="utf-8")
    return folder / "out" / "lite"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", FILES)
def test_the_report_on_fixed_records_equals_the_golden_files(folder: Path, name: str) -> None:
    ours, golden = ((where / name).read_text(encoding="utf-8") for where in (folder, GOLDEN))
    assert _comparable(ours, name) == golden


def _comparable(text: str, name: str) -> str:
    """Return the text that is compared: without notes, and without style and script of the page. Long fractions are
    rounded to nine digits, because another processor may sum the last ones differently.
    """
    if name in NOTES:
        flags = re.M | (re.S if name != "tables.md" else re.M)
        text, found = re.subn(NOTES[name], "", text, flags=flags)
        assert found
    text = re.sub(r" --results \S+/results", "", text)  # commands name a temporary folder
    text = re.sub(r"(<(style|script)>).*?(</\2>)", r"\1\3", text, flags=re.S)
    return re.sub(r"-?\d+\.\d{9,}(e-?\d+)?", lambda number: f"{float(number[0]):.9g}", text)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_latex_compiles_as_written(folder: Path) -> None:
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log and "Underfull \\hbox" not in log and "too large" not in log


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        made = written(Path(name))
        for file in FILES:
            said = _comparable((made / file).read_text(encoding="utf-8"), file)
            (GOLDEN / file).write_text(said, encoding="utf-8")
