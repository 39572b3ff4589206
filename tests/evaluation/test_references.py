"""The metrics, compared with reference implementations and with closed forms."""

from __future__ import annotations

import contextlib
import io
from functools import partial

import numpy as np
import pytest
import torch
from emulated_cuda import emulated_cuda
from hypothesis import given, settings
from hypothesis import strategies as st
from measuring import measure, scored
from scipy.stats import norm

from aegen_bench.errors import UserError
from aegen_bench.evaluation import (
    Protocol,
    extractors,
    features,
    metrics,
)
from aegen_bench.evaluation.frechet import Moments, Reference, distance_to, frechet_distance, moments, without
from aegen_bench.evaluation.metric import Inputs
from aegen_bench.evaluation.metrics import copying, fd_infinity, memorisation, prd, precision_recall
from aegen_bench.evaluation.metrics import kid as kid_module
from aegen_bench.evaluation.metrics.code_gap import code_gap
from aegen_bench.evaluation.metrics.code_test import held_out_accuracy
from aegen_bench.evaluation.metrics.copying import copying_z
from aegen_bench.evaluation.metrics.fd_infinity import extrapolate, sizes
from aegen_bench.evaluation.metrics.kid import kid
from aegen_bench.evaluation.metrics.reconstruction import reconstruction_ssim
from aegen_bench.numerics import balls, kmeans
from aegen_bench.numerics.sliced import sliced_wasserstein

pytestmark = pytest.mark.slow


def normal(seed, n, d, scale=1.0, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) * scale + shift).astype(np.float32)


# ---- KID


@pytest.mark.parametrize(("n_generated", "n_real"), [(80, 120), (60, 60)])
def test_kid_equals_that_of_torch_fidelity_on_the_same_subsets(monkeypatch, n_generated, n_real):
    reference = pytest.importorskip("torch_fidelity.metric_kid")
    monkeypatch.setitem(kid_module.SETTINGS, "subset_size", 50)
    generated, real = normal(0, n_generated, 40, 1.2, 0.3), normal(1, n_real, 40)
    sides = torch.from_numpy(generated), torch.from_numpy(real)
    theirs = reference.kid_features_to_metric(
        *sides, kid_subsets=100, kid_subset_size=50, rng_seed=7, verbose=False, kid_kernel="poly"
    )
    ours, _, used = kid(generated=generated, real=real, seed=7)
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-5)
    assert used == {"subsets": 100, "subset_size": 50}


def test_kid_of_small_sets_uses_all_of_them_once_and_is_unbiased():
    value, _, used = kid(generated=normal(0, 200, 8), real=normal(1, 200, 8), seed=0)
    assert used == {"subsets": 1, "subset_size": 200}
    many = [kid(generated=normal(2 * s, 30, 8), real=normal(2 * s + 1, 30, 8), seed=0)[0] for s in range(60)]
    assert min(many) < 0 < max(many)  # an unbiased estimate of 0 falls on both sides of it
    assert abs(np.mean(many)) < 4 * np.std(many) / np.sqrt(len(many))
    assert abs(value) < 0.1


def test_kid_of_two_point_masses_is_known():
    x, y = np.zeros((5, 4), np.float32), np.ones((5, 4), np.float32)
    assert kid(generated=x, real=y, seed=0)[0] == pytest.approx(1 + (4 / 4 + 1) ** 3 - 2)
    assert kid(generated=x, real=y, seed=0)[1] == 0, "all subsets are equal"


@pytest.mark.parametrize(("size", "subsets"), [(100, 1), (50, 20)])
def test_the_standard_error_of_kid_is_its_spread_over_new_images(monkeypatch, size, subsets):
    monkeypatch.setitem(kid_module.SETTINGS, "subset_size", size)
    monkeypatch.setitem(kid_module.SETTINGS, "subsets", 20)
    found = [kid(generated=normal(s, 100, 8, 1.2, 0.3), real=normal(1000 + s, 100, 8), seed=s) for s in range(200)]
    values, errors, used = zip(*found, strict=True)
    assert used[0]["subsets"] == subsets
    # estimated from 200 numbers, the spread is accurate to 5%
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.15)


# ---- balls


def exact(a, b):
    return np.square(a[:, None].astype(np.float64) - b[None]).sum(axis=2)


@pytest.mark.parametrize("block", [2**25, 700])
@pytest.mark.parametrize("shift", [0, 300])  # far from 0, float32 products lose digits by cancellation
def test_neighbours_and_balls_are_those_of_brute_force(monkeypatch, block, shift):
    monkeypatch.setattr(balls, "BLOCK", block)
    x, y = normal(0, 90, 12, 1, shift), normal(1, 70, 12, 0.8, shift)
    x[5:15] = x[20:30]  # identical points
    y[:10] = x[:10]
    to_others = np.sort(exact(x, x) + np.diag(np.full(90, np.inf)), axis=1)[:, :4]
    np.testing.assert_allclose(balls.neighbour_distances(x, 4), to_others, rtol=1e-12)
    for closed in (True, False):
        inside = exact(x, y) <= to_others[:, 3:] if closed else exact(x, y) < to_others[:, 3:]
        of_points, of_balls = balls.in_balls(y, x, to_others[:, 3], closed=closed)
        np.testing.assert_array_equal(of_points, inside.sum(axis=0))
        np.testing.assert_array_equal(of_balls, inside.sum(axis=1))
        of_y = np.sort(exact(y, y) + np.diag(np.full(70, np.inf)), axis=1)[:, 2]
        around_y = exact(x, y) <= of_y if closed else exact(x, y) < of_y
        near_x, near_y = balls.in_each_others_balls(y, x, of_y, to_others[:, 3], closed=closed)
        np.testing.assert_array_equal(near_x, inside.any(axis=0))
        np.testing.assert_array_equal(near_y, around_y.any(axis=1))


def test_neighbours_are_exact_among_points_that_float32_cannot_tell_apart():
    modes = np.repeat(normal(0, 2, 512, 1, 0), 150, axis=0)
    x = (modes + normal(1, 300, 512, 1e-4, 0)).astype(np.float32)
    to_others = np.sort(exact(x, x) + np.diag(np.full(300, np.inf)), axis=1)[:, :3]
    np.testing.assert_allclose(balls.neighbour_distances(x, 3), to_others, rtol=1e-12)


@pytest.mark.parametrize("shift", [0, 50])
def test_precision_recall_density_coverage_are_those_of_prdc(shift):
    reference = pytest.importorskip("prdc")
    real, generated = normal(0, 150, 24, 1, shift), normal(1, 190, 24, 0.85, shift + 0.1)
    for name, k in (("precision_recall", 3), ("density_coverage", 5)):
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = reference.compute_prdc(real, generated, k)
        ours = measure(name, generated, real)
        assert len(ours) == 2 and min(ours.values()) > 0
        assert ours == pytest.approx({key: theirs[key] for key in ours}, abs=1e-6)


def test_precision_and_recall_are_those_of_torch_fidelity():
    reference = pytest.importorskip("torch_fidelity.metric_prc")
    real, generated = normal(2, 150, 24), normal(3, 120, 24, 0.8)
    sides = torch.from_numpy(generated), torch.from_numpy(real)
    precision, recall = reference.calculate_precision_recall_full(*sides, neighborhood=3)
    ours = measure("precision_recall", generated, real)
    assert ours == pytest.approx({"precision": precision, "recall": recall}, abs=1e-6)
    assert precision_recall.SETTINGS["k"] == 3


def test_identical_sets_have_precision_recall_density_and_coverage_of_exactly_one():
    x = normal(4, 120, 30, 1, 20)
    assert measure("precision_recall", x, x.copy()) == {"precision": 1, "recall": 1}
    assert measure("density_coverage", x, x[::-1].copy()) == {"density": 1, "coverage": 1}


# ---- PRD's clusters


def inertia(x, centres):
    return np.square(x[:, None] - centres).sum(axis=-1).min(axis=1).mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clusters_are_as_good_as_those_of_scikit_learn(dtype):
    from sklearn.cluster import MiniBatchKMeans

    x = np.maximum(normal(0, 900, 24) + 3 * normal(9, 30, 24)[np.arange(900) % 30], 0)  # clustered, as after a ReLU
    theirs = [MiniBatchKMeans(**prd.KMEANS, random_state=seed).fit(x).inertia_ / len(x) for seed in range(30)]
    randoms = [np.random.default_rng(seed) for seed in range(30)]
    sets = kmeans.minibatch_kmeans(x.astype(dtype), **prd.KMEANS, randoms=randoms)
    ours = [inertia(x, centres) for centres in sets]
    assert sets.shape == (30, 20, 24) and sets.dtype == dtype
    error = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / 30)
    assert abs(np.mean(ours) - np.mean(theirs)) < 3 * error
    assert error < 0.02 * np.mean(theirs), "the runs must be precise enough to show a difference"
    assert np.std(ours, ddof=1) > np.std(theirs, ddof=1) / 2, "each clustering must start differently"


def test_well_separated_clusters_are_found_and_every_row_gets_its_nearest_centre():
    x = np.repeat(np.float32([[0, 0], [1, 0], [5, 5]]), [30, 50, 20], axis=0)
    randoms = [np.random.default_rng(seed) for seed in range(4)]
    found = kmeans.minibatch_kmeans(x, **{**prd.KMEANS, "n_clusters": 3}, randoms=randoms)
    for centres, labels in zip(found, kmeans.nearest_centre(x, found), strict=True):
        np.testing.assert_allclose(centres[labels], x, atol=1e-6)


def test_clusterings_computed_at_once_equal_those_computed_one_by_one():
    x = np.maximum(normal(0, 900, 24) + 3 * normal(9, 30, 24)[np.arange(900) % 30], 0)
    one_by_one = kmeans.minibatch_kmeans(x, **prd.KMEANS, randoms=[np.random.default_rng(seed) for seed in range(5)])
    with emulated_cuda():
        at_once = kmeans.minibatch_kmeans(
            x, **prd.KMEANS, randoms=[np.random.default_rng(seed) for seed in range(5)], device="cuda"
        )
        labels = kmeans.nearest_centre(x, at_once, device="cuda")
    np.testing.assert_allclose(at_once, one_by_one, atol=1e-5)
    np.testing.assert_array_equal(labels, kmeans.nearest_centre(x, one_by_one))


def test_the_ten_clusterings_of_prd_are_independent(monkeypatch):
    generated, real = (np.maximum(normal(i, 400, 16) + 2 * normal(9, 25, 16)[np.arange(400) % 25], 0) for i in range(2))

    def spread(runs, seeds):
        monkeypatch.setitem(prd.SETTINGS, "runs", runs)
        curves = [prd.prd_curve(generated=generated, real=real, seed=seed) for seed in range(seeds)]
        return np.std([prd.max_f_beta(*curve)[0] for curve in curves], ddof=1)

    # The mean of ten independent clusterings has 1 / sqrt(10) = 0.32 of the spread of one; with only two independent
    # groups, it would have 0.71.
    assert spread(10, 20) < 0.5 * spread(1, 60)


def test_labels_of_several_sets_of_centres_equal_those_computed_by_hand():
    x, centres = normal(5, 7, 3), normal(6, 4, 3).reshape(2, 2, 3)
    by_hand = np.square(x[None, :, None] - centres[:, None]).sum(axis=-1).argmin(axis=-1)
    np.testing.assert_array_equal(kmeans.nearest_centre(x, centres), by_hand)


def published_prd(generated, real, seed):
    """Return F8 and F1/8 by the published algorithm, but seeded, with scikit-learn's defaults of that time."""
    from sklearn.cluster import MiniBatchKMeans

    union = np.vstack([generated, real]).astype(np.float64)
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, 1001))
    curves = []
    for run in range(10):
        clusters = MiniBatchKMeans(20, n_init=10, batch_size=100, init_size=300, random_state=seed + run)
        labels = np.split(clusters.fit(union).labels_, [len(generated)])
        p, q = (np.histogram(part, bins=20, range=(0, 20), density=True)[0] for part in labels)
        precision = np.minimum(q * slopes[:, None], p).sum(axis=1)
        curves.append(np.stack([precision, precision / slopes]).clip(0, 1))
    precision, recall = np.mean(curves, axis=0)
    return [((1 + b**2) * precision * recall / (b**2 * precision + recall + 1e-10)).max() for b in (8, 1 / 8)]


def test_prd_is_within_the_seed_spread_of_the_published_algorithm():
    centres = 2 * normal(0, 12, 30)
    real = centres[np.arange(400) % 12] + normal(1, 400, 30)
    generated = centres[np.arange(400) % 9] + normal(2, 400, 30, 0.9)

    def ours(seed):
        return prd.max_f_beta(*prd.prd_curve(generated=generated, real=real, seed=seed))

    a = np.array([ours(seed) for seed in range(12)])
    b = np.array([published_prd(generated, real, seed) for seed in range(100, 160, 10)])
    error = np.sqrt(a.var(axis=0, ddof=1) / 12 + b.var(axis=0, ddof=1) / 6)
    assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 3 * error).all()
    assert (error < 0.005).all() and a.mean(axis=0).max() < 0.99, "the error and the sets must let a difference show"
    assert ours(0) == ours(0) and ours(0) != ours(1)


# ---- Fréchet distances


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 12), st.floats(0, 3), st.integers(0, 99))
def test_frechet_distance_is_symmetric_never_negative_and_independent_of_order(n_a, n_b, d, scale, seed):
    a, b = normal(seed, n_a, d), normal(seed + 1, n_b, d, scale)

    def fd(x, y):
        (mean_a, cov_a, _), (mean_b, cov_b, _) = moments(x), moments(y)
        return frechet_distance(mean_a=mean_a, cov_a=cov_a, mean_b=mean_b, cov_b=cov_b)

    assert fd(a, b) >= 0
    assert fd(a, b) == pytest.approx(fd(b, a), abs=1e-5)
    assert fd(a[::-1], b[::-1]) == pytest.approx(fd(a, b), abs=1e-5)


def test_a_stored_reference_gives_the_same_distance_bit_for_bit():
    (mean_a, cov_a, _), (mean_b, cov_b, _) = moments(normal(0, 90, 20)), moments(normal(1, 80, 20, 1.3))
    fresh = frechet_distance(mean_a=mean_a, cov_a=cov_a, mean_b=mean_b, cov_b=cov_b)
    assert distance_to(Reference.of(Moments(mean_a, cov_a, 90)), Moments(mean_b, cov_b, 80)) == fresh


def test_fd_infinity_finds_the_known_distance_that_a_finite_set_overstates():
    d = 100
    reference = Reference.of(Moments(np.zeros(d), np.eye(d), 0))
    generated = normal(0, 1200, d, 1.5, 0.1)
    known = d * (0.1**2 + (1.5 - 1) ** 2)
    finite = distance_to(reference, moments(generated))
    distance, slope, r2, error, rounds, precise = extrapolate(generated, reference, seed=0)
    assert error < 0.01 * finite and rounds < 20 and precise
    assert distance == pytest.approx(known, rel=0.02)
    assert finite - known > 2 * abs(distance - known)
    assert slope > 0 and r2 > 0.9
    assert extrapolate(generated, reference, seed=0)[0] == distance != extrapolate(generated, reference, seed=1)[0]


def test_the_error_of_fd_infinity_is_its_spread_over_subsets_and_decides_how_many_there_are(monkeypatch):
    reference, generated = Reference.of(moments(normal(1, 500, 10))), normal(0, 300, 10, 1.1, 0.1)
    found = [extrapolate(generated, reference, seed=seed) for seed in range(60)]
    assert {line.rounds for line in found} != {2} and max(line.rounds for line in found) <= 20
    monkeypatch.setitem(fd_infinity.SETTINGS, "error_below", 0)
    monkeypatch.setitem(fd_infinity.SETTINGS, "most_rounds", 8)
    found = [extrapolate(generated, reference, seed=seed) for seed in range(60)]
    assert {line.rounds for line in found} == {8}
    spread = np.std([line.intercept for line in found], ddof=1)
    assert np.mean([line.error for line in found]) == pytest.approx(spread, rel=0.25)
    said = measure("fd_infinity", normal(0, 300, 10), normal(1, 500, 10))["settings"]
    assert "after 8 subsets" in said["note"]


@pytest.mark.parametrize("taken", [0, 1, 2500])
def test_moments_without_some_features_are_those_of_the_rest(taken):
    x = normal(0, 5000, 30, 2, 100)  # more rows than one block
    rest, expected = without(moments(x), x[:taken]), moments(x[taken:])
    assert rest.n == expected.n
    np.testing.assert_allclose(rest.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(rest.cov, expected.cov, rtol=1e-10, atol=1e-10 * np.trace(expected.cov))


def test_fd_infinity_starts_where_the_paper_does_and_at_half_of_fewer_images():
    assert sizes(50_000)[0] == 5000 and sizes(50_000)[-1] == 50_000 and len(sizes(50_000)) == 15
    assert sizes(10_000)[0] == 5000 and sizes(1000)[0] == 500
    assert len(np.unique(sizes(30))) == 15
    with pytest.raises(UserError, match="needs 30 images, there are 29"):
        sizes(29)


# ---- codes and memorisation


def test_sliced_distance_of_shifted_points_is_the_shift_over_the_root_of_the_dimension():
    a = np.random.default_rng(0).normal(size=(300, 9))
    got = sliced_wasserstein(a, a + np.full(9, 2.0), projections=4000, seed=0)
    assert got == pytest.approx(2.0, rel=0.03)  # a shift of length 2 sqrt(9), projected onto random directions
    assert sliced_wasserstein(a, a[::-1], projections=50, seed=0) == pytest.approx(0, abs=1e-12)


def test_code_gap_does_not_depend_on_units_and_is_bounded_for_a_collapsed_dimension():
    encoded, sampled = normal(0, 400, 6), normal(1, 400, 6, 1.5)
    gap = code_gap(encoded, sampled, seed=0)
    units = np.float32([1e-3, 1, 1e3, 5, 7, 9])
    assert code_gap(encoded * units, sampled * units, seed=0) == pytest.approx(gap, rel=1e-4)
    assert code_gap(encoded, encoded[::-1], seed=0) == pytest.approx(0, abs=1e-9) and gap > 0.1
    encoded[:, :3] *= 1e-6
    assert gap < code_gap(encoded, sampled, seed=0) < np.sqrt(2)
    assert code_gap(np.zeros((5, 2)), np.zeros((5, 2)), seed=0) == 0


@pytest.mark.parametrize("other", [(39, 6), (40, 5)])
def test_codes_of_another_number_or_shape_are_refused(other):
    with pytest.raises(UserError, match="equally many codes"):
        code_gap(normal(0, 40, 6), normal(1, *other), seed=0)


def noise(seed, n, side=6):
    return np.random.default_rng(seed).integers(256, size=(n, 1, side, side)).astype(np.uint8)


def test_memorisation_is_zero_for_copies_and_about_one_for_unseen_images():
    training, test = noise(0, 200), noise(1, 60)

    def ratio(generated):
        inputs = Inputs(
            real_features=lambda: normal(0, 5, 2),
            seed=0,
            distance_key="fd",
            generated_images=generated,
            training_set=lambda: training,
            test_set=lambda: test,
        )
        return memorisation.measure(inputs)["memorisation"]

    assert ratio(training[50:90]) == 0
    assert ratio(noise(2, 60)) == pytest.approx(1, abs=0.05)
    assert ratio(np.where(training[:60] > 250, training[:60] - 20, training[:60])) < 0.3


# ---- clipped density and coverage


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 1])
def test_clipped_density_and_coverage_are_the_share_of_good_images(share):
    real, generated = normal(0, 2000, 6), normal(1, 2000, 6)
    generated[round(share * 2000) :] += 1000
    found = measure("clipped_density_coverage", generated, real)
    assert found["clipped_density"] == pytest.approx(share, abs=0.04)
    assert found["clipped_coverage"] == pytest.approx(share, abs=0.04)


def test_neither_outliers_among_the_real_images_nor_crowding_inflate_clipped_density():
    real = normal(0, 1000, 6)
    real[:5] += 100  # outliers, whose balls contain everything in between
    between = normal(1, 1000, 6) + 60
    assert measure("density_coverage", between, real)["density"] > 0.2
    assert measure("clipped_density_coverage", between, real)["clipped_density"] == 0
    crowded = measure("clipped_density_coverage", 0.3 * normal(2, 1000, 6), real)
    assert crowded["clipped_density"] == 1 and crowded["clipped_coverage"] < 0.3


# ---- copies


def test_copies_are_told_apart_from_unseen_and_from_poor_images():
    training, test = normal(0, 3000, 6), normal(1, 1500, 6)
    said = partial(copying_z, test=test, training=training, seed=0)
    assert abs(said(generated=normal(2, 1500, 6))) < 1.5
    assert said(generated=training[:1500] + 0.05 * normal(3, 1500, 6)) < -3
    mixed = np.concatenate([training[:500] + 0.05 * normal(3, 500, 6), normal(4, 1000, 6)])
    assert said(generated=mixed) < -3, "a third of the images are copies"
    assert said(generated=normal(2, 1500, 6, 1.6)) > 3, "images unlike the data must not score near 0"


def test_the_test_for_copies_in_one_region_equals_scipys_mann_whitney(monkeypatch):
    from scipy.stats import mannwhitneyu

    monkeypatch.setitem(copying.SETTINGS, "regions", 1)
    training, test, generated = normal(0, 200, 4), normal(1, 90, 4), normal(2, 110, 4, 1.2)
    distances = [np.sqrt(exact(x, training)).min(axis=1) for x in (generated, test)]
    p = mannwhitneyu(*distances, alternative="less", use_continuity=False, method="asymptotic").pvalue
    assert norm.cdf(copying_z(generated=generated, test=test, training=training, seed=0)) == pytest.approx(p, rel=1e-6)


# ---- the density of codes


def test_a_classifier_tells_codes_apart_only_if_their_distributions_differ():
    codes = normal(0, 800, 5), normal(1, 800, 5)
    assert held_out_accuracy(*codes, seed=0) == pytest.approx(0.5, abs=0.06)
    dependent = codes[1].copy()
    dependent[:, 1] = dependent[:, 0]  # the same marginal distributions
    assert held_out_accuracy(codes[0], dependent, seed=0) > 0.8


# ---- SSIM


def test_ssim_of_equal_and_of_constant_images_is_known():
    x = noise(0, 4, 16)
    assert reconstruction_ssim(x, x) == pytest.approx(1)
    a, b = np.full((1, 1, 16, 16), 51, np.uint8), np.full((1, 1, 16, 16), 204, np.uint8)
    assert reconstruction_ssim(a, b) == pytest.approx((2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4))
    assert reconstruction_ssim(x, 255 - x) < -0.5
    assert reconstruction_ssim(noise(0, 4, 8), noise(0, 4, 8)) == pytest.approx(1), "images smaller than the window"


# ---- all of them through evaluate

EVERY = Protocol(extractor="random_conv", count=40, batch=20, metrics=tuple(metrics.names()))
OF_THE_MODEL = {"reconstruction_fd", "interpolation_fd", "code_gap", "code_nll"}


def scores(folder, protocol=EVERY, n=40, **more):
    generated = [noise(s, n, 12) for s in (1, 2)]
    return scored(protocol, generated=generated, real=noise(0, n, 12), data_folder=folder, **more)


def test_every_metric_of_a_full_evaluation_gives_its_values_and_says_what_it_used(tmp_path, monkeypatch):
    monkeypatch.setitem(copying.SETTINGS, "regions", 1)  # 40 images are too few for ten
    result = scores(
        tmp_path,
        reconstructions=lambda: (noise(0, 60, 12), noise(3, 60, 12)),
        interpolations=lambda: noise(4, 60, 12),
        neighbour_interpolations=lambda: noise(6, 60, 12),
        codes=lambda: (normal(0, 30, 5), normal(1, 30, 5)),
        test_codes=lambda n: (normal(2, 30, 5), normal(3, 30, 5)),
        log_prior=lambda n: (np.full(30, -10.0), 5),
        training_images=lambda: noise(5, 80, 12),
        test_images=lambda: noise(0, 60, 12),
    )
    assert result.failed == {} and set(result.settings) == set(metrics.names())
    assert result.model["code_nll"] == 2, "nats per dimension"
    per_draw = {v for name in metrics.names() for v in metrics.load(name).VALUES if metrics.load(name).PER == "draw"}
    assert [set(draw) for draw in result.draws] == [per_draw - {"fid", "fwd"}] * 2
    assert {*OF_THE_MODEL, "interpolation_fd_nearest", "reconstruction_ssim"} <= set(result.model)
    assert result.settings["kid"]["subset_size"] == 40 and result.settings["reconstruction_fd"]["n_images"] == 40
    assert "40 images for 64 features" in result.settings["fd"]["note"]


def test_metrics_on_a_gpu_give_the_numbers_of_the_cpu(tmp_path, monkeypatch):
    """The GPU is emulated and has the arithmetic of a CPU, so this tests that everything is on the right device and
    that the algorithms used only on a GPU are right.
    """
    monkeypatch.setitem(copying.SETTINGS, "regions", 1)
    monkeypatch.setitem(fd_infinity.SETTINGS, "most_rounds", 2)
    model = {
        "reconstructions": lambda: (noise(0, 40, 12), noise(5, 40, 12)),
        "interpolations": lambda: noise(6, 40, 12),
        "neighbour_interpolations": lambda: noise(7, 40, 12),
        "training_images": lambda: noise(8, 60, 12),
        "test_images": lambda: noise(0, 40, 12),
    }
    packets = Protocol(extractor="wavelet", count=40, metrics=("fd", "reconstruction_fd"))
    light = Protocol(extractor="random_conv", count=40, batch=20, metrics=("fd",))
    with emulated_cuda() as gpu:
        there = [scores(tmp_path / "there", each, device="cuda", **model) for each in (EVERY, light, packets)]
    here = [scores(tmp_path / "here", each, **model) for each in (EVERY, light, packets)]
    for ours, theirs in zip(there, here, strict=True):
        assert ours.failed == theirs.failed == {}
        for a, b in zip([*ours.draws, ours.model], [*theirs.draws, theirs.model], strict=True):
            assert a == pytest.approx(b, rel=1e-5, abs=1e-6)  # KID is near 0
    waited = {where.split("/")[-1].split(":")[0] for _, where in gpu.waits}
    assert {"balls.py", "frechet.py", "kid.py", "memorisation.py", "copying.py", "kmeans.py"} <= waited, (
        "each of these modules must have used the GPU"
    )


def test_what_a_model_lacks_is_not_applicable_rather_than_a_failure(tmp_path):
    result = scores(tmp_path, interpolations=lambda: None, codes=lambda: None)
    assert result.failed == {} and result.model == {}
    for name in (*OF_THE_MODEL, "memorisation", "reconstruction"):
        assert result.settings[name]["not_applicable"]


def test_metrics_that_need_more_images_fail_and_say_how_many(tmp_path):
    result = scores(tmp_path, EVERY.model_copy(update={"count": 3}), n=3)
    assert "at least 4 images a set, there are 3" in result.failed["precision_recall"]
    assert "at least 6 images a set, there are 3" in result.failed["density_coverage"]
    assert "needs 30 images, there are 3" in result.failed["fd_infinity"]
    assert "at least 20 images a set, there are 3" in result.failed["prd"]
    assert {"fd", "kid"} <= set(result.draws[0])


def test_the_root_of_the_real_covariance_is_computed_once_and_again_if_the_file_is_damaged(tmp_path, monkeypatch):
    computed = []
    true_of = Reference.of
    monkeypatch.setattr(Reference, "of", lambda *a: computed.append(1) or true_of(*a))
    protocol = EVERY.model_copy(update={"metrics": ("fd",)})
    first = scores(tmp_path, protocol).draws
    assert scores(tmp_path, protocol).draws == first and len(computed) == 1
    (file,) = tmp_path.rglob("reference.npz")
    file.write_bytes(file.read_bytes()[:-50])
    assert scores(tmp_path, protocol).draws == first and len(computed) == 2
    np.savez(file, mean=np.zeros(3))
    assert scores(tmp_path, protocol).draws == first and len(computed) == 3
    network = extractors.build("random_conv", tmp_path, "digits")
    real, generated = (features.extract(noise(s, 40, 12), network, batch=20, device="cpu") for s in (0, 1))
    (mean_a, cov_a, _), (mean_b, cov_b, _) = moments(real), moments(generated)
    assert first[0]["fd"] == frechet_distance(mean_a=mean_a, cov_a=cov_a, mean_b=mean_b, cov_b=cov_b)
