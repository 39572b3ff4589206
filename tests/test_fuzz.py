"""A few dozen cases of the fuzz test in tests/support/fuzz.py, which says how to run thousands."""

from __future__ import annotations

import os
from pathlib import Path

import fuzz
import pytest
from conftest import Bench, Ended

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("AEGEN_BENCH_FUZZ", "3"))  # cases of each kind
START = int(os.environ.get("AEGEN_BENCH_FUZZ_START", "0"))
CASES = [(kind, START + i) for kind in fuzz.KINDS for i in range(1 if kind in fuzz.SLOW else COUNT)]


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_a_command_ends_with_a_message_and_harms_nothing(
    shared_run: tuple[Bench, Ended], tmp_path: Path, kind: str, seed: int
) -> None:
    for result in fuzz.attempt(fuzz.case(kind, seed), shared_run[0], tmp_path / "case"):
        assert result.outcome not in fuzz.FAULTS, f"{result.outcome}: {result.command}\n{result.detail}"


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (Ended(0, "", ""), "silence"),
        (Ended(0, "a table", ""), "done"),
        (Ended(1, "", "failed"), "done in part"),
        (Ended(2, "", "aegen-bench: no"), "refused"),
        (Ended(1, "", "Traceback (most recent call last)\n"), "traceback"),
        (Ended(70, "", "aegen-bench: unexpected"), "net"),
        (Ended(-11, "", "x"), "killed"),
        (Ended(5, "", "x"), "traceback"),
    ],
)
def test_the_fuzz_classifies_how_a_command_ended(ended: Ended, outcome: str) -> None:
    assert fuzz.outcome(ended) == outcome


def test_the_fuzz_detects_a_hang_and_an_exception(shared_run: tuple[Bench, Ended], tmp_path: Path) -> None:
    def loop(bench: Bench) -> None:
        (bench.folder / "baselines").mkdir()
        (bench.folder / "baselines/odd.py").write_text("while True: pass\n" + fuzz.METHOD)

    made = fuzz.Case("methods", 0, (("check", "odd"),), loop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzz, "PATIENCE", 2)
        (hung,) = fuzz.attempt(made, shared_run[0], tmp_path / "case")
        assert hung.outcome == "hang"
        patch.setattr("aegen_bench.cli.main", lambda: 1 / 0)
        (raised,) = fuzz.attempt(made, shared_run[0], tmp_path / "case")
        assert raised.outcome == "traceback" and "ZeroDivisionError" in raised.detail


def test_the_fuzz_detects_a_file_written_outside(shared_run: tuple[Bench, Ended], tmp_path: Path) -> None:
    made = fuzz.Case("records", 0, (("list", "groups"),), lambda bench: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aegen_bench.cli.main", lambda: print(Path("../victim/settings.json").write_text("changed")))
        (result,) = fuzz.attempt(made, shared_run[0], tmp_path / "case")
    assert result.outcome == "wrote outside"
