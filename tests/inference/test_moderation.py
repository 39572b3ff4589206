"""Moderated variances, compared with their distribution and computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from aegen_bench.inference.moderation import _pooled, borrowed, moderate, trigamma_inverse


@pytest.mark.parametrize("x", [1e-8, 1e-3, 0.5, 1.0, 10.0, 1e3, 1e9])
def test_trigamma_inverse_inverts_trigamma(x: float) -> None:
    assert special.polygamma(1, trigamma_inverse(x)) == pytest.approx(x, rel=1e-6)


def test_the_fit_finds_the_prior_that_the_variances_were_drawn_from() -> None:
    """Smyth 2004: 1 / sigma^2 ~ chi2(d0) / (d0 s0^2), s^2 | sigma^2 ~ sigma^2 chi2(d) / d."""
    generator = np.random.default_rng(0)
    d0, s02, d = 6.0, 0.04, np.repeat([1.0, 2.0, 4.0], 4000)
    sigma2 = d0 * s02 / generator.chisquare(d0, len(d))
    pooled, prior = _pooled(sigma2 * generator.chisquare(d) / d, d)
    assert pooled == pytest.approx(s02 * d0 / (d0 - 2), rel=0.05) and prior == pytest.approx(d0, rel=0.15)


def test_rows_that_differ_only_by_chance_get_the_pooled_variance() -> None:
    found = moderate([1.0, 1.1, 0.9, 1.0], [4.0] * 4)
    assert np.isinf(found.prior_df) and found.typical == pytest.approx(1.0)
    assert found.variance == pytest.approx([1.0] * 4) and found.df == pytest.approx([4.0 + 12.0] * 4)


def test_a_moderated_variance_is_a_mean_weighted_by_degrees_of_freedom() -> None:
    variances = [1.0, 4.0, 0.25, 0.1, 2.0]
    found = moderate(variances, [4.0] * 5)
    own, pooled = 4 / (4 + found.prior_df), np.mean(variances)
    assert 0 < found.prior_df < 10 and found.typical == pytest.approx(pooled)
    assert found.variance == pytest.approx([own * s2 + (1 - own) * pooled for s2 in variances])


@pytest.mark.parametrize(("df", "expected"), [(0.0, 1.9), (1.0, 1.9), (2.0, 9.0), (4.0, 18.0)])
def test_how_many_degrees_of_freedom_a_row_may_borrow_depends_on_its_seeds(df: float, expected: float) -> None:
    assert df + borrowed(df) == pytest.approx(expected)
    assert moderate(np.linspace(0.9, 1.1, 10), [df, *[3.0] * 9]).df[0] == pytest.approx(expected)


def test_a_row_gets_no_more_degrees_of_freedom_than_all_rows_have_together() -> None:
    assert moderate([1.0, 1.1], [4.0, 4.0]).df == pytest.approx([8.0, 8.0])


def test_a_wild_row_keeps_its_variance_and_does_not_widen_the_others() -> None:
    tame = [1.0, 1.2, 0.8, 1.1, 0.9, 1.0]
    without, beside = moderate(tame, [2.0] * 6), moderate([*tame, 144.0], [2.0] * 7)
    assert beside.wild.tolist() == [False] * 6 + [True]
    assert beside.variance[:6].tolist() == without.variance.tolist() and beside.variance[6] == 144.0
    assert beside.df[6] == 2.0 < beside.df[0]


def test_a_row_with_one_seed_gets_the_typical_variance() -> None:
    found = moderate([1.0, 1.0, 1.0, float("nan")], [2.0, 2.0, 2.0, 0.0])
    assert found.variance[3] == pytest.approx(1.0) and found.df[3] == borrowed(0.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("variances", "df", "expected"),
    [
        ([0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]),
        ([float("nan"), float("nan")], [0.0, 0.0], [float("nan")] * 2),
        ([], [], []),
        ([3.0], [1.0], [3.0]),
    ],
    ids=["no spread", "one seed everywhere", "no row", "one row"],
)
def test_few_numbers_cause_no_error(variances: list[float], df: list[float], expected: list[float]) -> None:
    assert moderate(variances, df).variance.tolist() == pytest.approx(expected, nan_ok=True)


@pytest.mark.filterwarnings("error")
def test_a_row_without_spread_borrows_from_the_others() -> None:
    found = moderate([0.0, 1.0, 1.2, 0.8], [1.0] * 4)
    assert 0 < found.variance[0] <= 1.2 and not found.wild.any()
