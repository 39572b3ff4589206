"""Fixtures: the program in a temporary folder, run in this process or in a new one, and one finished run."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer.main
import warm
import yaml

# Use one thread, however busy the machine is: a run chooses its number of threads by what is free, and results are
# bit-equal only for equal numbers of threads. The tests run in parallel instead.
os.environ.setdefault("OMP_NUM_THREADS", "1")
warm.fork_what_is_spawned()
gc.disable()  # while modules are imported; collecting garbage would make that take a third longer

# Typer builds its tree of commands from their signatures at each call, which takes longer than many of them.
typer.main.get_command = functools.cache(typer.main.get_command)

TINY = {
    "protocols": {
        "tiny": {"extractor": "random_conv", "count": 64, "metrics": ["fd", "reconstruction"]},
        "other": {"extractor": "random_conv", "count": 48, "metrics": ["fd", "reconstruction"]},
    },
    "profiles": {
        "tiny": {
            "models": ["vae", "rae_gmm", "glf"],
            "datasets": ["digits"],
            "seeds": 1,
            "protocols": ["tiny"],
            "train_images": 256,
            "stages": {"*": {"epochs": 1, "batch": 64, "lr_at": {}}},
        }
    },
}


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def tables(self) -> str:
        return self.out[self.out.index("### ") :]


@dataclass(frozen=True)
class Bench:
    """The program in a working folder, with a data folder. `clusters`: its protocols have PRD, the slowest metric."""

    folder: Path
    data: Path
    clusters: bool = False

    def __call__(self, *args: str) -> Ended:
        """Run a command in this process, as the console script does."""
        from aegen_bench import cli

        code, before = 0, Path.cwd()
        out, err = io.StringIO(), io.StringIO()
        os.chdir(self.folder)
        try:
            with (
                mock.patch.object(sys, "argv", ["aegen-bench", *args]),
                mock.patch.dict(os.environ, AEGEN_BENCH_DATA=str(self.data)),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                cli.main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        finally:
            os.chdir(before)
        return Ended(code, out.getvalue(), err.getvalue())

    def start(self, *args: str, cold: bool = False, **env: str) -> warm.Command | subprocess.Popen[str]:
        """Start a command in a new process, which Ctrl-C reaches even if this process ignores it.

        The process starts with its imports done. With `cold`, the command is started as by a user, with
        `python -m aegen_bench`: it is watched by a parent process and takes four seconds to import torch.
        """
        environment = {**os.environ, "AEGEN_BENCH_DATA": str(self.data), **env}
        if not cold:
            return warm.Command(args, self.folder, environment)
        return subprocess.Popen(
            [sys.executable, "-m", "aegen_bench", *args],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def process(self, *args: str, cold: bool = False, **env: str) -> Ended:
        process = self.start(*args, cold=cold, **env)
        out, err = process.communicate(timeout=300)
        assert process.returncode is not None
        return Ended(process.returncode, out, err)

    def declare(self, **sections: Any) -> None:
        """Write benchmarks.yaml: TINY with the entries of `sections`, which replace those of the same name."""
        content = {name: {**TINY.get(name, {}), **sections.get(name, {})} for name in {**TINY, **sections}}
        if self.clusters:
            both = content["protocols"].items()
            content["protocols"] = {name: {**one, "metrics": ["prd", *one["metrics"]]} for name, one in both}
        (self.folder / "benchmarks.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def tiny(self, **changes: Any) -> dict[str, Any]:
        """Return the section `profiles`, with `changes` made to the profile `tiny`."""
        return {"tiny": {**TINY["profiles"]["tiny"], **changes}}

    def baseline(self, name: str, source: str) -> Path:
        path = self.folder / "baselines" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    def trial(self, row: str, seed: int = 0, profile: str = "tiny", dataset: str = "digits") -> Path:
        return self.folder / "results" / profile / dataset / row / f"seed-{seed}"

    def record(self, row: str, seed: int = 0, profile: str = "tiny", dataset: str = "digits") -> dict[str, Any]:
        return json.loads((self.trial(row, seed, profile, dataset) / "record.json").read_text())

    def weights(self, row: str) -> Path:
        record = self.record(row)
        return self.data / "weights" / f"{record['key']}-{record['weights_sha256'][:8]}.safetensors"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest tests first, so that no worker is left with one at the end.

    Also exempt everything imported so far from garbage collection, so that it is not scanned again and again.
    """
    items.sort(key=lambda item: "cluster" not in item.keywords)
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Start one server of processes for all workers, if slow tests run, which use it."""
    if hasattr(config, "workerinput"):
        warm.use_server_of_parent()
    elif getattr(config.option, "numprocesses", None) and not config.option.markexpr:
        warm.start_server_for_workers()


@pytest.fixture
def no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end without their tables and their page, which take longer than a small trial."""
    from aegen_bench.commands.request import Request

    monkeypatch.setattr(Request, "_tables", lambda self, planned: iter(()))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A folder that has only the profile `tiny`: three models, one seed, a second of work."""
    made = Bench(tmp_path / "work", tmp_path / "data")
    made.folder.mkdir()
    made.declare()
    return made


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Ended]]:
    """One finished run of `tiny` and its output. Read-only: use `finished` to change something."""
    place = tmp_path_factory.mktemp("shared")
    made = Bench(place / "work", place / "data", clusters=True)
    made.folder.mkdir()
    made.declare()
    yield made, made("run", "--profile", "tiny")


@pytest.fixture
def finished(shared_run: tuple[Bench, Ended], tmp_path: Path) -> Bench:
    """A copy of the finished run, which a test may change."""
    shared, _ = shared_run
    made = Bench(tmp_path / "work", tmp_path / "data", clusters=True)
    shutil.copytree(shared.folder, made.folder)
    shutil.copytree(shared.data, made.data)
    return made
