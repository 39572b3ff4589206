"""One trial from start to end: build, train, sample, evaluate, record."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aegen_bench import artefacts, catalog, data, environment, evaluation, results, sampling, seeding
from aegen_bench import model as models
from aegen_bench.baseline import Baseline
from aegen_bench.errors import Diverged, UserError
from aegen_bench.evaluation import Protocol
from aegen_bench.history import History, collapsed
from aegen_bench.progress import Progress
from aegen_bench.schedule import StagePlan
from aegen_bench.study import Trial
from aegen_bench.training import Probe, train

__all__ = ["Place", "evaluate_again", "run"]


@dataclass(frozen=True)
class Place:
    """Where a trial finds its data, leaves its results and weights, and computes."""

    data: Path
    results: Path
    weights: Path
    device: torch.device


def run(
    trial: Trial, entry: catalog.Entry, protocols: Sequence[Protocol], draws: int, place: Place, show: Progress
) -> dict[str, Any]:
    """Run a trial, write everything it leaves and return its record.

    Whatever goes wrong inside becomes the record's status and reason; Ctrl-C and a disk that refuses the record do not.
    """
    environment.reset_peak_memory(place.device)
    history, record = History(), _blank(trial, place)
    try:
        _train_and_score(trial, entry, protocols, draws, place, show, history, record)
    except Diverged as error:
        record |= {"status": "diverged", "reason": str(error)}
    except torch.OutOfMemoryError:
        batch = {name: stage["batch"] for name, stage in trial.config["stages"].items()}
        hint = f"out of memory: {trial.label}, batch {batch}; lower it with --set 'stages.*.batch=...'"
        record |= {"status": "failed", "reason": hint}
    except UserError as error:
        record |= {"status": "failed", "reason": str(error)}
    except Exception as error:
        lines = "".join(traceback.format_exception(error, limit=-4))
        record |= {"status": "failed", "reason": f"{type(error).__name__}: {error}\n{lines}"[:4000]}
    record |= {"stages": history.stages, "peak_memory": environment.peak_memory(place.device)}
    record["seconds"] = history.seconds | record["seconds"]
    folder = trial.folder(place.results)
    results.write_json(folder / "history.json", {"epochs": history.epochs, "probes": history.probes})
    results.write_json(folder / "record.json", record)
    return record


def _train_and_score(
    trial: Trial,
    entry: catalog.Entry,
    protocols: Sequence[Protocol],
    draws: int,
    place: Place,
    show: Progress,
    history: History,
    record: dict[str, Any],
) -> None:
    images, full_size = _training_images(trial, place)
    model = models.build(trial.config, entry, tuple(images.shape[1:]), len(images), trial.seed).to(place.device)
    fingerprint = data.fingerprint(trial.dataset, data.Recipe(**trial.config["recipe"]), place.data, "train")
    record["config"] |= {"shape": list(images.shape[1:]), "n_train": len(images), "data_sha256": fingerprint}
    record["parameters"], record["layers"] = models.anatomy(model)
    train(
        model,
        images,
        {name: StagePlan(**plan) for name, plan in trial.config["stages"].items()},
        seed=trial.seed,
        history=history,
        full_size=full_size,
        probe=_probe(trial, protocols[0], images, place),
        progress=show,
        fact=lambda name, value: record["facts"].__setitem__(name, float(value)),
    )
    record["collapsed"] = collapsed(history, images)
    models.save(model, models.weights_path(trial.key, place.weights))
    pairs: Any = None
    curves: dict[str, Any] = {}
    for protocol in protocols:
        scores, pairs = _score(model, trial, protocol, draws, place, show, record["seconds"])
        record["metrics"][protocol.id] = _entry(protocol, scores)
        curves = curves or scores.curves
    made = artefacts.make(model, images, pairs, curves, place.device)
    artefacts.write(trial.folder(place.results), made)


def evaluate_again(
    trial: Trial, entry: catalog.Entry, protocols: Sequence[Protocol], draws: int, place: Place, show: Progress
) -> dict[str, Any]:
    """Score a finished trial under the protocols, or the metrics of one, that its record lacks, from its kept
    weights.
    """
    folder = trial.folder(place.results)
    record = results.read_record(folder / "record.json")
    model = models.from_record(record, entry, place.weights).to(place.device)
    for protocol in protocols:
        wanted = results.lacking(record, protocol.id, protocol.metrics)
        if wanted:
            scores, _ = _score(model, trial, protocol, draws, place, show, {}, wanted)
            results.add_evaluation(folder / "record.json", protocol.id, _entry(protocol, scores))
    return results.read_record(folder / "record.json")


def _training_images(trial: Trial, place: Place) -> tuple[torch.Tensor, int]:
    """The training set on the device, uint8 NCHW, and the size of the whole of it."""
    images = data.load(trial.dataset, data.Recipe(**trial.config["recipe"]), place.data, "train")
    count = trial.config.get("train_images")
    if count is None or count >= len(images):
        return torch.from_numpy(np.array(images)).to(place.device), len(images)
    chosen = torch.randperm(len(images), generator=seeding.stream(0, "subset"))[:count].sort().values
    return torch.from_numpy(images[chosen.numpy()]).to(place.device), len(images)


def _probe(trial: Trial, protocol: Protocol, images: torch.Tensor, place: Place) -> Probe | None:
    settings = trial.config.get("probe")
    if settings is None:
        return None
    recipe = data.Recipe(**trial.config["recipe"])
    small = protocol.model_copy(update={"count": settings["images"], "metrics": ("fd",)})
    real = data.load(trial.dataset, recipe, place.data, protocol.split)
    test = torch.from_numpy(np.array(data.load(trial.dataset, recipe, place.data, "test")[: settings["images"]]))

    def measure(model: Baseline) -> dict[str, float]:
        n = small.images(len(real))
        generated = sampling.generate(model, n, seed=trial.seed, draw=0, device=place.device)
        return evaluation.evaluate(
            small,
            generated=[generated],
            real=real,
            fingerprint=data.fingerprint(trial.dataset, recipe, place.data, protocol.split),
            reconstructions=None,
            seed=trial.seed,
            device=str(place.device),
            data_folder=place.data,
        ).draws[0]

    return Probe(settings["every"], images[: settings["images"]], test.to(place.device), measure)


def _score(
    model: Baseline,
    trial: Trial,
    protocol: Protocol,
    draws: int,
    place: Place,
    show: Progress,
    seconds: dict[str, float],
    only: set[str] | None = None,
) -> tuple[evaluation.Scores, Any]:
    """Sample and evaluate; adds to `seconds`. Returns the scores and (originals, reconstructions) or None."""
    recipe = data.Recipe(**trial.config["recipe"])
    real = data.load(trial.dataset, recipe, place.data, protocol.split)
    n = protocol.images(len(real))
    begin = time.perf_counter()
    generated = [sampling.generate(model, n, seed=trial.seed, draw=k, device=place.device) for k in range(draws)]
    sampled = time.perf_counter() - begin
    test = data.load(trial.dataset, recipe, place.data, "test")
    restored = sampling.reconstruct(model, test, seed=trial.seed, device=place.device)
    pairs = None if restored is None else (np.asarray(test), restored)
    scores = evaluation.evaluate(
        protocol,
        generated=generated,
        real=real,
        fingerprint=data.fingerprint(trial.dataset, recipe, place.data, protocol.split),
        reconstructions=pairs,
        seed=trial.seed,
        device=str(place.device),
        data_folder=place.data,
        only=only,
        progress=show.count,
    )
    for kind, spent in {"sample": sampled, **scores.seconds}.items():
        seconds[kind] = seconds.get(kind, 0.0) + spent
    return scores, pairs


def _entry(protocol: Protocol, scores: evaluation.Scores) -> dict[str, Any]:
    about = {"name": protocol.name, "extractor": protocol.extractor, "describe": protocol.describe()}
    entry = scores.entry()
    return {**entry, "settings": {"protocol": about, **entry["settings"]}}


def _blank(trial: Trial, place: Place) -> dict[str, Any]:
    return {
        "schema": results.SCHEMA,
        "key": trial.key,
        "profile": trial.profile,
        "dataset": trial.dataset,
        "row": trial.row,
        "seed": trial.seed,
        "status": "ok",
        "reason": "",
        "metrics": {},
        "seconds": {},
        "parameters": {},
        "layers": {},
        "facts": {},
        "config": dict(trial.config),
        "environment": environment.describe(place.device),
        "collapsed": False,
    }
