"""What commands print on a terminal: text is wrapped, commands stay whole, and tables are split to fit its width."""

from __future__ import annotations

import doctest
import re
from collections import Counter

import pytest
from conftest import Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aegen_bench import progress
from aegen_bench.commands.terminal import Grid, counted, grid
from aegen_bench.progress import watch, wrapped

WORDS = st.lists(st.text("abcde,.", min_size=1, max_size=12), min_size=1, max_size=30)


def test_the_example_in_the_docstring_of_wrapped_holds() -> None:
    examples = doctest.DocTestFinder().find(wrapped, "wrapped", globs=vars(progress))
    results = [doctest.DocTestRunner().run(one) for one in examples]
    assert sum(one.attempted for one in results) > 0 and sum(one.failed for one in results) == 0


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # slow on busy cores, not wrong
@given(WORDS, st.integers(20, 60))
def test_wrapping_loses_no_word_and_leaves_no_line_wider_than_the_terminal(words: list[str], width: int) -> None:
    lines = wrapped(" ".join(words), width).split("\n")
    assert " ".join(lines).split() == words and max(map(len, lines)) <= width


@given(WORDS, WORDS, st.integers(20, 60))
def test_a_command_between_backticks_stays_on_one_line(before: list[str], command: list[str], width: int) -> None:
    told = f"`aegen-bench {' '.join(command)}`"
    assert told in wrapped(f"- {' '.join(before)}: {told} does it", width)


def test_a_table_is_split_into_parts_that_fit_each_with_the_names_of_the_rows() -> None:
    shown = Grid(
        ["Model", "Fashion", "paper's rank", "CIFAR-10"], [["GLF", "706.4 ± 15.6 (3)", "3", "2,111.2 ± 32.0 (2)"]]
    )
    assert shown.parts(100) == [[0, 1, 2, 3]]
    assert shown.parts(45) == [[0, 1, 2], [0, 3]]
    assert shown.parts(5) == [[0, 1], [0, 2], [0, 3]], "a column that fits nowhere has a part of its own"


def test_a_plan_of_many_pairs_has_one_line_per_trunk() -> None:
    pairs = [(f"{trunk}+{prior}", "digits", "run") for trunk in ("ae", "vae", "rae") for prior in "abcdefgh"]
    (table,) = grid(pairs)
    assert isinstance(table, Grid)
    assert [*map(list, table.rows)] == [[f"{trunk} + 8 priors", "8 to train"] for trunk in ("ae", "vae", "rae")]
    assert counted(["run", "done", "run"]) == "2 to train, 1 done"


def test_the_help_describes_every_command_in_a_whole_sentence(bench: Bench) -> None:
    said = bench("--help").out
    lines = re.findall(r"^  ([a-z-]+) {2,}(\S.*)$", said[said.index("Commands:") :], re.M)
    assert len(lines) > 15 and [line for line in lines if line[1].endswith("...")] == []
    assert Counter(name for name, _ in lines).most_common(1)[0][1] == 1 and lines[0][0] == "run"


def test_quiet_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    show = watch(quiet=True)
    show.begin("glf: run")
    show.note("glf: fd 3")
    show.close()
    assert capsys.readouterr() == ("", "")
