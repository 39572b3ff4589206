"""The leading group: its error rate on simulated tables, and edge cases."""

from __future__ import annotations

import math

import inference  # perf/inference.py
import numpy as np
import pytest

from aegen_bench.inference import LOG, RAW, Place, leading_group

QUICK = 300


def within(rate: float, bound: float) -> bool:
    """Whether a rate over QUICK tables exceeds a bound by at most three standard errors."""
    return rate <= bound + 3 * math.sqrt(bound * (1 - bound) / QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_all_of_nine_equal_rows_stay_in_the_leading_group(n: int) -> None:
    assert within(inference.left_out(QUICK, n, inference.ours()).any(axis=1).mean(), 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_a_wild_row_drives_no_equal_row_out_of_the_leading_group(n: int) -> None:
    assert within(inference.left_out(QUICK, n, inference.ours(), wild=True).any(axis=1).mean(), 0.06)


@pytest.mark.slow
@pytest.mark.parametrize(("gap", "n", "least"), [(0.10, 3, 0.90), (0.05, 5, 0.50)])
def test_a_worse_row_is_detected(gap: float, n: int, least: float) -> None:
    found = inference.left_out(QUICK, n, inference.ours(), gap=gap)[:, -1].mean()
    assert within(1 - found, 1 - least)
    assert found > 2 * inference.left_out(QUICK, n, inference.welch_holm, gap=gap)[:, -1].mean()


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 5])
def test_adding_a_far_row_changes_no_other_place(n: int) -> None:
    assert inference.changed(100, n) == 0


def test_adding_far_rows_changes_no_number_of_the_others() -> None:
    generator = np.random.default_rng(3)
    table = {f"row {i}": np.exp(i * 0.03 + 0.03 * generator.standard_normal(3)).tolist() for i in range(8)}
    before = leading_group(table, LOG)
    after = leading_group(table | {"far": [5.0, 9.0, 6.0], "far too": [2.0, 2.1], "once": [4.0]}, LOG)
    assert {row: after.places[row] for row in table} == before.places
    assert [after.p(row) for row in table] == [before.p(row) for row in table]
    assert (after.spread, after.detectable, after.contenders) == (before.spread, before.detectable, before.contenders)
    assert {after.places[row] for row in ("far", "far too", "once")} == {Place.BEHIND}


def test_places_do_not_depend_on_the_order_of_the_rows() -> None:
    generator = np.random.default_rng(4)
    table = {f"row {i}": np.exp(i * 0.06 + 0.03 * generator.standard_normal(3)).tolist() for i in range(7)}
    reversed_ = leading_group(dict(reversed(table.items())), LOG).places
    assert leading_group(table, LOG).places == reversed_ and len(set(reversed_.values())) == 2


def test_higher_is_better_if_specified() -> None:
    table = {"good": [0.90, 0.91, 0.92], "poor": [0.50, 0.51, 0.52]}
    assert leading_group(table, RAW, lower_is_better=False).places == {"good": Place.LEADING, "poor": Place.BEHIND}
    assert leading_group(table, RAW).places == {"good": Place.BEHIND, "poor": Place.LEADING}
    assert leading_group(table, RAW, lower_is_better=False).to_best["poor"].gap == pytest.approx(-0.40)


def test_a_row_with_one_seed_never_leads_and_changes_no_other_place() -> None:
    tested = {"a": [1.0, 1.02, 0.98], "b": [1.01, 1.03, 0.99], "c": [1.4, 1.41, 1.38]}
    found = leading_group(tested | {"lower": [0.7], "alike": [1.01], "higher": [1.4]}, LOG)
    assert [found.places[row] for row in ("lower", "alike", "higher")] == [Place.OPEN, Place.OPEN, Place.BEHIND]
    assert {row: found.places[row] for row in tested} == leading_group(tested, LOG).places
    assert found.best == "a"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"a": [1.0], "b": [2.0]}, "untested untested"),
        ({"a": [1.0, 1.1]}, "untested"),
        ({}, ""),
        ({"a": [1.0, 1.1], "b": [], "c": [float("nan"), float("inf")]}, "untested untested untested"),
        ({"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [2.0, 2.0]}, "leading leading behind"),
        ({"a": [1.0, 1.0], "b": [1.0], "c": [1.5]}, "leading open behind"),
        ({"a": [1.0, 1.1], "b": [1.0, 1.1, float("nan")]}, "leading leading"),
        ({"a": [0.0, 0.0], "b": [1.0, 1.1], "c": [1.0, 1.2]}, "untested leading leading"),
        ({"a": [0.1, 0.1], "b": [0.1, 0.1, 0.1], "c": [0.3, 0.3]}, "leading leading behind"),
    ],
    ids=["one seed", "one row", "none", "no numbers", "no spread", "no spread, one seed", "NaN", "zero", "rounding"],
)
def test_edge_cases_get_the_expected_places(table: dict[str, list[float]], expected: str) -> None:
    found = leading_group(table, LOG)
    assert " ".join(place.value for place in found.places.values()) == expected
    assert all(0 <= found.p(row) <= 1 for row in found.lags)
    assert math.isnan(found.detectable) or found.detectable >= 0
