"""Comparisons of two rows, equivalence, paired tests, and power analysis."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from aegen_bench.inference import LOG, RAW, Difference, detectable, difference, paired, seeds_needed
from aegen_bench.inference.comparing import Row, moderated
from aegen_bench.inference.paired import holm
from aegen_bench.inference.power import critical, detectable_by_t

SLEEP = {  # Student's sleep data (Cushny and Peebles 1905), as R ships it: two drugs, ten patients
    "one": dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])),
    "two": dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])),
}


def test_a_paired_test_agrees_with_r_on_students_sleep_data() -> None:
    """`t.test(extra ~ group, paired = TRUE)`: t = -4.0621, df = 9, p = 0.002833, interval -2.4598858 to -0.7001142."""
    found = paired(SLEEP, RAW)["one", "two"]
    assert (found.t(), found.df) == pytest.approx((-4.0621, 9), abs=5e-5)
    assert 2 * found.p_below() == pytest.approx(0.002833, abs=5e-7)
    assert found.interval() == pytest.approx((-2.4598858, -0.7001142))


def test_pairing_cancels_the_shared_effect_of_the_trunk() -> None:
    generator = np.random.default_rng(0)
    trunk = generator.normal(0, 0.3, 4)
    table = {
        name: {s: float(np.exp(trunk[s] + shift + generator.normal(0, 0.02))) for s in range(4)}
        for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.1))
    }
    found = paired(table, LOG)
    apart = difference(*(moderated({k: list(v.values()) for k, v in table.items()}, LOG)[0][name] for name in "ba"))
    assert found["a", "b"].p_below() < 0.01 < 0.1 < apart.p_above()
    assert abs(found["b", "c"].t()) < 3


@pytest.mark.parametrize("p", [[], [0.2], [0.01, 0.04, 0.03, 0.005], [0.5, 1.4, 0.02], [0.03, 0.03, 0.02]])
def test_holms_correction_agrees_with_statsmodels(p: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    expected = multipletests(np.minimum(p, 1.0), method="holm")[1].tolist() if p else []
    assert holm(p) == pytest.approx(expected)


def test_only_equal_seeds_are_paired() -> None:
    found = paired({"a": {0: 1.0, 1: 2.0}, "b": {1: 1.0, 2: 5.0}, "c": {3: 1.0}}, RAW)
    assert list(found) == [("a", "b")] and found["a", "b"].gap == 1.0 and not found["a", "b"].tested


def test_without_borrowing_a_difference_is_tested_by_students_t() -> None:
    a, b = [1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 7.0]
    each = [Row(float(np.mean(x)), len(x), float(np.var(x, ddof=1)), 6.0) for x in (a, b)]
    expected = stats.ttest_ind(a, b, alternative="less")
    found = difference(*each)
    assert (found.t(), found.p_below()) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.p_above() == pytest.approx(1 - expected.pvalue)


def test_two_one_sided_tests_agree_with_statsmodels() -> None:
    from statsmodels.stats.weightstats import ttost_ind

    a, b = [1.0, 1.1, 0.9, 1.05], [1.02, 1.12, 0.95, 1.0]
    pooled = float(np.var(a, ddof=1) + np.var(b, ddof=1)) / 2
    found = difference(Row(float(np.mean(a)), 4, pooled, 6.0), Row(float(np.mean(b)), 4, pooled, 6.0))
    assert max(found.p_above(-0.2), found.p_below(0.2)) == pytest.approx(
        ttost_ind(np.array(a), np.array(b), -0.2, 0.2)[0]
    )


def test_a_difference_on_the_log_scale_is_a_percentage() -> None:
    assert LOG.gap(math.log(1.05)) == "5%" and RAW.gap(0.05) == "0.05"


@pytest.mark.filterwarnings("error")
def test_with_a_standard_error_of_zero_the_means_decide() -> None:
    equal, above = Difference(0.0, 0.0, 0.0), Difference(0.1, 0.0, 0.0)
    assert (equal.p_below(), above.p_above(), above.p_below()) == (0.5, 0.0, 1.0)
    assert above.interval() == (0.1, 0.1)
    nothing = Difference(0.1, float("nan"), 0.0)
    assert not nothing.tested and math.isnan(nothing.p_above()) and math.isnan(nothing.p_below())


@pytest.mark.parametrize(("m", "df"), [(2, 4.0), (9, 7.0), (9, 3.5), (5, 28.0), (2, 1.0)])
def test_the_critical_value_agrees_with_scipy(m: int, df: float) -> None:
    exact = stats.studentized_range.ppf(0.95, m, df) / 2**0.5
    assert critical(m, df) == pytest.approx(exact, rel=1e-3)


def test_a_detectable_gap_is_found_with_the_stated_power() -> None:
    """A row is worse than one other by exactly the gap, with the degrees of freedom that `detectable` assumes."""
    gap, generator = detectable(0.025, 4, 2), np.random.default_rng(0)
    tables = generator.normal(0, 0.025, (4000, 2, 4)) + np.array([0, gap])[:, None]
    t = (tables[:, 1].mean(axis=1) - tables[:, 0].mean(axis=1)) / (tables.var(axis=2, ddof=1).mean(axis=1) / 2) ** 0.5
    assert (t > critical(2, 6.0)).mean() == pytest.approx(0.8, abs=0.02)


def test_the_power_of_a_one_sided_test_agrees_with_statsmodels() -> None:
    from statsmodels.stats.power import TTestIndPower

    effect = detectable_by_t((2 / 6) ** 0.5, 10.0)
    assert TTestIndPower().power(effect, 6, 0.05, alternative="larger") == pytest.approx(0.8, abs=1e-3)


def test_the_needed_seeds_are_the_fewest_that_detect_the_gap() -> None:
    n = seeds_needed(0.05, 0.025, 9)
    assert n is not None and detectable(0.025, n, 9) <= 0.05 < detectable(0.025, n - 1, 9)
    assert seeds_needed(1e-5, 0.025, 9) is None and seeds_needed(0.0, 0.025, 9) is None
    assert math.isnan(detectable(0.025, 1, 9))
