"""One trial from start to end: build, train, sample, evaluate, record."""

from __future__ import annotations

import traceback
from typing import Any

import torch

from aegen_bench import artefacts, environment, evaluation, results
from aegen_bench import model as models
from aegen_bench.errors import Diverged, UserError
from aegen_bench.evaluation import Protocol
from aegen_bench.history import History, collapsed
from aegen_bench.job import Job
from aegen_bench.schedule import StagePlan
from aegen_bench.training import train

__all__ = ["evaluate_again", "run"]


def run(job: Job) -> dict[str, Any]:
    """Run a trial, write everything it leaves and return its record.

    Whatever goes wrong inside becomes the record's status and reason; Ctrl-C and a disk that refuses the record do not.
    """
    environment.reset_peak_memory(job.place.device)
    history, record = History(), _blank(job)
    try:
        _train_and_score(job, history, record)
    except Diverged as error:
        record |= {"status": "diverged", "reason": str(error)}
    except torch.OutOfMemoryError:
        batch = {name: stage["batch"] for name, stage in job.trial.config["stages"].items()}
        hint = f"out of memory: {job.trial.label}, batch {batch}; lower it with --set 'stages.*.batch=...'"
        record |= {"status": "failed", "reason": hint}
    except UserError as error:
        record |= {"status": "failed", "reason": str(error)}
    except Exception as error:
        lines = "".join(traceback.format_exception(error, limit=-4))
        record |= {"status": "failed", "reason": f"{type(error).__name__}: {error}\n{lines}"[:4000]}
    record |= {"stages": history.stages, "peak_memory": environment.peak_memory(job.place.device)}
    record["seconds"] = history.seconds | record["seconds"]
    results.write_json(job.folder / "history.json", {"epochs": history.epochs, "probes": history.probes})
    results.write_json(job.folder / "record.json", record)
    return record


def _train_and_score(job: Job, history: History, record: dict[str, Any]) -> None:
    trial, place = job.trial, job.place
    images, full_size = job.training_images()
    shape = tuple(images.shape[1:])
    model = models.build(trial.config, job.entry, shape, len(images), trial.seed, place.data).to(place.device)
    record["config"] |= {"shape": list(shape), "n_train": len(images), "data_sha256": job.fingerprint("train")}
    record["parameters"], record["layers"] = models.anatomy(model)

    def fact(name: str, value: torch.Tensor) -> None:
        record["facts"][name] = float(value)

    train(
        model,
        images,
        {name: StagePlan(**plan) for name, plan in trial.config["stages"].items()},
        seed=trial.seed,
        history=history,
        full_size=full_size,
        probe=job.probe(images),
        progress=job.show,
        fact=fact,
    )
    record["collapsed"] = collapsed(history, images)
    record["weights_sha256"] = models.save(model, results.weights_path(place.weights, trial.key))
    pairs, curves = None, dict[str, Any]()
    for protocol in job.protocols:
        with model.using(None, fact):
            scores, pairs = job.score(model, protocol, record["seconds"])
        record["metrics"][protocol.id] = _entry(job, protocol, scores, record["environment"])
        curves = curves or scores.curves
    artefacts.write(job.folder, artefacts.make(model, images, pairs, curves, place.device))


def evaluate_again(job: Job) -> dict[str, Any]:
    """Score a finished trial, from its kept weights, under the protocols and metrics that its record lacks."""
    path = job.folder / "record.json"
    record = results.read_record(path)
    trained_on = record["config"].get("data_sha256")
    if trained_on != job.fingerprint("train"):
        raise UserError(f"the images of {job.trial.dataset} here are not those that {job.trial.label} was trained on")
    model = models.from_record(record, job.entry, job.place.weights, job.place.data).to(job.place.device)
    here = environment.describe(job.place.device)
    for protocol in job.protocols:
        wanted = results.lacking(record, protocol.id, protocol.metrics)
        if wanted:
            scores, _ = job.score(model, protocol, {}, wanted)
            results.add_evaluation(path, protocol.id, _entry(job, protocol, scores, here))
    return results.read_record(path)


def _entry(job: Job, protocol: Protocol, scores: evaluation.Scores, place: dict[str, Any]) -> dict[str, Any]:
    """What stands under the protocol's id, each metric with the commit and device that computed it."""
    about = {
        "name": protocol.name,
        "extractor": protocol.extractor,
        "describe": protocol.describe(),
        "real_sha256": job.fingerprint(protocol.split),
    }
    by = {"device": place["device"], "commit": place["git"].get("commit", ""), "aegen_bench": place["aegen_bench"]}
    entry = scores.entry()
    return {**entry, "settings": {"protocol": about} | {k: {**v, "by": by} for k, v in entry["settings"].items()}}


def _blank(job: Job) -> dict[str, Any]:
    trial = job.trial
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
        "environment": environment.describe(job.place.device),
        "collapsed": False,
    }
