"""Improved precision and recall: the share of generated images that lie in a nearest-neighbour ball of a real image,
and the share of real images that lie in such a ball of a generated one (k = 3).
"""

from __future__ import annotations

from typing import Any

from aegen_bench.evaluation.manifold import radii, real_radii
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "measure"]

PER = "draw"
VALUES = {"precision": Value(better="higher", unit="fraction"), "recall": Value(better="higher", unit="fraction")}
SETTINGS: dict[str, Any] = {"k": 3, "balls": "closed", "distance": "Euclidean"}
SOURCE = "Kynkäänniemi et al. 2019, Improved Precision and Recall Metric for Assessing Generative Models, eq. 1 to 3"


def measure(inputs: Inputs) -> Measured:
    """Return precision, the share of generated images inside a ball of a real one, and recall, the reverse."""
    from aegen_bench.numerics.balls import in_each_others_balls

    generated, real, k = inputs.generated, inputs.real, SETTINGS["k"]
    of_real, of_generated = real_radii(inputs, k), radii(generated, k, device=inputs.device)
    near_real, near_generated = in_each_others_balls(
        generated, real, of_generated, of_real, closed=True, device=inputs.device
    )
    return {"precision": float(near_real.mean()), "recall": float(near_generated.mean())}
