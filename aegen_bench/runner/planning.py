"""Planning: compares the requested trials with the results on disk, and finds what has to be done and what is missing.

Planning does not import torch, so that `list` and the plan of a run appear immediately.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from aegen_bench import data, results, weights
from aegen_bench.errors import MissingError, UserError, contained, unknown
from aegen_bench.evaluation import extractors, imagesets
from aegen_bench.evaluation.scorer import Scorer, real_images
from aegen_bench.progress import Progress
from aegen_bench.study import Study, Trial, catalog
from aegen_bench.training import checkpoint
from aegen_bench.trial.job import Job, Place

__all__ = ["ON_REQUEST", "TO_DO", "TRAINING", "anchors_missing", "plan", "require_weights", "scorers", "unusable"]

ON_REQUEST = ("diverged", "timeout")
"""Outcomes that another try would not change, so such trials are only retried on request."""
TRAINING = ("run", "resume", "retry", "retrain")
TO_DO = (*TRAINING, "evaluate")
BATCH = 8  # images with which the codes of a trunk are looked at


def plan(
    study: Study,
    trials: Sequence[Trial],
    place: Place,
    *,
    without_data: Sequence[str] = (),
    retrain: bool = False,
    stale: bool = False,
    retry: Sequence[str] = (),
) -> list[Job]:
    """Return a job for each trial that says what is to be done with it.

    `retrain` also trains trials whose weights are gone, even if no scores are missing; `stale` those whose key or
    images have changed; `retry` those with these outcomes (diverged, timeout).
    """
    for status in set(retry) - set(ON_REQUEST):
        raise unknown("outcome to retry", status, ON_REQUEST)

    @cache
    def images_of(dataset: str) -> str | None:
        return data.known_fingerprint(dataset, study.datasets[dataset].recipe, place.data, "train")

    def look(job: Job) -> Job:
        trial = job.trial
        if trial.dataset in without_data:
            return replace(job, state="no data")
        if not job.record.is_file():
            saved = checkpoint.paths(job.folder)
            return replace(job, state="resume", detail=f"from {saved[-1].name}") if saved else job
        try:
            record = results.read_record(job.record)
        except UserError as error:
            return replace(job, state="corrupt", detail=str(error))
        another_try = replace(job, state="retry", detail=record.reason.partition("\n")[0])
        if record.status == "failed":  # whatever its key: nothing is lost, and the code may have been fixed
            return another_try
        if record.key != trial.key:
            return replace(job, state="retrain" if stale else "stale", detail="its key has changed")
        trained_on, here = record.config.get("data_sha256"), images_of(trial.dataset)
        if trained_on and here and trained_on != here:
            return replace(job, state="retrain" if stale else "stale", detail="its training images have changed")
        if record.status in retry:
            return another_try
        if record.status != "ok":
            return replace(job, state=record.status, detail=record.reason)
        wanted = {m for p in job.protocols for m in record.lacking(p.id, p.metrics)}
        kept = record.has_weights(place.weights)
        if not kept and retrain:
            return replace(job, state="retrain", detail="its weights are gone")
        if not wanted:
            return replace(job, state="done")
        return replace(job, state="evaluate" if kept else "weights gone", detail=", ".join(sorted(wanted)))

    known: dict[Path, Job] = {}

    def planned(trial: Trial) -> Job:
        folder = trial.folder(place.results)
        if folder not in known:
            # Take the stamp first, so that later writes are noticed when it is the trial's turn.
            stamp = results.stamp(folder / "record.json")
            entry, (protocols, draws) = study.entry(trial.row), study.scoring(trial.row, trial.dataset)
            job = look(Job(trial, entry, protocols, draws, place, stamp=stamp, label=trial.label))
            if trial.trunk:
                job = replace(job, aliases=[other.row for other in study.aliases(trial)])
                job = _on_trunk(job, planned(trial.trunk))
            known[folder] = job
        return known[folder]

    return _trunks_first([planned(trial) for trial in trials])


def _on_trunk(job: Job, trunk: Job) -> Job:
    """Attach the trunk's job to a pair. The pair is blocked unless the trunk is trained or will be trained before."""
    job = replace(job, trunk=trunk)
    if job.state not in TRAINING or trunk.state in TRAINING:
        return job
    if trunk.state in ("done", "evaluate"):
        if results.read_record(trunk.record).has_weights(trunk.place.weights):
            return job
        trunk = replace(trunk, state="weights gone", detail="")
    why = f"{trunk.state} ({trunk.detail})" if trunk.detail else trunk.state
    return replace(job, state="blocked", trunk=trunk, detail=f"its trunk, {trunk.trial.label}: {why}")


def _trunks_first(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs, preceded by those that train the trunks of pairs, including trunks that were not requested."""
    needed = {job.trunk.folder: job.trunk for job in jobs if job.trunk and job.state in TRAINING}
    first = {folder: trunk for folder, trunk in needed.items() if trunk.state in TRAINING}
    return [*first.values(), *(job for job in jobs if job.folder not in first)]


def require_weights(study: Study, jobs: Sequence[Job]) -> None:
    """Raise MissingError if weights of an extractor or a perceptual loss are missing that the plan needs."""
    to_do = [job for job in jobs if job.state in TO_DO]
    for job in {job.trial.dataset: job for job in to_do}.values():
        for protocol in study.chosen_protocols(job.trial.dataset):
            needed = extractors.recipe(protocol.extractor).file(job.trial.dataset)
            hint = weights.missing(needed, job.place.data) if needed else None
            if hint:
                raise MissingError(
                    f"protocol {protocol.name} of profile {study.profile_name} needs {hint}; "
                    "or use --profile lite or smoke, which work offline"
                )
    for job in (job for job in to_do if job.state in TRAINING):
        network = job.trial.config.get("perceptual_net")
        if network and (hint := weights.missing(network, job.place.data)):
            raise MissingError(f"the reconstruction loss of row {job.trial.row} needs {hint}")


def unusable(jobs: Sequence[Job]) -> dict[str, str]:
    """Import the baselines that the plan needs, and look at the codes of trunks. Return the rows that cannot be
    trained, with the reason.
    """
    broken, codes = {}, dict[str, str]()
    for job in {job.trial.row: job for job in jobs if job.state in TO_DO}.values():
        try:
            catalog.import_class(job.entry)
        except UserError as error:
            broken[job.trial.row] = str(error)
            continue
        if job.trunk and job.state in TRAINING:
            row = job.trunk.trial.row
            codes[row] = codes[row] if row in codes else _unsuitable_codes(job.trunk)
            if codes[row]:
                broken[job.trial.row] = codes[row]
    return broken


def _unsuitable_codes(trunk: Job) -> str:
    """Return why no prior can model the codes of a trunk, by a look at what `encode` returns on the `meta` device, or
    "" if they are suitable, or if this fails: then training will show it.
    """
    import torch

    from aegen_bench.prior import unsuitable
    from aegen_bench.trial import model as models

    config, place = trunk.trial.config, trunk.place.data
    with suppress(Exception), contained():
        _, channels, side, _ = data.shape(trunk.trial.dataset, data.Recipe(**config["recipe"]), place, "train")
        plain = {**config, "recon": "sse", "compile": False}  # a perceptual loss would read its network
        with torch.device("meta"), torch.no_grad():
            model = models.build(plain, trunk.entry, (channels, side, side), BATCH, trunk.trial.seed, place).eval()
            with model.using(None):
                return unsuitable(model.encode(torch.empty(BATCH, channels, side, side)), config["d"])
    return ""


def anchors_missing(study: Study, jobs: Sequence[Job]) -> bool:
    """Whether a dataset with finished trials lacks a floor or ceiling under one of their protocols."""
    done = [job for job in jobs if job.state == "done"]
    return any(imagesets.anchors_lack(scorer, root) for scorer, root in scorers(study, done, None, Progress()))


def scorers(study: Study, jobs: Sequence[Job], device: Any, show: Progress) -> Iterator[tuple[Scorer, Path]]:
    """Yield a scorer of anchors for each dataset of the plan, and the results folder for their records."""
    for name, job in {job.trial.dataset: job for job in jobs if job.state != "no data"}.items():
        real = real_images(name, study.datasets[name].recipe, job.place.data)
        # A row may be scored by fewer metrics; floor and ceiling have all of them, whatever rows are planned.
        protocols = study.chosen_protocols(name)
        yield Scorer(name, real, protocols, job.place.data, device, show), job.place.results
