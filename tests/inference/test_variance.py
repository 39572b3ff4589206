"""Variance components of trunk and prior: known effects are recovered."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest

from aegen_bench.inference import LOG, Split, split

Samples = dict[tuple[str, str], dict[int, float]]


def made(
    trunk: float = 0.0,
    prior: float = 0.0,
    pair: float = 0.0,
    *,
    noise: float = 0.02,
    seeds: int = 3,
    missing: Collection[tuple[int, int]] = (),
) -> Samples:
    """Return a 7 x 10 matrix whose effects have exactly these standard deviations. Half of the noise is the trunk's."""
    random = np.random.default_rng(3)

    def scaled(shape: tuple[int, ...], std: float) -> np.ndarray:
        draws = random.standard_normal(shape)
        for axis in range(len(shape)):
            draws -= draws.mean(axis=axis, keepdims=True)
        return draws / draws.std() * std

    levels = 6 + scaled((7,), trunk)[:, None] + scaled((10,), prior)[None, :] + scaled((7, 10), pair)
    shared, own = random.standard_normal((7, seeds)), random.standard_normal((7, 10, seeds))
    each = levels[:, :, None] + noise * (shared[:, None, :] + own) / 2**0.5
    places = [(i, j) for i in range(7) for j in range(10) if (i, j) not in missing]
    return {(f"t{i}", f"p{j}"): dict(enumerate(np.exp(each[i, j]).tolist())) for i, j in places}


def known(samples: Samples) -> Split:
    found = split(samples, LOG)
    assert found is not None and sum(found.shares.values()) == pytest.approx(1)
    return found


def test_without_any_effect_all_variance_is_due_to_the_seeds() -> None:
    shares = known(made()).shares
    assert shares["seeds"] > 0.85 and max(shares["trunk"], shares["prior"], shares["interaction"]) < 0.1


@pytest.mark.parametrize("source", ["trunk", "prior", "pair"])
def test_a_single_effect_gets_almost_all_of_the_variance(source: str) -> None:
    found = known(made(**{source: 0.3}))
    name = "interaction" if source == "pair" else source
    assert found.shares[name] > 0.98 and found.intervals[name][0] > 0.95
    assert all(share < 0.02 for other, share in found.shares.items() if other != name)


def test_shares_are_those_of_the_variances_and_lie_within_their_intervals() -> None:
    """The expected shares are computed by hand from the variances 0.09, 0.04, 0.01 and 0.0004."""
    found = known(made(0.3, 0.2, 0.1))
    assert found.shares == pytest.approx(
        {"trunk": 0.6410, "prior": 0.2849, "interaction": 0.0712, "seeds": 0.0028}, abs=0.02
    )
    assert all(low <= found.shares[source] <= high for source, (low, high) in found.intervals.items())
    assert (len(found.trunks), len(found.priors), found.pairs, found.trials) == (7, 10, 70, 210)


def test_missing_pairs_do_not_change_the_shares() -> None:
    gone = {(0, 0), (0, 1), (3, 4), (3, 5), (5, 9), (6, 2)}
    found = known(made(0.3, 0.2, missing=gone))
    assert found.pairs == 64
    assert found.shares == pytest.approx({"trunk": 0.69, "prior": 0.31, "interaction": 0.0, "seeds": 0.0}, abs=0.05)


def test_a_seed_that_one_pair_lacks_is_left_out_for_all_pairs_of_its_trunk() -> None:
    samples = made(0.3, 0.2, seeds=4)
    del samples["t0", "p0"][1]
    assert known(samples).trials == 7 * 10 * 4 - 10


def test_a_two_by_two_matrix_agrees_with_a_computation_by_hand() -> None:
    """Log FD is 1, 3 / 2, 4 without noise: the trunk adds 1 and the prior 2, so their sums of squares are as 1 to 4."""
    levels = {("a", "x"): 1.0, ("a", "y"): 3.0, ("b", "x"): 2.0, ("b", "y"): 4.0}
    found = known({pair: dict.fromkeys((0, 1), float(np.exp(level))) for pair, level in levels.items()})
    assert found.shares == pytest.approx({"trunk": 0.2, "prior": 0.8, "interaction": 0.0, "seeds": 0.0})
    assert found.intervals["trunk"] == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize(
    "samples",
    [
        {},
        made(0.3, 0.2, seeds=1),
        {pair: each for pair, each in made(0.3).items() if pair[0] == "t0"},
        {pair: each for pair, each in made(0.3).items() if pair[1] == "p0"},
        {("a", "x"): {0: 1.0, 1: 2.0}, ("a", "y"): {0: 1.0, 1: 2.0}, ("b", "x"): {0: 1.0, 1: 2.0}},
        made(0.3, 0.2, missing={(i, j) for i in range(7) for j in range(10) if (i < 3) != (j < 5)}),
        {
            pair: {2 * int(pair[1][1]) + seed: x for seed, x in each.items()}
            for pair, each in made(0.3, seeds=2).items()
        },
        {pair: {0: 5.0, 1: 5.0} for pair in made()},
    ],
    ids=["nothing", "one seed", "one trunk", "one prior", "a corner", "two islands", "no seed in common", "all equal"],
)
def test_a_split_that_cannot_be_estimated_is_none(samples: Samples) -> None:
    assert split(samples, LOG) is None
