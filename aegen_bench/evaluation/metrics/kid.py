"""Kernel inception distance (KID): an unbiased estimate, which may be negative, of the squared MMD with a cubic kernel,
and its standard error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs, Measured, Value
from aegen_bench.numerics.mmd import mmd2, mmd2_variance

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "kid", "measure"]

PER = "draw"
VALUES = {"kid": Value(better="lower", unit="1"), "kid_se": Value(better="lower", unit="1")}
SETTINGS: dict[str, Any] = {"kernel": "(x.y / d + 1)^3", "estimator": "unbiased", "subsets": 100, "subset_size": 1000}
SOURCE = (
    "Binkowski et al. 2018, Demystifying MMD GANs, section 4.1; standard error: the first-order variance of a "
    "U-statistic, as in Sutherland et al. 2017, Generative Models and Model Criticism, eq. 5"
)

Features = NDArray[np.float32]


def measure(inputs: Inputs) -> Measured:
    """Return KID and its standard error."""
    value, error, used = kid(generated=inputs.generated, real=inputs.real, seed=inputs.seed, device=inputs.device)
    return {"kid": value, "kid_se": error, "settings": used}


def kid(*, generated: Features, real: Features, seed: int, device: str = "cpu") -> tuple[float, float, dict[str, int]]:
    """Return the mean of MMD^2 over seeded subsets of features [n, d], its standard error, and the subsets used.

    The mean may be negative. The subsets are those of torch-fidelity for the same seed. They are no larger than the
    smaller set; if one subset contains all images of both sets, only one is used. UserError for fewer than 2 images.

    The standard error covers the choice of images from the two distributions and of subsets. It is conservative (too
    large) if the distributions are equal.
    """
    import torch

    size = min(SETTINGS["subset_size"], len(generated), len(real))
    if size < 2:
        raise UserError(f"KID needs at least 2 images a set, there are {len(generated)} and {len(real)}")
    subsets = 1 if len(generated) == len(real) == size else SETTINGS["subsets"]
    random = np.random.RandomState(seed)
    sides = [torch.from_numpy(features).to(device) for features in (generated, real)]
    values, of_images = [], []
    for _ in range(subsets):
        x, y = (z[torch.from_numpy(random.choice(len(z), size, replace=False)).to(device)] for z in sides)
        kernels = _kernel(x, x), _kernel(y, y), _kernel(x, y)
        values.append(float(mmd2(*kernels)))
        of_images.append(mmd2_variance(*kernels, n_a=len(generated), n_b=len(real)))
    of_subsets = np.var(values, ddof=1) / subsets if subsets > 1 else 0.0
    error = float(np.sqrt(np.mean(of_images) + of_subsets))
    return float(np.mean(values)), error, {"subsets": subsets, "subset_size": size}


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    from aegen_bench.numerics.tuning import linear

    base = linear(x, y).double().div_(x.shape[1]).add_(1)
    return base * base * base  # twice as fast as a power
