"""Kernel distance: the unbiased squared MMD with a cubic kernel; KID with the Inception network of 2015."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs, Measured, Value
from aegen_bench.numerics.mmd import mmd2

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "kid", "measure"]

PER = "draw"
VALUES = {"kid": Value(better="lower", unit="1")}
SETTINGS: dict[str, Any] = {"kernel": "(x.y / d + 1)^3", "estimator": "unbiased", "subsets": 100, "subset_size": 1000}
SOURCE = "Binkowski et al. 2018, Demystifying MMD GANs, section 4.1"

Features = NDArray[np.float32]


def measure(inputs: Inputs) -> Measured:
    value, used = kid(generated=inputs.generated, real=inputs.real, seed=inputs.seed)
    return {"kid": value, "settings": used}


def kid(*, generated: Features, real: Features, seed: int) -> tuple[float, dict[str, int]]:
    """Return the mean of MMD^2 over seeded subsets of features [n, d], and the subsets used; it may be negative.

    The subsets are those of torch-fidelity for the same seed. They shrink to the smaller set; where both sets are
    no larger than one subset, that one is all there is.
    """
    import torch

    size = min(SETTINGS["subset_size"], len(generated), len(real))
    if size < 2:
        raise UserError(f"KID needs at least 2 images a set, there are {len(generated)} and {len(real)}")
    subsets = 1 if len(generated) == len(real) == size else SETTINGS["subsets"]
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        x, y = (torch.from_numpy(z[random.choice(len(z), size, replace=False)]) for z in (generated, real))
        values.append(float(mmd2(_kernel(x, x), _kernel(y, y), _kernel(x, y))))
    return float(np.mean(values)), {"subsets": subsets, "subset_size": size}


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    from aegen_bench.numerics.products import linear

    base = linear(x, y).double().div_(x.shape[1]).add_(1)
    return base * base * base  # a power of floats would take twice as long
