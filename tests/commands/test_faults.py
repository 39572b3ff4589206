"""Unexpected errors on the command line: one line and exit code 70; output never contains terminal escapes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import records
from conftest import Bench

from aegen_bench import results
from aegen_bench.errors import printable, unknown


class Odd(BaseException):
    pass


FAULTS = {
    "ValueError: boom": ValueError("boom"),
    "RecursionError": RecursionError(),
    "MemoryError": MemoryError(),
    "EOFError: no data": EOFError("no data"),
    "SystemExit: 0": SystemExit(0),
    "Odd: of a method": Odd("of a\nmethod"),
    "PermissionError": PermissionError(13, "Permission denied", "x"),
}


@pytest.mark.parametrize("told", FAULTS)
def test_a_fault_is_one_line_with_exit_code_70_and_a_traceback_beside_the_results(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    (path,) = records.put(bench.folder / "results", records.make())

    def fail(*args: object, **options: object) -> None:
        results.read_record(path)
        raise FAULTS[told]

    monkeypatch.setattr(results, "load", fail)
    ended = bench("report")
    assert ended.code == 70 and ended.out == ""
    line, rest = ended.err.split("\n", 1)
    assert rest == "" and line.startswith("aegen-bench: report: a bug in aegen-bench: ")
    assert told in line and f"(last file: {path})" in line and line.endswith(".txt")
    (kept,) = (bench.folder / "results/.errors").iterdir()
    assert str(Path("results/.errors") / kept.name) in line
    assert "Traceback" in kept.read_text() and "'report'" in kept.read_text()
    assert "Traceback" in bench("report", "--debug").err and "Traceback" in bench("--debug", "report").err


def test_an_error_that_a_user_can_fix_is_one_line_and_debug_adds_a_traceback(bench: Bench) -> None:
    assert bench("report").err.startswith("aegen-bench: no results at results") and bench("report").err.count("\n") == 1
    ended = bench("report", "--debug")
    assert (
        ended.code == 2
        and "Traceback" in ended.err
        and ended.err.splitlines()[-1].startswith("aegen-bench: no results")
    )


def test_without_results_the_traceback_is_a_temporary_file_and_no_folder_is_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aegen_bench.commands import doctor

    def fail(*args: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(doctor, "report", fail)
    ended = bench("doctor")
    kept = Path(ended.err.strip().rpartition(" ")[2])
    assert ended.code == 70 and "Traceback" in kept.read_text() and not (bench.folder / "results").exists()
    kept.unlink()


def test_no_traceback_is_written_through_a_symbolic_link(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    records.put(bench.folder / "results", records.make())
    outside = bench.folder / "outside"
    outside.mkdir()
    (bench.folder / "results/.errors").symlink_to(outside)
    monkeypatch.setattr(results, "load", lambda *args, **options: 1 / 0)
    ended = bench("report")
    assert ended.code == 70 and "--debug shows its traceback" in ended.err and not list(outside.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("locale", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "\\U0001f600"),
        ({"PYTHONIOENCODING": "iso8859-1"}, "größe\\U0001f600"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, "\\U0001f600"),  # file names become ASCII, too
    ],
)
def test_characters_that_an_encoding_lacks_are_replaced(bench: Bench, locale: dict[str, str], shown: str) -> None:
    place = bench.folder / "größe"
    records.put(place, records.make(), records.make(seed=1, row="größe😀"))
    command = [sys.executable, "-m", "aegen_bench", "report", "--profile", "lite", "--results", "größe"]
    ended = subprocess.run(
        command, cwd=bench.folder, env={**os.environ, "PYTHONUTF8": "0", **locale}, capture_output=True
    )
    out = ended.stdout.decode("iso8859-1")
    assert ended.returncode == 0 and "674.1" in out and shown in out and (place / "tables").is_dir(), ended.stderr


def test_only_the_nearest_of_very_many_names_are_listed() -> None:
    names = [f"row{number}" for number in range(100)]
    said = str(unknown("model", "rwo7", names))
    assert said.startswith("unknown model 'rwo7': did you mean 'row7'? (there are: row7, ") and said.count("row") == 9
    assert said.endswith(" and 92 more)")
    assert str(unknown("model", "x", ["a", "b"])) == "unknown model 'x' (there are: a, b)"


@pytest.mark.slow
def test_escape_codes_in_a_record_are_not_shown(bench: Bench) -> None:
    odd = "\x1b[2J\x1b]0;title\x07\x9b31mred\r"
    records.put(bench.folder / "results", records.make(), records.ended("failed", seed=1, reason=f"why {odd}"))
    for command in (("report",), ("list", "trials", "--profile", "lite"), ("run", "--dry-run", "--profile", "lite")):
        ended = bench(*command)
        assert not {"\x1b", "\x9b", "\x07", "\r"} & set(ended.out + ended.err), command
    assert printable(f"a{odd}\tb\nc") == "a31mred\tb\nc"


@pytest.mark.slow
def test_output_to_a_full_disk_or_a_closed_pipe_ends_without_a_traceback(bench: Bench) -> None:
    words = [sys.executable, "-m", "aegen_bench", "list", "groups"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(words, cwd=bench.folder, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "aegen-bench: cannot write the output: No space left on device\n"
    process = subprocess.Popen(words, cwd=bench.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=300) == 1 and process.stderr.read() == ""
