"""Trials on dask workers on the loopback interface: distribution, takeover from a lost worker, and refusals."""

from __future__ import annotations

import dataclasses
import runpy
import signal
import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Bench
from dask.utils import parse_timedelta
from loopback import PATIENCE, Dask, scheduler, until
from methods import SLOW

from aegen_bench.errors import UserError
from aegen_bench.results import locks
from aegen_bench.runner import cluster as engine
from aegen_bench.runner import worker_check
from aegen_bench.runner.planning import plan
from aegen_bench.study import Study
from aegen_bench.trial.job import Job, Place

pytestmark = pytest.mark.cluster

RUN = ("run", "--profile", "tiny", "--models", "slow", "--checkpoint-every", "0.00001")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    with scheduler(tmp_path_factory.mktemp("dask")) as started:
        yield started


@pytest.fixture
def slow(bench: Bench) -> Bench:
    """A grid of one trial of 8 steps, which pauses in its third step until `go_on` is called."""
    bench.baseline("slow", SLOW)
    (bench.folder / "hold").touch()
    bench.declare(profiles=bench.tiny(models=["slow"], stages={"*": {"epochs": 2, "batch": 64, "lr_at": {}}}))
    return bench


def half_done(bench: Bench) -> dict[str, Any]:
    """Wait until the trial has a checkpoint, and return the note of its lock, which names the process that runs it."""
    until(lambda: list(bench.trial("slow").glob("checkpoint-*.pt")))
    return locks.whose(locks.lock_path(bench.folder / "results", "tiny", "digits", "slow", "seed-0"))


def go_on(bench: Bench) -> None:
    (bench.folder / "hold").unlink()


def essence(bench: Bench) -> dict[str, Any]:
    """Return what the trial must have in common with an undisturbed one."""
    record = bench.record("slow")
    assert record["status"] == "ok" and list(bench.trial("slow").glob("checkpoint*")) == []
    (entry,) = record["metrics"].values()
    return {"weights": record["weights_sha256"], "draws": entry["draws"], "threads": record["environment"]["threads"]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = Bench(tmp_path_factory.mktemp("alone") / "work", tmp_path_factory.mktemp("data"))
    made.folder.mkdir()
    made.baseline("slow", SLOW)
    made.declare(profiles=made.tiny(models=["slow"], stages={"*": {"epochs": 2, "batch": 64, "lr_at": {}}}))
    assert made.process(*RUN, OMP_NUM_THREADS="1").code == 0
    return essence(made)


def test_a_grid_is_shared_by_two_workers(bench: Bench, cluster: Dask) -> None:
    cluster.workers(2)
    bench.declare(profiles=bench.tiny(models=["vae", "glf"], seeds=2))
    process = bench.start("run", "--profile", "tiny", "--cluster", cluster.address, OMP_NUM_THREADS="1")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "ended: 4 ok" in out and err.count(f": run on cpu of {socket.gethostname()}") == 4
    for row in ("vae", "glf"):
        assert {bench.record(row, seed)["environment"]["threads"] for seed in (0, 1)} == {1}
    assert "train: epoch 1/1" in (bench.trial("glf", 1) / "log.txt").read_text()
    assert {path.suffix for path in (bench.folder / "results" / ".locks").iterdir()} == {""}, "no mark is left"


def test_pairs_are_shared_by_two_workers_and_their_trunk_is_trained_once(bench: Bench, cluster: Dask) -> None:
    cluster.workers(2)
    pairs = ["rae+normal", "rae+gaussian", "rae+flow"]
    process = bench.start(
        "run", "--profile", "tiny", "--models", ",".join(pairs), "--cluster", cluster.address, OMP_NUM_THREADS="1"
    )
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "1 trunk, 3 pairs; each trunk is trained once\n" in out and "ended: 4 ok" in out
    assert (bench.trial("rae") / "log.txt").read_text().count("train: epoch 1/1") == 1
    trunk = bench.record("rae")
    for row in pairs:
        assert bench.record(row)["trunk"] == {"key": trunk["key"], "weights_sha256": trunk["weights_sha256"]}


@pytest.mark.parametrize("how", ["killed", "told to leave"])
def test_another_worker_takes_over_the_trial_of_one_that_is_gone(
    slow: Bench, cluster: Dask, undisturbed: dict[str, Any], how: str
) -> None:
    cluster.workers(2)
    process = slow.start(*RUN, "--cluster", cluster.address)
    worker = cluster.parent_of(half_done(slow)["pid"])
    if how == "killed":
        worker.kill()
    else:
        nanny = cluster.parent_of(worker.pid, nanny=True)
        nanny.terminate()
        nanny.wait(PATIENCE)
    go_on(slow)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "ended: 1 ok" in out, err
    assert err.count("[1/1] slow on digits, seed 0: run on cpu") == 2
    assert (slow.trial("slow") / "log.txt").read_text().count("from its checkpoint, on 1 threads") == 1
    assert essence(slow) == undisturbed


def test_a_late_worker_that_dies_and_is_restarted_by_its_nanny_finishes_the_trial_alone(
    slow: Bench, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    with scheduler(tmp_path) as alone:
        process = slow.start(*RUN, "--cluster", alone.address)
        assert process.stderr is not None
        assert process.stderr.readline().endswith("has no worker yet: waiting for the first\n")
        alone.workers(1)
        alone.parent_of(half_done(slow)["pid"]).kill()
        go_on(slow)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "ended: 1 ok" in out, err
    assert essence(slow) == undisturbed


def test_ctrl_c_saves_the_trials_of_the_workers_and_the_same_command_resumes_them(
    slow: Bench, cluster: Dask, undisturbed: dict[str, Any]
) -> None:
    cluster.workers(1)
    process = slow.start(*RUN, "--cluster", cluster.address)
    half_done(slow)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "the same command resumes from there" in err
    assert list(locks.held(slow.folder / "results")) == [], "nothing is still running"
    go_on(slow)
    ended = slow.process(*RUN, "--cluster", cluster.address)
    assert ended.code == 0 and "resume: slow on digits, seed 0" in ended.out
    assert essence(slow) == undisturbed


def test_the_workers_of_the_slurm_script_leave_ten_minutes_before_their_jobs_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", types.SimpleNamespace(SLURMCluster=None))
    script = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "slurm.py"))
    hours, minutes, seconds = map(int, script["WALLTIME"].split(":"))
    lifetime = parse_timedelta(script["LIFETIME"])  # as `dask worker --lifetime` reads it
    assert (hours * 60 + minutes) * 60 + seconds - lifetime == 600


# ---- what is refused, in one line, before anything starts -------------------------------------------------------


def refused(bench: Bench, *args: str) -> str:
    ended = bench("run", "--profile", "tiny", *args)
    (line,) = [line for line in ended.err.splitlines() if line.startswith("aegen-bench: ")]
    assert ended.code == 2 and "Traceback" not in ended.err and not bench.trial("vae").exists()
    return line


def test_an_address_without_a_scheduler(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECTING", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        line = refused(bench, "--cluster", address)
    assert line.startswith(f"aegen-bench: --cluster {address}: no dask scheduler answers there; start one with `dask ")
    assert "no dask scheduler answers there" in refused(bench, "--cluster", "udp://nowhere")


def test_without_dask(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "aegen_bench.runner.cluster")
    line = refused(bench, "--cluster", "tcp://127.0.0.1:8786")
    assert line.endswith("--cluster needs distributed: pip install 'aegen-bench[cluster]'")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--cluster", "tcp://127.0.0.1:8786", "--jobs", "2"], "a worker runs one trial at a time"),
        (["--cluster", "tcp://127.0.0.1:8786", "--devices", "cuda:0"], "a worker runs one trial at a time"),
        (["--cluster", "tcp://127.0.0.1:8786", "--resources", "GPU"], "expected resources as for dask, such as GPU=1"),
        (["--cluster", "tcp://127.0.0.1:8786", "--jobs-per-device", "2"], "a worker runs one trial at a time"),
        (["--resources", "GPU=1"], "--resources needs --cluster"),
        (["--jobs-per-device", "3"], "--jobs-per-device needs --devices"),
        (["--devices", "cpu", "--jobs", "2"], "--jobs 2: the devices have room for 1"),
    ],
)
def test_options_that_do_not_go_together(bench: Bench, options: list[str], told: str) -> None:
    assert told in refused(bench, *options)
    if "GPU" not in options:  # resources are read only when a connection is made
        assert told in refused(bench, "--dry-run", "--no-forecast", *options)


def test_resources_that_no_worker_has(bench: Bench, cluster: Dask) -> None:
    cluster.workers(1)
    line = refused(bench, "--cluster", cluster.address, "--resources", "GPU=1")
    assert line.endswith("has GPU=1: `dask worker --resources GPU=1 ...`")


def test_a_worker_with_other_code(bench: Bench, cluster: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.workers(1)
    monkeypatch.setattr(worker_check, "CODE", "0123456789ab")
    line = refused(bench, "--cluster", cluster.address)
    assert "is not used: aegen-bench: version 0.1.0 with code " in line
    assert line.endswith("with code 0123456789ab where the run was started")


def test_a_worker_without_aegen_bench(bench: Bench, tmp_path: Path) -> None:
    with scheduler(tmp_path) as bare:
        bare.start("worker", "--no-nanny", without="aegen_bench")
        bare.wait_for(1)
        line = refused(bench, "--cluster", bare.address)
    assert (
        line.startswith("aegen-bench: a dask worker cannot load aegen-bench: ") and "No module named 'aegen_b" in line
    )
    assert line.endswith("; install the same there")


def test_a_device_that_a_worker_lacks(bench: Bench, cluster: Dask) -> None:
    cluster.workers(1)
    assert "is not used: --device cuda:7: " in refused(bench, "--cluster", cluster.address, "--device", "cuda:7")


@pytest.fixture
def jobs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs of the profile `tiny`, as the runner hands them to an engine."""
    given: list[Job] = []

    def execute(self: engine.Cluster, jobs: list[Job], show: Any) -> Iterator[Any]:
        given.extend(jobs)
        return iter(())

    monkeypatch.setattr(engine.Cluster, "execute", execute)
    bench("run", "--profile", "tiny", "--cluster", "tcp://127.0.0.1:8786")
    return [dataclasses.replace(job, place=dataclasses.replace(job.place, results=bench.folder)) for job in given]


def test_a_worker_must_see_the_same_files_and_versions_as_the_run(bench: Bench, jobs: list[Job]) -> None:
    assert len(jobs) == 3
    with worker_check.WorkerCheck.of("this-run", jobs) as mine:
        assert mine.check() == []
        elsewhere = dataclasses.replace(mine, run="on-another-disk")
        with pytest.raises(UserError, match=rf"the folder {bench.folder}: not there on .*, there where the run was"):
            elsewhere.check()
        for name in ("aegen-bench", "torch", "Python", f"digits (test) in {bench.data}"):
            other = dataclasses.replace(mine, seen={**mine.seen, name: "other"})
            with pytest.raises(UserError, match=r", other where the run was started$") as told:
                other.check()
            assert str(told.value).startswith(f"{name}: ")
        models = [name for name in mine.seen if name.startswith("the model ")]
        assert len(models) == 3 and all(mine.seen[name] for name in models)
    assert not any((bench.folder / ".locks").glob("this-run*"))


def test_a_worker_must_see_the_same_prior_and_trunk_of_a_pair_as_the_run(bench: Bench) -> None:
    study = Study("tiny", local=bench.folder, data=bench.data)
    place = Place(bench.data, bench.folder / "results", bench.data / "weights")
    pair = plan(study, study.trials(["rae+flow"], ["digits"], [0]), place)[-1]
    with worker_check.WorkerCheck.of("this-run", [pair]) as mine:
        models = {name: code for name, code in mine.seen.items() if name.startswith("the model ")}
    assert {Path(name).stem: code for name, code in models.items()} == {
        "flow": study.priors["flow"].code,
        "rae": study.entries["rae"].code,
    }


def test_a_worker_that_sees_no_locks_of_others_gives_a_warning(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker_check.WorkerCheck.of("this-run", jobs) as mine:
        monkeypatch.setattr(locks, "taken", lambda path: False)
        assert all("do not work across machines" in warning for warning in mine.check()) and len(mine.check()) == 2


def test_a_lost_scheduler_is_reported_in_one_line_and_its_workers_save(slow: Bench, cluster: Dask) -> None:
    cluster.workers(1)
    process = slow.start(*RUN, "--cluster", cluster.address)
    half_done(slow)
    cluster.processes[0].kill()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2 and "Traceback" not in err
    assert (
        f"aegen-bench: the dask scheduler at {cluster.address} is gone; finished trials are kept, and the same" in err
    )
    until(lambda: list(locks.held(slow.folder / "results")) == [])
    assert list(slow.trial("slow").glob("checkpoint-*.pt")) and not (slow.trial("slow") / "record.json").exists()
