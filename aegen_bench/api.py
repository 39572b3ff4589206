"""The functions for use from Python; the command line offers the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aegen_bench import data
from aegen_bench.errors import unknown
from aegen_bench.study import Study

if TYPE_CHECKING:
    from aegen_bench.baseline import Baseline

__all__ = ["evaluate", "load"]


def evaluate(
    images: Any, *, dataset: str, protocol: str, seed: int = 0, device: str = "auto", folder: str | Path | None = None
) -> dict[str, Any]:
    """Score images of any generator against a dataset under a named protocol.

    `images`: array or tensor [n, C, S, S], uint8 or float in [0, 1], n as the protocol counts (or all of a smaller
    test set). Returns {"protocol": its id, "draws": [{metric: number}], "settings": ..., "failed": ...}. `folder` is
    the data folder. Raises UserError for a wrong name, shape or range, MissingError for data or weights that are not
    here.
    """
    from aegen_bench import environment, evaluation, weights
    from aegen_bench.evaluation import extractors
    from aegen_bench.evaluation.features import to_uint8

    place = Path(folder) if folder else data.default_folder()
    study = Study("paper", local=Path.cwd(), data=place)
    if protocol not in study.protocols:
        raise unknown("protocol", protocol, study.protocols)
    name = study.dataset_names([dataset])[0]
    chosen, recipe = study.protocols[protocol], study.datasets[name].recipe
    if needed := extractors.recipe(chosen.extractor).file(name):
        weights.path(needed, place)
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    scores = evaluation.evaluate(
        chosen,
        dataset=name,
        generated=[to_uint8(array) if np.issubdtype(array.dtype, np.floating) else array],
        real=data.load(name, recipe, place, chosen.split),
        fingerprint=data.fingerprint(name, recipe, place, chosen.split),
        seed=seed,
        device=str(environment.pick_device(device)),
        data_folder=place,
    )
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
    if hash_ and Path(file).is_file():
        with open_trial(Path(file), words) as (unpacked, kept):
            return model.restore(unpacked, kept, place)
    return model.restore(Path(folder), Path(weights) if weights else place / "weights", place)
