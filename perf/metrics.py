"""Seconds of each metric of a trial from given features, images and codes, and of common tools for the same metrics.

python perf/metrics.py [--quick] [--protocols lite,lite_classifier] [--images 10000]

Features, images of 28 px and codes of 20 dimensions are random. The metrics of a protocol run in its order and share
results as in a trial: the first that needs the neighbours of real images computes them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import ROOT, machine, options, seconds
from evaluation import features

from aegen_bench.evaluation import extractors, metrics
from aegen_bench.evaluation.frechet import Reference, moments
from aegen_bench.evaluation.metric import Features, Inputs
from aegen_bench.numerics import tuning
from aegen_bench.study import Study

TRAINING = 12_000  # images, as under `lite`


def inputs_of(generated: Features, real: Features) -> Inputs:
    """Return the inputs of a trial's metrics, made in advance."""
    random, n = np.random.default_rng(0), len(real)
    images, restored, trained = (random.integers(256, size=(m, 1, 28, 28), dtype=np.uint8) for m in (n, n, TRAINING))
    codes = random.normal(size=(2, n, 20)).astype(np.float32)
    of_generated, of_real = moments(generated), Reference.of(moments(real))
    return Inputs(
        real_features=lambda: real,
        seed=0,
        distance_key="fd",
        generated_features=lambda: generated,
        generated_images=images,
        real_reference=lambda: of_real,
        reconstruction_pairs=lambda: (images, restored),
        reconstruction_moments=lambda: of_generated,
        interpolation_moments=lambda: of_generated,
        code_sets=lambda: (codes[0], codes[1]),
        training_set=lambda: trained,
        test_set=lambda: restored,
    )


def references(generated: Features, real: Features) -> dict[str, tuple[str, Callable[[], Any]]]:
    """Return common tools for the metrics, applied to the same features."""
    from prdc import compute_prdc
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    sides = torch.from_numpy(generated), torch.from_numpy(real)
    subset = min(1000, len(real))
    kid = partial(kid_features_to_metric, *sides, kid_subset_size=subset, rng_seed=0, verbose=False)
    return {
        "kid": ("torch-fidelity", kid),
        "precision_recall": ("torch-fidelity", partial(prc_features_to_metric, *sides, verbose=False)),
        "density_coverage": ("prdc, which makes precision and recall too", partial(compute_prdc, real, generated, 5)),
    }


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--protocols", default="lite,lite_classifier")
    parser.add_argument("--images", type=int)
    args = parser.parse_args()
    n = args.images or (400 if args.quick else 10_000)
    study = Study("lite", local=ROOT, data=Path())
    print(f"{machine()}; {n:,} images a set")
    for name in args.protocols.split(","):
        protocol = study.protocols[name]
        width = extractors.recipe(protocol.extractor).dim
        generated, real = features(1, n, width), features(0, n, width)
        inputs = inputs_of(generated, real)
        warm = inputs_of(generated[:50, :8], real[:50, :8])
        of_others = references(generated, real)
        print(f"\n{name}, {width:,} features:\n\n| metric | s | tool | its s | ratio |\n|---|---:|---|---:|---:|")
        total = 0.0
        for metric in protocol.metrics:
            measure = metrics.load(metric).measure
            measure(warm)  # imports are not measured
            took = seconds(partial(measure, inputs))
            total += took
            print(line(metric, took, *of_others.get(metric, ())))
        print(f"| all | {total:.2f} | | | |")


def line(metric: str, took: float, tool: str = "", work: Callable[[], Any] | None = None) -> str:
    if work is None:
        return f"| {metric} | {took:.2f} | | | |"
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = seconds(work)
    return f"| {metric} | {took:.2f} | {tool} | {theirs:.2f} | {theirs / took:.1f} |"


if __name__ == "__main__":
    with tuning.keeping_memory():  # as a trial does
        main()
