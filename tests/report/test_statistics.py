"""The report's statistics against worked examples of the literature, with their source, and against other code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from aegen_bench.report.statistics import (
    bootstrap,
    difference,
    hedges_g,
    holm,
    interval,
    iqm,
    pooled_std,
    probability_of_improvement,
    welch,
)

# Student's sleep data (Cushny and Peebles 1905), as R ships it.
SLEEP = [
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
]


def test_welch_is_that_of_r_on_students_sleep_data() -> None:
    """`t.test(extra ~ group, data = sleep)` prints t = -1.8608, df = 17.776, p-value = 0.07939."""
    p = welch(SLEEP)
    assert p[0, 1] == p[1, 0] == pytest.approx(0.07939, abs=5e-6)
    assert p[0, 0] == p[1, 1] == 1.0


def test_welchs_interval_is_that_of_r_on_students_sleep_data() -> None:
    """The same call prints the 95% interval -3.3654832 to 0.2054832."""
    assert difference(*SLEEP) == pytest.approx((-1.58, -3.3654832, 0.2054832))
    assert math.isnan(difference([1.0], [2.0, 3.0])[1])


def test_the_t_interval_is_that_of_nist_on_zarr13() -> None:
    """NIST/SEMATECH e-Handbook, 1.3.5.2: 195 numbers, mean 9.261460, standard deviation 0.022789."""
    assert interval(9.261460, 0.022789, 195) == pytest.approx((9.258242, 9.264679), abs=1e-6)


def test_holm_rejects_what_demsar_rejects() -> None:
    """Demsar 2006, 3.2.2: p = 0.016, 0.019, 0.607 against 0.017, 0.025, 0.050: the first two are rejected."""
    adjusted = holm([0.607, 0.016, 0.019])
    assert adjusted == pytest.approx([0.607, 0.048, 0.048])
    assert list(adjusted < 0.05) == [False, True, True]
    assert holm([0.9, 0.8, 0.7]) == pytest.approx([1.0, 1.0, 1.0])


def test_welch_with_holm_agrees_with_scikit_posthocs() -> None:
    from scikit_posthocs import posthoc_ttest

    generator = np.random.default_rng(0)
    samples = [generator.normal(i, 1 + i, 4 + i).tolist() for i in range(5)]
    assert welch(samples) == pytest.approx(posthoc_ttest(samples, equal_var=False, p_adjust="holm").to_numpy())


def test_hedges_g_is_that_of_borenstein_et_al() -> None:
    """Borenstein et al. 2009, Introduction to Meta-Analysis, chapter 4: means 103 and 100, standard deviations 5.5 and
    4.5, 50 each: g = 0.5924.
    """
    a, b = (mean + std * _standard(50) for mean, std in ((103, 5.5), (100, 4.5)))
    assert hedges_g(a.tolist(), b.tolist()) == pytest.approx(0.5924, abs=5e-5)
    assert math.isnan(hedges_g([1.0, 1.0], [2.0, 2.0]))


def _standard(n: int) -> np.ndarray:
    """n numbers of mean 0 and sample standard deviation 1."""
    x = np.arange(n, dtype=float)
    return (x - x.mean()) / x.std(ddof=1)


def test_constant_samples_are_told_apart_by_their_means() -> None:
    p = welch([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0], [1.0, 1.5]])
    assert p[0, 1] == 1.0 and p[0, 2] == 0.0 and 0 < p[0, 3] <= 1


def test_spread_within_groups_is_the_root_of_the_pooled_variance() -> None:
    """By hand: variances 2 (df 1) and 1 (df 2) pool to (2 + 2) / 3; a group of one says nothing."""
    assert pooled_std([[0.0, 2.0], [1.0, 2.0, 3.0], [7.0]]) == pytest.approx((4 / 3) ** 0.5)
    assert math.isnan(pooled_std([[1.0], [2.0]]))


def test_the_interquartile_mean_leaves_out_a_quarter_on_each_side() -> None:
    assert iqm([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0]) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_the_bootstrap_draws_within_its_strata() -> None:
    point, low, high = bootstrap([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert (point, low, high) == (0.5, 0.5, 0.5)  # drawn over the strata it would scatter


def test_the_bootstrap_interval_of_one_normal_stratum_is_about_that_of_its_trimmed_mean() -> None:
    """40 normal quantiles: the trimmed mean's standard error by its winsorised variance (Tukey and McLaughlin 1963)."""
    x = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    winsorised = np.clip(x, np.sort(x)[10], np.sort(x)[29])
    error = winsorised.std(ddof=1) / (0.5 * 40**0.5)
    point, low, high = bootstrap([x.tolist()])
    assert point == pytest.approx(0, abs=1e-12)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert bootstrap([x.tolist()]) == (point, low, high)


def test_probability_of_improvement_is_mann_whitneys_u() -> None:
    a, b = [1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 5.0]
    u = stats.mannwhitneyu(b, a).statistic  # counts the pairs where b is larger, ties half
    point, low, high = probability_of_improvement([a], [b])
    assert point == pytest.approx(u / 12) and low <= point <= high
    both, _, _ = probability_of_improvement([a, b], [b, a])
    assert both == pytest.approx(0.5)
