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
from aegen_bench.baseline import Baseline
from aegen_bench.blocks.losses import RECONSTRUCTIONS
from aegen_bench.blocks.nets import Nets, describe
from aegen_bench.errors import Diverged, MissingError, UserError, unknown
from aegen_bench.evaluation import Protocol
from aegen_bench.progress import Progress
from aegen_bench.schedule import StagePlan
from aegen_bench.study import Trial
from aegen_bench.training import History, Probe, collapsed, train

__all__ = ["Place", "build", "evaluate_again", "load", "run", "weights_path"]


@dataclass(frozen=True)
class Place:
    """Where a trial finds its data, leaves its results and weights, and computes."""

    data: Path
    results: Path
    weights: Path
    device: torch.device


def run(trial: Trial, entry: catalog.Entry, protocols: Sequence[Protocol], draws: int, place: Place, show: Progress) -> dict[str, Any]:
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
    model = build(trial.config, entry, tuple(images.shape[1:]), len(images), trial.seed).to(place.device)
    fingerprint = data.fingerprint(trial.dataset, data.Recipe(**trial.config["recipe"]), place.data, "train")
    record["config"] |= {"shape": list(images.shape[1:]), "n_train": len(images), "data_sha256": fingerprint}
    record["parameters"], record["layers"] = _anatomy(model)
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
    _save(model, weights_path(trial.key, place.weights))
    pairs, curves = None, {}
    for protocol in protocols:
        scores, pairs = _score(model, trial, protocol, draws, place, show, record["seconds"])
        record["metrics"][protocol.id] = _entry(protocol, scores)
        curves = curves or scores.curves
    made = artefacts.make(model, images, pairs, curves, place.device)
    artefacts.write(trial.folder(place.results), made)


def evaluate_again(
    trial: Trial, entry: catalog.Entry, protocols: Sequence[Protocol], draws: int, place: Place, show: Progress
) -> dict[str, Any]:
    """Score a finished trial under the protocols, or the metrics of one, that its record lacks, from its kept weights."""
    folder = trial.folder(place.results)
    record = results.read_record(folder / "record.json")
    model = _restore(record, entry, place.weights).to(place.device)
    for protocol in protocols:
        wanted = results.lacking(record, protocol.id, protocol.metrics)
        if wanted:
            scores, _ = _score(model, trial, protocol, draws, place, show, {}, wanted)
            results.add_evaluation(folder / "record.json", protocol.id, _entry(protocol, scores))
    return results.read_record(folder / "record.json")


def build(config: dict[str, Any] | Any, entry: catalog.Entry, shape: Any, n_train: int, seed: int) -> Baseline:
    """Make an untrained baseline on the CPU; equal seeds give equal weights."""
    if config["recon"] not in RECONSTRUCTIONS:
        raise unknown("recon", config["recon"], RECONSTRUCTIONS)
    if config["precision"] not in ("fp32", "bf16"):
        raise unknown("precision", config["precision"], ["fp32", "bf16"])
    nets = Nets(
        shape, config["d"], config["flow_width"], n_train, RECONSTRUCTIONS[config["recon"]], config["precision"]
    )
    with seeding.initialising(seed):
        return catalog.import_class(entry)(nets, **config["with"])  # type: ignore[no-any-return]


def load(folder: str | Path, *, weights: Path | None = None, local: Path | None = None) -> Baseline:
    """Return the trained baseline of a finished trial, in eval mode on the CPU.

    `folder` is a trial's folder (`results/lite/fashion/glf/seed-0`). Raises MissingError when its weights are gone.
    """
    from aegen_bench.data import default_folder

    record = results.read_record(Path(folder) / "record.json")
    name = record["config"]["baseline"]
    entries = catalog.find(local or Path.cwd())
    if name not in entries:
        raise unknown("model", name, entries)
    return _restore(record, entries[name], weights or default_folder() / "weights")


def weights_path(key: str, folder: Path) -> Path:
    """Where the weights of the trial with this key are kept."""
    return folder / f"{key}.safetensors"


def _restore(record: dict[str, Any], entry: catalog.Entry, folder: Path) -> Baseline:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config, path = record["config"], weights_path(record["key"], folder)
    if not path.is_file():
        raise MissingError(f"no weights at {path}: `aegen-bench run --retrain` trains this trial again")
    if config["code"] != entry.code:
        raise UserError(f"{path} was trained with another version of {entry.path}: restore it, or run the trial again")
    model = build(config, entry, tuple(config["shape"]), config["n_train"], record["seed"])
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights of {record['row']}: {str(error)[:200]}") from error
    return model.eval()


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


def _save(model: Baseline, path: Path) -> None:
    from safetensors.torch import save

    results.write_bytes(path, save({name: v.detach().cpu().contiguous().clone() for name, v in model.state_dict().items()}))


def _anatomy(model: Baseline) -> tuple[dict[str, int], dict[str, str]]:
    """Parameter counts, in all and by part, and one line on the layers of each part that is a network."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    own = {name: p.numel() for name, p in model.named_parameters(recurse=False)}
    layers = {name: describe(part) for name, part in model.named_children()}
    return {"total": sum(p.numel() for p in model.parameters()), **counts, **own}, {k: v for k, v in layers.items() if v}


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
