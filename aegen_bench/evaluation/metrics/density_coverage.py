"""Each real image has a ball that reaches to its k-th nearest real neighbour (k = 5). Density: the mean number of balls
that contain a generated image, divided by k. Coverage: the share of balls that contain at least one generated image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aegen_bench.errors import UserError
from aegen_bench.evaluation.manifold import real_radii
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "measure"]

PER = "draw"
# Density has no upper bound: it exceeds 1 if generated images crowd into overlapping balls.
VALUES = {"density": Value(better="higher", unit="1"), "coverage": Value(better="higher", unit="fraction")}
SETTINGS: dict[str, Any] = {"k": 5, "balls": "open", "distance": "Euclidean"}
SOURCE = "Naeem et al. 2020, Reliable Fidelity and Diversity Metrics for Generative Models, eq. 2 and 3"


def measure(inputs: Inputs) -> Measured:
    """Return density (at least 0) and coverage (in [0, 1])."""
    from aegen_bench.numerics.balls import in_balls

    generated, real, k = inputs.generated, inputs.real, SETTINGS["k"]
    if not np.isfinite(generated).all():
        raise UserError("density and coverage need finite features; there are NaN or infinite ones")
    balls, members = in_balls(generated, real, real_radii(inputs, k), closed=False, device=inputs.device)
    return {"density": float(balls.mean() / k), "coverage": float((members > 0).mean())}
