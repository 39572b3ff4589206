"""A metric, measured on two sets of features."""

from __future__ import annotations

from aegen_bench.evaluation import metrics
from aegen_bench.evaluation.metric import Inputs


def measure(name, generated, real, seed=0):
    inputs = Inputs(
        real_features=lambda: real,
        generated_features=lambda: generated,
        seed=seed,
        distance_key="fd",
    )
    return metrics.load(name).measure(inputs)
