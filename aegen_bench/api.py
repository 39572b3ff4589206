"""Functions for use from Python. The command line offers everything else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aegen_bench import data, files
from aegen_bench.errors import UserError, unknown
from aegen_bench.study import Study

if TYPE_CHECKING:
    from aegen_bench.baseline import Baseline

__all__ = ["evaluate", "load"]


def evaluate(
    images: Any, *, dataset: str, protocol: str, seed: int = 0, device: str = "auto", folder: str | Path | None = None
) -> dict[str, Any]:
    """Score the images of any generator against a dataset under a named protocol.

    Args:
        images: Array or tensor [n, C, S, S], uint8 or float in [0, 1] (float16, float32 or float64). n is the count of
            the protocol, or the size of the test set if that is smaller.
        dataset: Name of a dataset, such as "cifar10".
        protocol: Name of a protocol in benchmarks.yaml, such as "lite".
        seed: From 0 to 2^31 - 1, for metrics that sample.
        device: "auto", "cpu", "cuda" or "cuda:N".
        folder: The data folder. Default: AEGEN_BENCH_DATA or ~/.cache/aegen-bench.

    Returns:
        {"protocol": its id, "draws": [{metric: number}], "settings": {metric: settings}, "failed": {metric: reason}}.

    Raises:
        UserError: A name is unknown, or the images have a wrong type, shape or range.
        MissingError: Data or weights are not on this machine.
    """
    from aegen_bench import environment, weights
    from aegen_bench.evaluation import extractors
    from aegen_bench.evaluation.scorer import GivenImages, Scorer, real_images
    from aegen_bench.progress import Progress
    from aegen_bench.seeding import LARGEST_SEED

    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed {seed!r}: expected a whole number from 0 to {LARGEST_SEED}")
    generated = data.as_uint8(images)
    place = files.place(folder) if folder else data.default_folder()
    study = Study("paper", local=Path.cwd(), data=place)
    if protocol not in study.protocols:
        raise unknown("protocol", protocol, study.protocols)
    if dataset not in study.datasets:
        raise unknown("dataset", dataset, study.datasets)
    chosen, recipe = study.protocols[protocol], study.datasets[dataset].recipe
    if needed := extractors.recipe(chosen.extractor).file(dataset):
        weights.path(needed, place)
    real = real_images(dataset, recipe, place)
    scorer = Scorer(dataset, real, [chosen], place, environment.pick_device(device), Progress())
    scores = scorer.score(chosen, GivenImages(lambda n: generated, int(seed)))
    return {"protocol": chosen.id, **scores.entry()}


def load(folder: str | Path, *, weights: str | Path | None = None) -> Baseline:
    """Return the trained model of a finished trial, in eval mode on the CPU.

    Samples are `model.decode(model.prior(model.noise(n)))`, float [n, C, S, S] in [0, 1].

    Args:
        folder: The folder of the trial, such as `results/lite/fashion/glf/seed-0`; or a trial in a packed file,
            `results.zip#glf/fashion/0` (row, dataset and seed, preceded by the profile if the file has several).
        weights: The folder in which `run` keeps weights. Default: `weights/` in the data folder.

    Raises:
        MissingError: The weights are not on this machine.
        UserError: There is no such trial, or its method has changed since.
    """
    from aegen_bench.exchange.pack import open_trial
    from aegen_bench.trial import model

    place = data.default_folder()
    file, hash_, words = str(folder).rpartition("#")
    if hash_ and files.place(file).is_file():
        with open_trial(files.place(file), words) as (unpacked, kept):
            return model.restore(unpacked, kept, place)
    return model.restore(files.place(folder), files.place(weights) if weights else place / "weights", place)
