"""Negative log-likelihood of the codes of test images under the prior, for methods whose prior has a density: N(0, I),
or their own `log_prior`.

It distinguishes a better density from merely better matched moments. It depends on the scale of the codes, and a method
can lower it by shrinking its codes, so compare only methods that share an encoder.
"""

from __future__ import annotations

from typing import Any

from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "measure"]

PER = "model"
VALUES = {"code_nll": Value(better="lower", unit="nats per dimension")}
SETTINGS: dict[str, Any] = {"codes": "of the test images"}
SOURCE = "the log likelihood of held-out data, as for any density model"


def measure(inputs: Inputs) -> Measured:
    """Return the mean negative log density of the test codes, in nats per dimension."""
    densities, dimensions = inputs.code_log_prior
    return {"code_nll": float(-densities.mean() / dimensions), "settings": {"n_codes": len(densities)}}
