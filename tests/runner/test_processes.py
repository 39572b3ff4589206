"""The surroundings of a run: terminal, folder, environment and machine resources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Bench

from aegen_bench import progress

pytestmark = pytest.mark.slow

RUN = ("run", "--profile", "tiny")


# ---- lost output does no harm -----------------------------------------------------------------------------------


@pytest.fixture
def one(bench: Bench) -> Bench:
    bench.declare(profiles=bench.tiny(models=["vae"]))
    return bench


@pytest.mark.parametrize(("sink", "jobs"), [("full", "1"), ("pipe", "2")])
def test_a_broken_output_costs_no_trial(one: Bench, sink: str, jobs: str) -> None:
    """The output is a full disk (ENOSPC), or a pipe whose reader is gone (EPIPE)."""
    if sink == "full":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, out = os.pipe()
        os.close(reader)
    try:
        command = [sys.executable, "-m", "aegen_bench", *RUN, "--jobs", jobs]
        env = {**os.environ, "AEGEN_BENCH_DATA": str(one.data)}
        ended = subprocess.run(command, cwd=one.folder, env=env, stdout=out, stderr=out, timeout=300, check=False)
    finally:
        os.close(out)
    assert ended.returncode == 0
    assert one.record("vae")["status"] == "ok" and one.record("vae")["metrics"]


def test_a_stream_that_fails_or_is_closed_is_given_up(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        stream = progress._Forgiving(full)
        assert stream.write("lost") == 4
        stream.flush()
        stream.write("into nowhere")
        stream.flush()
    stream.write("it is closed")
    stream.flush()
    progress._Forgiving(None).write("there is none")


def test_a_log_that_is_a_link_is_not_written_through(one: Bench) -> None:
    victim = one.folder / "victim"
    victim.write_text("mine")
    one.trial("vae").mkdir(parents=True)
    (one.trial("vae") / "log.txt").symlink_to(victim)
    assert one(*RUN).code == 0 and victim.read_text() == "mine"


# ---- workers start without the working folder on their path -----------------------------------------------------


def test_workers_import_nothing_from_the_working_folder(one: Bench) -> None:
    for name in ("pickle", "struct", "multiprocessing", "signal", "threading"):
        (one.folder / f"{name}.py").write_text(f"open('imported-{name}', 'w').close()\nraise SystemExit(3)\n")
    # Like the console script: without the working folder on the path, and with no variable that workers would inherit.
    env = {**os.environ, "AEGEN_BENCH_DATA": str(one.data), "PYTHONSAFEPATH": "1"}
    program = "import os; del os.environ['PYTHONSAFEPATH']; from aegen_bench.cli import main; main()"
    command = [sys.executable, "-c", program, *RUN, "--jobs", "2"]
    ended = subprocess.run(command, cwd=one.folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert list(one.folder.glob("imported-*")) == []


# ---- what is impossible is refused in one line ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "env", "told"),
    [
        (["--devices", "cpu:200"], {}, "--device cpu:200: the processors have no numbers; use cpu"),
        (["--jobs", "100000"], {}, "more than 1,024 trials at the same time"),
        (["--devices", "cpu", "--jobs-per-device", "100000"], {}, "more than 1,024 trials at the same time"),
        (["--jobs", "2"], {"OMP_NUM_THREADS": "0"}, "OMP_NUM_THREADS=0: expected a number of threads from 1 to 1024"),
        ([], {"OMP_NUM_THREADS": "many"}, "OMP_NUM_THREADS=many: expected a number of threads"),
    ],
)
def test_an_impossible_request_is_refused_in_one_line(
    one: Bench, monkeypatch: pytest.MonkeyPatch, options: list[str], env: dict[str, str], told: str
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    ended = one(*RUN, *options)
    (line,) = [line for line in ended.err.splitlines() if line]
    assert ended.code == 2 and line.startswith("aegen-bench: ") and told in line
    assert not one.trial("vae").exists()


@pytest.mark.parametrize(
    ("place", "way_out"), [("results", "name another with --results"), ("data", "--weights names")]
)
def test_the_error_for_an_unwritable_folder_names_the_way_out(one: Bench, place: str, way_out: str) -> None:
    blocked = one.folder / "results" if place == "results" else one.data / "weights"
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("a file")
    ended = one(*RUN)
    last = ended.err.splitlines()[-1]
    assert ended.code == 2 and "cannot write to the folder " in last and way_out in last


def test_a_cluster_whose_certificates_are_missing(one: Bench) -> None:
    pytest.importorskip("distributed")
    ended = one(*RUN, "--cluster", "tls://127.0.0.1:9")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("aegen-bench: ")]
    assert ended.code == 2 and "TypeError" not in line
    assert line.startswith("aegen-bench: --cluster tls://127.0.0.1:9: dask knows no certificates here: set distributed")


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"import os; os.rmdir({str(gone)!r}); from aegen_bench.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, "list"]
    ended = subprocess.run(command, cwd=gone, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "aegen-bench: the working directory no longer exists: change to one that does\n"
