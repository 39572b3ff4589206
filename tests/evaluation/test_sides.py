"""The direction of metrics: fidelity against diversity, and monotonicity as images get worse."""

from __future__ import annotations

import numpy as np
import pytest
from measuring import measure

from aegen_bench.evaluation import extractors, metrics
from aegen_bench.evaluation.features import extract

SIDED = {
    "prd": ("f1_8", "f8"),
    "precision_recall": ("precision", "recall"),
    "density_coverage": ("density", "coverage"),
}


def modes(seed, n, of):
    """Return n points, spread in 3 of the 16 dimensions around `of` corners.

    Spread in all 16, a fifth of a set would lie outside the neighbour balls of another set of the same distribution.
    """
    rng = np.random.default_rng(seed)
    return (10 * np.eye(16)[rng.integers(of, size=n)] + 0.3 * rng.normal(size=(n, 3)) @ np.eye(3, 16)).astype(
        np.float32
    )


@pytest.mark.parametrize("name", SIDED)
def test_a_generator_that_drops_half_of_the_modes_is_precise_and_recalls_half(name):
    precision, recall = SIDED[name]
    dropped = measure(name, modes(1, 800, 5), modes(0, 800, 10))
    assert dropped[precision] > 0.85 and 0.4 < dropped[recall] < 0.6


@pytest.mark.parametrize("name", SIDED)
def test_a_generator_with_twice_the_modes_recalls_all_and_is_half_precise(name):
    precision, recall = SIDED[name]
    invented = measure(name, modes(1, 800, 10), modes(0, 800, 5))
    assert invented[recall] > 0.85 and 0.4 < invented[precision] < 0.6


# ---- real photographs, damaged step by step


@pytest.fixture(scope="module")
def patches():
    """Two interleaved sets of 32 x 32 patches of the photographs that scikit-learn ships."""
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    cut = [p[i : i + 32, j : j + 32] for p in photographs for i in range(0, 396, 18) for j in range(0, 608, 30)]
    images = np.stack(cut).transpose(0, 3, 1, 2)
    return images[::2], images[1::2]


def noisy(images, level):
    spoiled = images + 40 * level * np.random.default_rng(0).normal(size=images.shape)
    return spoiled.clip(0, 255).round().astype(np.uint8)


def blurred(images, level):
    width = 1 + 4 * level
    padded = np.pad(images.astype(np.float64), [(0, 0), (0, 0), (width // 2,) * 2, (width // 2,) * 2], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (width, width), axis=(2, 3))
    return windows.mean(axis=(4, 5)).round().astype(np.uint8)


@pytest.fixture(scope="module")
def worsening(patches, tmp_path_factory):
    """{damage: {value: numbers at levels 0, 1 and 2}} for every metric that compares generated with real features."""
    network = extractors.build("random_conv", tmp_path_factory.mktemp("data"), "digits")
    real, others = patches

    def features(images):
        return extract(images, network, batch=100, device="cpu")

    of_real = features(real)
    on_pixels_or_training_images = ("memorisation", "copying")
    names = [n for n in metrics.names() if metrics.load(n).PER == "draw" and n not in on_pixels_or_training_images]

    def numbers(images):
        x = features(images)
        measured = {k: v for n in names for k, v in measure(n, x, of_real).items() if k not in ("settings", "prd")}
        # With so few images, a single PRD varies as much as a little blur changes it.
        repeated = [measure("prd", x, of_real, seed) for seed in range(8)]
        return measured | {key: np.mean([one[key] for one in repeated]) for key in ("f8", "f1_8")}

    clean, found = numbers(others), {}
    for damage in (noisy, blurred):
        levels = [clean, *(numbers(damage(others, level)) for level in (1, 2))]
        found[damage.__name__] = {key: [one[key] for one in levels] for key in clean}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["noisy", "blurred"])
@pytest.mark.parametrize("value", ["fd", "kid", "fd_infinity"])
def test_distances_grow_as_images_get_worse(worsening, damage, value):
    clean, worse, worst = worsening[damage][value]
    assert clean < worse < worst


FRACTIONS = ["f8", "f1_8", "precision", "recall", "density", "coverage"]
# Blurred images lie between the real ones, well inside their balls, so precision does not detect a little blur.
BLIND = [("blurred", "precision")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "value"), [(d, v) for d in ("noisy", "blurred") for v in FRACTIONS if (d, v) not in BLIND]
)
def test_fractions_fall_as_images_get_worse(worsening, damage, value):
    clean, worse, worst = worsening[damage][value]
    assert clean > worse >= worst and clean > worst


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "value"), BLIND)
def test_heavy_damage_is_detected_even_where_a_little_is_not(worsening, damage, value):
    clean, _, worst = worsening[damage][value]
    assert clean > worst
