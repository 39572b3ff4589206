"""The differences that the requested seeds can detect."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Bench
from records import evaluation, make, put

from aegen_bench.inference import detectable
from aegen_bench.report import resolution


def test_the_spread_is_that_of_existing_results(tmp_path: Path) -> None:
    for row, level in (("glf", 100.0), ("vae", 300.0)):
        for seed, gap in enumerate((-0.04, 0.0, 0.04)):
            put(tmp_path, make(row=row, seed=seed, metrics={"a" * 12: evaluation([{"fd": level * np.exp(gap)}])}))
    [line] = resolution.lines(tmp_path, "lite", ["fashion", "mnist"], rows=9, seeds=3)
    assert line.startswith("fashion under lite: standard deviation over seeds 4.1%; with 3 seeds, a gap of ")
    percent = 100 * np.expm1(detectable(0.04, 3, 9))
    assert f"a gap of {percent:.2g}% to the best of 9 rows is detected (80% power)" in line
    [other] = resolution.lines(tmp_path, "lite", ["mnist"], rows=9, seeds=3)
    assert other.startswith("assuming a standard deviation over seeds of 2.5%; ")


def test_two_protocols_of_one_name_have_a_line_each(tmp_path: Path) -> None:
    for id, step in (("a" * 12, 0.01), ("b" * 12, 0.2)):
        for seed, gap in enumerate((-step, 0.0, step)):
            entry = evaluation([{"fd": 100 * np.exp(gap)}])
            put(tmp_path / id, make(seed=seed, metrics={id: entry}))
            put(tmp_path / "both", make(row=f"row{id[0]}", seed=seed, metrics={id: entry}))
    lines = list(resolution.lines(tmp_path / "both", "lite", ["fashion"], rows=9, seeds=3))
    assert len(lines) == 2 and lines[1].startswith(f"fashion under lite ({'b' * 12}): ")


def test_one_seed_detects_no_difference(tmp_path: Path) -> None:
    [line] = resolution.lines(tmp_path, "lite", ["fashion"], rows=9, seeds=1)
    found = re.fullmatch(
        r"assuming .* of 2\.5%; with one seed, no gap is detected; detecting a gap of 5% takes (\d+) seeds", line
    )
    assert found and detectable(0.025, int(found[1]), 9) <= np.log(1.05)


@pytest.mark.parametrize(("options", "said"), [((), True), (("--no-forecast",), False)])
def test_a_dry_run_prints_the_resolution(bench: Bench, options: tuple[str, ...], said: bool) -> None:
    ended = bench("run", "--profile", "tiny", "--models", "glf", "--seeds", "3", "--dry-run", *options)
    assert ended.code == 0 and ("to the best of 2 rows is detected" in ended.out) is said
