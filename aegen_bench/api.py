"""The functions for use from Python; the command line offers the rest."""

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
    """Score images of any generator against a dataset under a named protocol.

    `images`: array or tensor [n, C, S, S], uint8 or float in [0, 1] (float16, 32 or 64), n as the protocol counts (or
    all of a smaller test set); `seed` from 0 to 2^31 - 1. Returns {"protocol": its id, "draws": [{metric: number}],
    "settings": ..., "failed": ...}. `folder` is the data folder. Raises UserError for a wrong name, type, shape or
    range, MissingError for data or weights that are not here.
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
    """Return the trained baseline of a finished trial, in eval mode on the CPU.

    `folder` is the trial's (`results/lite/fashion/glf/seed-0`), `weights` where `run` keeps them (default: `weights/`
    in the data folder). Or `folder` names a trial of a pack, `results.zip#glf/fashion/0` (row, dataset, seed; with the
    profile before them where the pack has several). Samples are `model.decode(model.prior(model.noise(n)))`. Raises
    MissingError when the weights are gone.
    """
    from aegen_bench.exchange.pack import open_trial
    from aegen_bench.trial import model

    place = data.default_folder()
    file, hash_, words = str(folder).rpartition("#")
    if hash_ and files.place(file).is_file():
        with open_trial(files.place(file), words) as (unpacked, kept):
            return model.restore(unpacked, kept, place)
    return model.restore(files.place(folder), files.place(weights) if weights else place / "weights", place)
