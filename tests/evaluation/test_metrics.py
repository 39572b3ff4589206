"""The metrics on inputs with known answers."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

from aegen_bench.errors import UserError
from aegen_bench.evaluation import metrics
from aegen_bench.evaluation.frechet import Accumulator, frechet_distance, moments
from aegen_bench.evaluation.metric import Inputs
from aegen_bench.evaluation.metrics import prd as prd_module
from aegen_bench.evaluation.metrics.prd import max_f_beta, prd_curve
from aegen_bench.evaluation.metrics.reconstruction import reconstruction_mse, reconstruction_psnr


def fd(a, b):
    (mean_a, cov_a, _), (mean_b, cov_b, _) = moments(a), moments(b)
    return frechet_distance(mean_a=mean_a, cov_a=cov_a, mean_b=mean_b, cov_b=cov_b)


def prd(generated, real, seed=0):
    return max_f_beta(*prd_curve(generated=generated, real=real, seed=seed))


def normal(seed, n, d, scale=1.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) * scale).astype(np.float32)


def covariance(seed, d, rank):
    factor = np.random.default_rng(seed).normal(size=(d, rank))
    return factor @ factor.T / rank


# ---- Fréchet distance


def test_moments_are_those_of_numpy_in_float64():
    x = normal(0, 50, 7) + 1000
    mean, cov, n = moments(x)
    assert n == 50
    assert mean.dtype == cov.dtype == np.float64
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(cov, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9)


@pytest.mark.parametrize("batch", [1, 50, 1024, 1500, 4000])
def test_moments_do_not_depend_on_how_the_features_are_batched(batch):
    x = normal(0, 2500, 5)
    stream = Accumulator()
    for start in range(0, len(x), batch):
        stream.add(x[start : start + batch])
    for found, whole in zip(stream.moments(), moments(x), strict=True):
        np.testing.assert_array_equal(found, whole)
    np.testing.assert_allclose(stream.moments().cov, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9)


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (4,)])
def test_moments_of_fewer_than_two_images_are_refused(shape):
    with pytest.raises(UserError, match="at least 2 images"):
        moments(np.zeros(shape, np.float32))


@pytest.mark.parametrize(("n", "d"), [(500, 16), (20, 64), (2, 8), (30, 1)])
def test_distance_of_a_set_to_itself_is_zero(n, d):
    x = normal(1, n, d)
    assert 0 <= fd(x, x) < 1e-4


def test_distance_ignores_the_order_of_the_images():
    a, b = normal(2, 300, 24), normal(3, 300, 24, 1.3)
    assert fd(a[::-1], np.roll(b, 7, axis=0)) == pytest.approx(fd(a, b), rel=1e-9)


def test_distance_of_two_gaussians_with_commuting_covariances_is_the_analytic_one():
    s, t = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.0])
    rotation = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    mean = np.array([1.0, -2.0, 0.5])
    expected = (mean**2).sum() + ((np.sqrt(s) - np.sqrt(t)) ** 2).sum()
    cov_a, cov_b = (rotation * s) @ rotation.T, (rotation * t) @ rotation.T
    got = frechet_distance(mean_a=mean, cov_a=cov_a, mean_b=np.zeros(3), cov_b=cov_b)
    assert got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "cov_b",
    [
        covariance(6, 24, 24),
        covariance(6, 24, 6),
        np.cov(np.random.default_rng(6).normal(size=(10, 24)), rowvar=False),
        np.diag(np.logspace(-14, 0, 24)),
        covariance(5, 24, 24),
    ],
    ids=["full rank", "rank-deficient", "n < d", "near-singular", "identical"],
)
def test_eigenvalue_route_equals_the_matrix_square_root(cov_b):
    from scipy.linalg import sqrtm

    mean, cov_a = np.zeros(24), covariance(5, 24, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sqrtm warns about singular input
        root = sqrtm(cov_a @ cov_b)
    expected = np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root).real
    assert frechet_distance(mean_a=mean, cov_a=cov_a, mean_b=mean, cov_b=cov_b) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("cov_a", "cov_b"),
    [
        (covariance(7, 40, 3), covariance(8, 40, 2)),
        (np.zeros((40, 40)), covariance(8, 40, 40)),
        (np.eye(40) * 1e-14, np.eye(40) * 1e-14),
        (covariance(7, 40, 40) - 1e-12 * np.eye(40), covariance(7, 40, 40)),
    ],
    ids=["rank-deficient", "zero", "near-singular", "nearly identical"],
)
def test_distance_is_symmetric_real_and_never_negative(cov_a, cov_b):
    mean = np.zeros(40)
    forth = frechet_distance(mean_a=mean, cov_a=cov_a, mean_b=mean, cov_b=cov_b)
    back = frechet_distance(mean_a=mean, cov_a=cov_b, mean_b=mean, cov_b=cov_a)
    assert type(forth) is float and np.isfinite(forth) and forth >= 0
    assert forth == pytest.approx(back, abs=1e-4)


def test_distance_of_fewer_images_than_features_is_finite_and_positive():
    value = fd(normal(9, 10, 200), normal(10, 10, 200))
    assert np.isfinite(value) and value > 1


def test_non_finite_features_are_refused():
    bad = normal(11, 20, 4)
    bad[3, 2] = np.nan
    with pytest.raises(UserError, match="finite"):
        fd(bad, normal(12, 20, 4))


# ---- PRD (the summaries in this order: F8, which favours recall, then F1/8, which favours precision)


def ten_modes(seed, n, modes):
    rng = np.random.default_rng(seed)
    return (10 * np.eye(16)[rng.integers(modes, size=n)] + 0.3 * rng.normal(size=(n, 16))).astype(np.float32)


def test_prd_of_identical_sets_is_one():
    x = normal(13, 600, 8)
    assert prd(x, x) == pytest.approx((1.0, 1.0), abs=1e-6)


def test_prd_of_disjoint_sets_is_zero():
    x = normal(14, 600, 8)
    assert prd(x, x + 100) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_prd_of_two_draws_of_one_distribution_is_near_one():
    assert min(prd(normal(15, 3000, 8), normal(16, 3000, 8))) >= 0.98


def test_dropping_half_of_the_modes_costs_recall_and_the_swap_costs_precision():
    real, dropped = ten_modes(17, 2000, 10), ten_modes(18, 2000, 5)
    f8, f1_8 = prd(generated=dropped, real=real)
    assert f8 == pytest.approx(0.497, abs=0.03) and f1_8 == pytest.approx(0.972, abs=0.03)
    assert prd(generated=real, real=dropped) == pytest.approx((f1_8, f8), abs=0.02)


def test_prd_curve_is_reproduced_by_its_seed_alone():
    generated, real = normal(19, 400, 6), normal(20, 400, 6, 1.2)
    np.random.seed(1)
    first = prd_curve(generated=generated, real=real, seed=3)
    np.random.seed(2)
    again = prd_curve(generated=generated, real=real, seed=3)
    other = prd_curve(generated=generated, real=real, seed=30)
    assert first[0].shape == first[1].shape == (1001,)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(first, other, atol=0.1)


def test_prd_follows_its_definition_on_known_histograms(monkeypatch):
    monkeypatch.setitem(prd_module.KMEANS, "n_clusters", 2)  # with two distant points, the clusters are known
    generated = np.repeat(np.float32([[0], [100]]), [30, 70], axis=0)
    real = np.repeat(np.float32([[0], [100]]), [60, 40], axis=0)
    precision, recall = prd_curve(generated=generated, real=real, seed=0)
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, 1001))
    expected = np.minimum(slopes * 0.6, 0.3) + np.minimum(slopes * 0.4, 0.7)
    np.testing.assert_allclose(precision, expected, atol=1e-12)
    np.testing.assert_allclose(recall, expected / slopes, atol=1e-12)


def test_prd_settings_are_those_of_the_published_algorithm():
    kmeans = {"n_clusters": 20, "n_init": 10, "batch_size": 100, "init_size": 300}
    settings = {"runs": 10, "angles": 1001, "beta": 8, "kmeans": kmeans}
    assert settings == prd_module.SETTINGS


def test_f_beta_weights_recall_first_and_precision_second():
    f8, f1_8 = max_f_beta(np.array([0.9]), np.array([0.1]))
    assert f8 == pytest.approx(65 * 0.09 / (64 * 0.9 + 0.1), rel=1e-6)
    assert f1_8 == pytest.approx((1 + 1 / 64) * 0.09 / (0.9 / 64 + 0.1), rel=1e-6)


@pytest.mark.parametrize(("n_generated", "n_real", "message"), [(30, 40, "equal size"), (19, 19, "at least 20 images")])
def test_prd_refuses_unequal_or_tiny_sets(n_generated, n_real, message):
    with pytest.raises(UserError, match=message):
        prd_curve(generated=normal(0, n_generated, 3), real=normal(1, n_real, 3), seed=0)


# ---- reconstruction


def test_reconstruction_error_and_psnr_of_a_constant_shift():
    x = np.full((300, 3, 4, 4), 100, np.uint8)
    x_hat = x + np.uint8(51)
    assert reconstruction_mse(x, x_hat) == pytest.approx(0.04)  # (51 / 255)^2
    assert reconstruction_psnr(x, x_hat) == pytest.approx(-10 * np.log10(0.04))
    assert reconstruction_mse(x_hat, x) == pytest.approx(0.04)  # uint8 differences must not wrap


def test_psnr_is_averaged_over_images_and_finite_for_an_exact_copy():
    x = np.zeros((2, 1, 2, 2), np.uint8)
    x_hat = x.copy()
    x_hat[1] = 255
    assert reconstruction_psnr(x, x_hat) == pytest.approx((10 * np.log10(255**2 * 4) + 0) / 2)
    assert reconstruction_mse(x, x) == 0


def test_reconstructions_of_another_shape_or_dtype_are_refused():
    x = np.zeros((2, 1, 4, 4), np.uint8)
    for wrong in (x[:1], x.astype(np.float32)):
        with pytest.raises(UserError, match="reconstruction metrics need uint8"):
            reconstruction_mse(x, wrong)


# ---- the contract that every metric keeps


@pytest.mark.parametrize("name", metrics.names())
def test_a_metric_returns_the_values_it_declares_and_leaves_its_inputs_alone(name, monkeypatch):
    metric = metrics.load(name)
    if name == "copying":
        monkeypatch.setitem(metric.SETTINGS, "regions", 1)  # 50 images are too few for ten
    images = np.random.default_rng(0).integers(256, size=(50, 1, 4, 4)).astype(np.uint8)
    a, b = normal(0, 50, 6), normal(1, 50, 6)
    kept = a.copy(), b.copy(), images.copy()
    inputs = Inputs(
        generated_features=lambda: a,
        generated_images=images[:20],
        real_features=lambda: b,
        reconstruction_pairs=lambda: (images, images[::-1]),
        reconstruction_moments=lambda: moments(a),
        interpolation_moments=lambda: moments(a),
        neighbour_moments=lambda: moments(b),
        code_sets=lambda: (a, b),
        test_code_sets=lambda: (a, b),
        code_densities=lambda: (np.full(50, -1.0), 6),
        training_features=lambda: b,
        training_set=lambda: images[20:40],
        test_set=lambda: images[40:],
        seed=0,
        distance_key="fd",
    )
    measured = metric.measure(inputs)
    json.dumps({**metric.SETTINGS, **measured.pop("settings", {})}, allow_nan=False)
    assert measured and {key for key, value in measured.items() if np.ndim(value) == 0} <= set(metric.VALUES)
    assert all(np.isfinite(value).all() for value in measured.values())
    assert metric.PER in ("draw", "model") and metric.SOURCE
    assert all(value.better in ("lower", "higher") and value.unit for value in metric.VALUES.values())
    for array, copy in zip((a, b, images), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_metrics_are_the_files_of_their_folder():
    assert {"fd", "prd", "reconstruction"} <= set(metrics.names())
    assert "__init__" not in metrics.names()
    with pytest.raises(UserError, match="did you mean 'prd'"):
        metrics.load("pdr")


def test_neither_protocol_nor_metrics_import_torch_scipy_or_sklearn():
    code = (
        "import sys; from aegen_bench.evaluation import Protocol, metrics; Protocol(extractor='inception').id; "
        "[metrics.load(n) for n in metrics.names()]; "
        "sys.exit(' '.join({'torch', 'torchvision', 'scipy', 'sklearn', 'pandas'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
