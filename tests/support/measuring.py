"""Helpers that apply a metric to two sets of features, and a protocol to sets of images."""

from __future__ import annotations

from aegen_bench.evaluation import Subject, evaluate, metrics
from aegen_bench.evaluation.metric import Inputs


def measure(name, generated, real, seed=0, **more):
    inputs = Inputs(
        real_features=lambda: real,
        generated_features=lambda: generated,
        seed=seed,
        distance_key="fd",
        **more,
    )
    return metrics.load(name).measure(inputs)


class Made(Subject):
    """A subject with given draws of images, and with given functions in place of other methods of `Subject`."""

    def __init__(self, draws, seed=0, **made):
        self.draws, self.seed = draws, seed
        for name, function in made.items():
            assert hasattr(Subject, name), name
            setattr(self, name, function)

    def generated(self, n, draw):
        return self.draws[draw]


def scored(protocol, *, generated, real, data_folder, dataset="digits", only=None, seed=0, device="cpu", **made):
    if "codes" in made:
        codes = made.pop("codes")
        made["codes"] = lambda n: codes()
    at = {"dataset": dataset, "fingerprint": "f", "device": device, "data_folder": data_folder}
    subject = Made(generated, seed, **made)
    return evaluate(protocol, subject, real=real, draws=len(generated), only=only, **at)
