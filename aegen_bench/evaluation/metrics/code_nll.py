"""Negative log-likelihood of the codes of test images under the prior, for methods with a density: N(0, I), or their
own `log_prior`.

It tells a better density from better matched moments. It depends on the scale of the codes, and a method that shrinks
its codes lowers it, so compare only methods that share an encoder.
"""

from __future__ import annotations

from typing import Any

from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "measure"]

PER = "model"
VALUES = {"code_nll": Value(better="lower", unit="nats a dimension")}
SETTINGS: dict[str, Any] = {"codes": "of the test images"}
SOURCE = "the log likelihood of held-out data, as for any density model"


def measure(inputs: Inputs) -> Measured:
    """Return the mean negative log density of the test codes, in nats per dimension."""
    densities, dimensions = inputs.code_log_prior
    return {"code_nll": float(-densities.mean() / dimensions), "settings": {"n_codes": len(densities)}}
