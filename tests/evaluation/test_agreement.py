"""Rank correlation between networks."""

from __future__ import annotations

import math

import pytest
from scipy.stats import spearmanr

from aegen_bench.evaluation.agreement import Agreement, rank_correlations

A = {"vae": 3.0, "glf": 1.0, "rae": 2.0, "wae": 9.0}


def test_the_same_order_gives_1_and_the_reverse_minus_1_whatever_the_scale() -> None:
    found = rank_correlations({"a": A, "b": {k: v**3 for k, v in A.items()}, "c": {k: -v for k, v in A.items()}})
    assert {pair: of.correlation for pair, of in found.items()} == pytest.approx(
        {("a", "b"): 1, ("a", "c"): -1, ("b", "c"): -1}
    )


def test_rows_of_only_one_network_do_not_count_and_ties_are_ranked_as_in_scipy() -> None:
    b = {"vae": 5.0, "glf": 5.0, "rae": 1.0, "wae": 7.0, "aae": 0.0}
    (of,) = rank_correlations({"a": A, "b": b}).values()
    assert of.rows == 4 and of.correlation == pytest.approx(spearmanr(list(A.values()), [b[k] for k in A]).statistic)


@pytest.mark.parametrize(
    ("b", "rows"),
    [({}, 0), ({"vae": 1.0, "glf": 2.0}, 2), ({**A, "vae": math.nan, "glf": math.inf}, 2), (dict.fromkeys(A, 1.0), 4)],
)
def test_too_few_rows_or_rows_that_are_all_equal_have_no_correlation(b: dict[str, float], rows: int) -> None:
    assert rank_correlations({"a": A, "b": b})["a", "b"] == Agreement(None, rows)
