"""`aegen_bench.evaluate` from Python: accepted input, and errors for everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import aegen_bench
from aegen_bench import data
from aegen_bench.errors import UserError

X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
EXPECTED = np.rint(X.numpy() * 255).astype(np.uint8)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: x.double().requires_grad_(),
        lambda x: x.numpy(),
        lambda x: torch.from_numpy(EXPECTED),
        lambda x: EXPECTED.tolist() and EXPECTED,
        lambda x: x[:, :, ::1].clone().share_memory_(),
        lambda x: torch.nn.Parameter(x),
    ],
)
def test_dense_float_and_uint8_images_are_accepted(make: Callable[[Tensor], Any]) -> None:
    np.testing.assert_array_equal(data.as_uint8(make(X)), EXPECTED)


REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "bfloat16": lambda x: x.bfloat16(),
    "sparse": lambda x: x.to_sparse(),
    "meta": lambda x: x.to("meta"),
    "complex": lambda x: x.to(torch.complex64),
    "bool": lambda x: x > 0.5,
    "int64": lambda x: (x * 255).long(),
    "ragged": lambda x: [[1.0], [1.0, 2.0]],
    "objects": lambda x: np.array([None, "x"], dtype=object),
    "nothing": lambda x: None,
    "a name": lambda x: "folder/of/images",
    "another scale": lambda x: x * 255,
    "negative": lambda x: x * 2 - 1,
    "nan": lambda x: x * float("nan"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_images_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError) as error:
        aegen_bench.evaluate(REFUSED[kind](X), dataset="digits", protocol="smoke", folder=tmp_path)
    assert "\n" not in str(error.value) and ("images" in str(error.value))


@pytest.mark.parametrize("seed", [-1, 2**31, 2**64, 0.5, "0", None, True])
def test_an_invalid_seed_is_refused(tmp_path: Path, seed: Any) -> None:
    with pytest.raises(UserError, match=f"seed {seed!r}: expected a whole number from 0 to 2147483647"):
        aegen_bench.evaluate(X, dataset="digits", protocol="smoke", seed=seed, folder=tmp_path)


@pytest.mark.parametrize("dataset", ["all", "digts", "../digits"])
def test_an_unknown_dataset_is_refused(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(UserError, match="unknown dataset"):
        aegen_bench.evaluate(X, dataset=dataset, protocol="smoke", folder=tmp_path)
