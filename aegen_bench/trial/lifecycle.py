"""One trial from start to end: build, train, record; then sample, evaluate, complete the record."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import torch

from aegen_bench import environment, results
from aegen_bench.blocks.execution import forget_compiled
from aegen_bench.errors import BrokenContract, Diverged, TimedOut, UserError, contained
from aegen_bench.files import write_json
from aegen_bench.prior import Pair
from aegen_bench.results import Record
from aegen_bench.training import batches, loop
from aegen_bench.training.checkpoint import Checkpoints
from aegen_bench.training.history import History, collapsed
from aegen_bench.training.schedule import StagePlan
from aegen_bench.trial import artefacts, scoring
from aegen_bench.trial import model as models
from aegen_bench.trial.job import Job

__all__ = ["blank", "evaluate", "out_of_memory", "train"]


def train(job: Job) -> Record:
    """Train a trial, write all that it leaves but its scores, and return its record.

    It resumes from the trial's checkpoint where there is one. Whatever goes wrong inside becomes the record's status
    and reason; Ctrl-C and a disk that refuses the record do not. A trial that failed or ran out of time keeps its
    checkpoints: when it is tried again it resumes.
    """
    environment.reset_peak_memory(job.device)
    history, record = History(), blank(job)
    config = job.trial.config
    forget_compiled(json.dumps([job.trial.dataset, config], sort_keys=True) if config.get("compile") else "")
    try:
        with contained():
            _train(job, history, record)
    except Diverged as error:
        record.status, record.reason = "diverged", str(error)
    except TimedOut as error:
        record.status, record.reason = "timeout", str(error)
    except torch.OutOfMemoryError:
        record.status, record.reason = "failed", out_of_memory(job)
    except (BrokenContract, UserError) as error:
        record.status, record.reason = "failed", str(error)
    except Exception as error:
        record.status, record.reason = "failed", _described(error, job)
    record.stages, record.peak_memory = history.stages, environment.peak_memory(job.device)
    record.seconds, record.facts = dict(history.seconds), dict(history.facts)
    write_json(job.folder / "history.json", {"epochs": history.epochs, "probes": history.probes})
    results.write_record(job.record, record)
    if record.status in ("ok", "diverged"):
        Checkpoints(job.folder).clear()
    return record


def _train(job: Job, history: History, record: Record) -> None:
    trial, place = job.trial, job.place
    images, full_size = job.training_images()
    shape = tuple(images.shape[1:])
    checkpoints = job.checkpoints()
    saved = checkpoints.read()
    if saved:
        torch.set_num_threads(saved["threads"])  # another number of threads sums in another order
        record.environment = job.environment()
        where = f"stage {saved['stage'] + 1}, {saved['epoch']} epochs and {saved['step']} steps"
        job.show.note(f"{trial.label}: resumes after {where} from its checkpoint, on {saved['threads']} threads")
    model = models.build(trial.config, job.entry, shape, len(images), trial.seed, place.data).to(job.device)
    if isinstance(model, Pair) and job.trunk is not None:
        below = results.read_record(job.trunk.record)
        if below.config.get("data_sha256") != job.fingerprint("train"):
            raise UserError(f"its trunk, {job.trunk.trial.label}, was trained on other images than those here")
        record.trunk, record.collapsed = models.read_trunk(model, below, place.weights), below.collapsed
    record.config |= {"shape": list(shape), "n_train": len(images), "data_sha256": job.fingerprint("train")}
    counts, record.layers = models.anatomy(model)
    record.parameters = dict(counts)
    if not batches.resident(images, next(model.parameters()).device):
        record.environment["streamed"] = True
        job.show.note(f"{trial.label}: {job.device} has no room for its images: they are streamed from the host")

    loop.train(
        model,
        images,
        {name: StagePlan(**plan) for name, plan in trial.config["stages"].items()},
        seed=trial.seed,
        history=history,
        full_size=full_size,
        probe=scoring.probe(job, images),
        progress=job.show,
        fact=history.fact,
        checkpoints=checkpoints,
        resume=saved,
        graphs=place.graphs,
    )
    job.show.phase("drawing artefacts")
    if record.trunk is None:
        record.collapsed = collapsed(history, images)
    record.weights_sha256 = models.save(model, place.weights, trial.key)
    artefacts.write(job.folder, artefacts.make(model, images, job.images("test"), trial.seed, job.device))


def evaluate(job: Job) -> Record:
    """Score a trained trial, from its kept weights, by what its record lacks, and return the completed record.

    A metric that fails is a word in the record and stops no other. Whatever else goes wrong is raised, and leaves a
    trained trial that a later call completes.
    """
    with contained():
        return _evaluate(job)


def _evaluate(job: Job) -> Record:
    record = results.read_record(job.record)
    Checkpoints(job.folder).clear()  # of a process killed between writing the record and removing them
    if record.config.get("data_sha256") != job.fingerprint("train"):
        raise UserError(f"the images of {job.trial.dataset} here are not those that {job.trial.label} was trained on")
    protocols = [p for p in job.protocols if record.lacking(p.id, p.metrics)]
    for protocol in protocols:
        if not record.stands_for(record.key, {protocol.id: job.fingerprint(protocol.split)}):
            images = f"the {protocol.split} images of {job.trial.dataset}"
            raise UserError(
                f"{images} here are not those that {job.trial.label} was compared with under {protocol.name}"
            )
    if not protocols:
        return record
    model = models.from_record(record, job.entry, job.place.weights, job.place.data).to(job.device)
    samples = scoring.Samples(job, model)
    try:
        with model.using(None, samples.fact):
            return scoring.scorer(job, protocols).complete(job.record, record, samples, draws=job.draws)
    except (Diverged, BrokenContract) as error:
        if results.read_record(job.record).metrics:
            raise
        # No image, or one that is not finite: that is a fault of the trial, not of a metric.
        record.status = "diverged" if isinstance(error, Diverged) else "failed"
        record.reason = str(error)
        results.write_record(job.record, record)
        return results.read_record(job.record)


def out_of_memory(job: Job) -> str:
    """What failed for want of memory on the device, and what helps."""
    batch = {name: stage["batch"] for name, stage in job.trial.config["stages"].items()}
    hint = f"out of memory: {job.trial.label}, batch {batch}; lower it with --set 'stages.*.batch=...'"
    if job.device.type == "cuda":
        hint += f", or let nothing else use {job.device} (fewer --jobs-per-device, no other run)"
    return hint


def _described(error: Exception, job: Job) -> str:
    """The error and where it came from in one line, then the end of its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if f.filename == str(job.entry.path)), frames[-1])
    where = f"{Path(last.filename).name}, line {last.lineno}, in {last.name}"
    what = " ".join(str(error).split())[:500]
    lines = "".join(traceback.format_exception(error, limit=-4))
    return f"{type(error).__name__}: {what} ({where})\n{lines}"[:4000]


def blank(job: Job) -> Record:
    """Return the record of the trial as it stands before anything was done."""
    trial = job.trial
    return Record(
        profile=trial.profile,
        dataset=trial.dataset,
        row=trial.row,
        seed=trial.seed,
        key=trial.key,
        config=dict(trial.config),
        environment=job.environment(),
    )
