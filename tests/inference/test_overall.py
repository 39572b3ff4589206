"""Comparisons of rows over all datasets and networks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aegen_bench.inference import overall


def test_datasets_have_equal_weight_whatever_their_number_of_trials() -> None:
    found = overall(
        {"a": {"x": [2.0, 2.0, 2.0, 2.0, 2.0, 2.0], "y": [8.0, 8.0]}, "b": {"x": [3.0, 3.0], "y": [3.0, 3.0]}}
    )
    assert found["a"].ratio == pytest.approx(4.0) and found["b"].ratio == pytest.approx(3.0)
    assert [row for row in found] == ["b", "a"] and (found["b"].rank, found["a"].rank) == (1, 2)


def test_a_row_that_lacks_a_dataset_or_a_ratio_is_left_out() -> None:
    full = {"x": [2.0, 2.1], "y": [3.0, 3.1]}
    found = overall({"a": full, "b": {"x": [1.0, 1.0]}, "c": {"x": [1.0, float("nan")], "y": [1.0, 1.0]}, "d": {}})
    assert list(found) == ["a"]


@pytest.mark.filterwarnings("error")
def test_a_single_seed_gets_the_spread_of_the_other_rows_if_they_have_one() -> None:
    found = overall({"a": {"x": [2.0], "y": [3.0, 3.1]}, "b": {"x": [2.0, 2.2], "y": [3.0, 3.1]}})
    widths = {row: math.log(one.interval[1] / one.interval[0]) for row, one in found.items() if one.interval}
    assert 1.2 < widths["a"] / widths["b"] < 1.6  # about sqrt 2
    alone = overall({"a": {"x": [2.0], "y": [3.0, 3.1]}, "b": {"x": [2.1], "y": [3.0, 3.1]}})
    assert alone["a"].interval is None and alone["a"].ranks is None and alone["a"].rank == 1
    assert overall({}) == {}


def test_the_interval_covers_the_truth_about_as_often_as_stated() -> None:
    """Two datasets with three seeds: a plain bootstrap would cover the truth in three quarters of cases."""
    generator, held = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = np.exp(generator.normal(1.0, 0.03, (2, 3)))
        low, high = overall({"a": {"x": drawn[0].tolist(), "y": drawn[1].tolist()}})["a"].interval or (0, 0)
        held += low <= math.e <= high
    assert 0.85 <= held / 200 <= 0.99


def test_ranks_that_seeds_cannot_tell_apart_have_wide_intervals() -> None:
    generator = np.random.default_rng(1)
    found = overall(
        {
            name: {"x": (level + generator.normal(0, 0.05, 5)).tolist()}
            for name, level in (("a", 2.0), ("b", 2.0), ("c", 4.0))
        }
    )
    assert found["c"].ranks == (3, 3)
    assert found["a"].ranks is not None and found["b"].ranks is not None
    assert {*found["a"].ranks, *found["b"].ranks} == {1, 2}
    assert overall({"a": {"x": [1.0, 1.1]}}) == overall({"a": {"x": [1.0, 1.1]}})
