"""Numerics shared by training and evaluation, compared with brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods import Largest
from torch import Tensor

from aegen_bench.numerics import neighbours
from aegen_bench.numerics.chunks import rows
from aegen_bench.numerics.mmd import mmd2
from aegen_bench.numerics.neighbours import nearest


def _brute_force(queries: Tensor, base: Tensor, k: int) -> tuple[Tensor, Tensor]:
    distances = (queries[:, None].double() - base[None].double()).square().flatten(2).sum(2)
    sorted_distances, order = distances.sort(1)
    return order[:, :k], sorted_distances[:, :k]


@pytest.mark.parametrize("chunk", [4096, 7, 1])
@pytest.mark.parametrize("k", [1, 5, 30])
def test_nearest_agrees_with_brute_force_for_any_chunk_size(
    monkeypatch: pytest.MonkeyPatch, chunk: int, k: int
) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    random = torch.Generator().manual_seed(0)
    queries, base = torch.randn(6, 2, 3, generator=random), torch.randn(30, 2, 3, generator=random)
    where, distances = nearest(queries, base, k)
    expected_where, expected = _brute_force(queries, base, k)
    assert torch.equal(where, expected_where)
    assert torch.allclose(distances.double(), expected, atol=1e-5)


def test_nearest_holds_only_the_distances_to_one_chunk_of_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", 32)
    queries, base = torch.zeros(64, 5), torch.zeros(2048, 5)
    with Largest() as made:
        nearest(queries, base, 3)
    assert 64 * 32 <= made.numbers <= 64 * (32 + 3)


def test_uint8_images_are_compared_on_a_scale_of_zero_to_one() -> None:
    base = torch.tensor([[0, 0], [255, 255], [0, 255]], dtype=torch.uint8)
    where, distances = nearest(base[1:2], base, 3)
    assert where.tolist() == [[1, 2, 0]]
    assert distances.tolist() == [[0, 1, 2]]


def test_a_point_of_the_base_is_its_own_nearest_neighbour() -> None:
    base = torch.randint(256, (50, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    where, distances = nearest(base, base, 2)
    assert where[:, 0].tolist() == list(range(50))
    assert distances.min() >= 0
    assert (distances[:, 0] < 1e-5 * distances[:, 1]).all()


def test_the_unbiased_mmd_is_zero_on_average_only_for_equal_distributions() -> None:
    random = np.random.default_rng(0)

    def value(shift: float) -> float:
        a, b = random.standard_normal((2, 10, 3))
        b = b + shift
        return float(mmd2(_gauss(a, a), _gauss(b, b), _gauss(a, b)))

    same = np.array([value(0.0) for _ in range(2000)])
    assert abs(same.mean()) < 4 * same.std() / 2000**0.5
    assert same.min() < 0, "a single value may be negative"
    assert np.mean([value(1.0) for _ in range(50)]) > 0.1


def test_the_unbiased_mmd_leaves_out_only_pairs_of_a_point_with_itself() -> None:
    a, b, across = np.array([[9.0, 2], [2, 9]]), np.array([[9.0, 3], [3, 9]]), np.array([[1.0, 2], [3, 4]])
    assert mmd2(a, b, across) == 2 + 3 - 2 * 2.5


def _gauss(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.exp(-np.square(a[:, None] - b[None]).sum(2) / 2)


def test_chunks_are_full_up_to_3x64x64_and_shrink_for_larger_images() -> None:
    assert [rows(4096, numbers) for numbers in (1, 784, 3 * 64 * 64)] == [4096] * 3
    assert (rows(4096, 3 * 256 * 256), rows(500, 3 * 256 * 256)) == (256, 31)
    assert rows(7, 10**12) == 1
