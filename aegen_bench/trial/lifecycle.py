"""One trial from start to end: build, train, record; then sample, evaluate, and add the scores to the record."""

from __future__ import annotations

import json
import traceback
from functools import partial
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
from aegen_bench.trial import artefacts, scoring, trunk_codes
from aegen_bench.trial import model as models
from aegen_bench.trial.job import Job

__all__ = ["blank", "evaluate", "out_of_memory", "train"]


def train(job: Job) -> Record:
    """Train a trial, write all of its results except for scores, and return its record.

    It resumes from the trial's checkpoint if there is one. Any error becomes the record's status and reason, except for
    Ctrl-C and a failure to write the record. A trial that failed or timed out keeps its checkpoints, so that another
    try resumes from there.
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
        torch.set_num_threads(saved["threads"])  # a different number of threads rounds differently
        record.environment = job.environment()
        where = f"stage {saved['stage'] + 1}, {saved['epoch']} epochs and {saved['step']} steps"
        job.show.note(f"{trial.label}: resumes after {where} from its checkpoint, on {saved['threads']} threads")
    model = models.build(trial.config, job.entry, shape, len(images), trial.seed, place.data).to(job.device)
    if isinstance(model, Pair) and job.trunk is not None:
        below = results.read_record(job.trunk.record)
        if below.config.get("data_sha256") != job.fingerprint("train"):
            raise UserError(f"its trunk, {job.trunk.trial.label}, was trained on different images")
        record.trunk, record.collapsed = models.read_trunk(model, below, place.weights), below.collapsed
    record.config |= {"shape": list(shape), "n_train": len(images), "data_sha256": job.fingerprint("train")}
    counts, record.layers = models.anatomy(model)
    record.parameters = dict(counts)
    if not batches.resident(images, next(model.parameters()).device):
        record.environment["streamed"] = True
        job.show.note(f"{trial.label}: images do not fit on {job.device} and are streamed from the host")

    codes = None
    if record.trunk is not None and not saved:
        begin = loop.now(job.device)
        encode = partial(loop.extract, model, images, seed=trial.seed, stage=-1)
        codes = trunk_codes.kept("train", record.trunk, job.fingerprint("train"), len(images), job.device, encode)
        history.seconds["extract"] += loop.now(job.device) - begin
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
        codes=codes,
    )
    job.show.phase("drawing artefacts")
    if record.trunk is None:
        record.collapsed = collapsed(history, images)
    record.weights_sha256 = models.save(model, place.weights, trial.key)
    artefacts.write(job.folder, artefacts.make(model, images, job.images("test"), trial.seed, job.device))


def evaluate(job: Job) -> Record:
    """Compute the scores that a trained trial's record lacks, from its kept weights, and return the updated record.

    A metric that fails is noted in the record and does not stop the others. Any other error is raised, and a later call
    can complete the record.
    """
    with contained():
        return _evaluate(job)


def _evaluate(job: Job) -> Record:
    record = results.read_record(job.record)
    Checkpoints(job.folder).clear()  # left by a process that was killed after writing the record
    if record.config.get("data_sha256") != job.fingerprint("train"):
        raise UserError(f"{job.trial.label} was trained on images of {job.trial.dataset} that differ from those here")
    protocols = [p for p in job.protocols if record.lacking(p.id, p.metrics)]
    for protocol in protocols:
        if not record.stands_for(record.key, {protocol.id: job.fingerprint(protocol.split)}):
            images = f"{protocol.split} images of {job.trial.dataset}"
            raise UserError(
                f"{job.trial.label} was compared under {protocol.name} with {images} that differ from those here"
            )
    if not protocols:
        return record
    model = models.from_record(record, job.entry, job.place.weights, job.place.data, job.place.results).to(job.device)
    samples = scoring.Samples(job, model, record.trunk)
    try:
        with model.using(None, samples.fact):
            return scoring.scorer(job, protocols).complete(job.record, record, samples, draws=job.draws)
    except (Diverged, BrokenContract) as error:
        if results.read_record(job.record).metrics:
            raise
        # An invalid or non-finite image is a failure of the trial, not of a metric.
        record.status = "diverged" if isinstance(error, Diverged) else "failed"
        record.reason = str(error)
        results.write_record(job.record, record)
        return results.read_record(job.record)


def out_of_memory(job: Job) -> str:
    """Return the reason of a trial that ran out of memory, with advice."""
    batch = {name: stage["batch"] for name, stage in job.trial.config["stages"].items()}
    hint = f"out of memory: {job.trial.label}, batch {batch}; lower it with --set 'stages.*.batch=...'"
    if job.device.type == "cuda":
        hint += f", or keep {job.device} free of other work (fewer --jobs-per-device, no other run)"
    return hint


def _described(error: Exception, job: Job) -> str:
    """Return the error and its origin on one line, followed by the end of the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if f.filename == str(job.entry.path)), frames[-1])
    where = f"{Path(last.filename).name}, line {last.lineno}, in {last.name}"
    what = " ".join(str(error).split())[:500]
    lines = "".join(traceback.format_exception(error, limit=-4))
    return f"{type(error).__name__}: {what} ({where})\n{lines}"[:4000]


def blank(job: Job) -> Record:
    """Return the record of a trial that has not been started."""
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
