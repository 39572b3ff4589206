"""Timing a row on a device: a warm-up and some epochs of each stage, extraction, `fit`, sampling, and memory.

Of a pair, the prior is timed on made-up codes, and the times of its trunk are added. Nothing is trained to completion,
since the duration of an epoch does not depend on the number of earlier ones.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from aegen_bench import environment
from aegen_bench.numerics import tuning
from aegen_bench.prior import Pair
from aegen_bench.results import stages_with_trunk
from aegen_bench.results.timings import Stage, Timing, identity
from aegen_bench.training import loop
from aegen_bench.training.history import History
from aegen_bench.training.schedule import StagePlan
from aegen_bench.trial import model as models
from aegen_bench.trial import sampling
from aegen_bench.trial.job import Job

__all__ = ["WARM", "measure"]

WARM = 500
"""Number of images that are sampled for warm-up."""
STAT = Path("/proc/stat")


def measure(job: Job, epochs: int, sampled: int, threads: int, trunk: Timing | None = None) -> Timing:
    """Time a row on the job's device and dataset, with `epochs` epochs of each stage after one for warm-up.

    Run it in a new process, because on a CPU the peak memory is that of the process. `sampled` images are generated.
    For a pair, `trunk` is the timing of its trunk on the same device. Raises whatever building or training raises.
    """
    torch.set_num_threads(threads)
    config = job.trial.config
    with environment.exact(), tuning.keeping_memory():
        begin = _Clock()
        environment.reset_peak_memory(job.device)
        images, full_size = job.training_images()
        shape = tuple(images.shape[1:])
        model = models.build(config, job.entry, shape, len(images), job.trial.seed, job.place.data).to(job.device)
        if isinstance(model, Pair):
            model = _OnMadeUpCodes(model.trunk, model.density).to(job.device)
        plans = {name: StagePlan(**plan) for name, plan in config["stages"].items()}
        short = {name: _short(plan, len(images), 1 + epochs) for name, plan in plans.items()}
        history = History()
        loop.train(
            model, images, short, seed=job.trial.seed, history=history, full_size=full_size, graphs=job.place.graphs
        )
        sampling.generate(model, WARM, seed=job.trial.seed, draw=0, device=job.device)
        start = loop.now(job.device)
        sampling.generate(model, sampled, seed=job.trial.seed, draw=1, device=job.device)
        sample = loop.now(job.device) - start
    about = _about(job, epochs)
    found = Timing(
        id=identity(about),
        about=about,
        profile=job.trial.profile,
        dataset=job.trial.dataset,
        row=job.trial.row,
        key=job.trial.key,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        stages={name: _stage(name, history, plans[name], len(images)) for name in history.stages},
        extract=history.seconds["extract"],
        fit=history.seconds["fit"],
        sample=sample,
        sampled=sampled,
        peak_memory=environment.peak_memory(job.device),
        others=begin.others(),
    )
    return found if trunk is None else _added(trunk, found)


class _OnMadeUpCodes(Pair):
    """A pair whose prior learns codes drawn from N(0, I), since those of an untrained trunk may be too degenerate to
    fit a density to. The trunk still extracts its own codes, so that this is timed.
    """

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        return self.randn(*super().extract(x, index).shape)


def _added(trunk: Timing, prior: Timing) -> Timing:
    """Return the timing of a pair: the training of its trunk plus that of its prior, and sampling through both."""
    peaks = [one.peak_memory for one in (trunk, prior) if one.peak_memory is not None]
    others = [one.others for one in (trunk, prior) if one.others is not None]
    whole = {
        "stages": stages_with_trunk(trunk.stages, prior.stages),
        "extract": trunk.extract + prior.extract,
        "fit": trunk.fit + prior.fit,
        "peak_memory": max(peaks, default=None),
        "others": max(others, default=None),
    }
    return prior.model_copy(update=whole)


def _short(plan: StagePlan, images: int, epochs: int) -> StagePlan:
    """Return the plan, cut to at most so many epochs and without milestones, which do not affect times."""
    batch = min(plan.batch, images)
    steps = min(plan.total_steps(images), epochs * (images // batch))
    return plan.model_copy(update={"epochs": None, "steps": max(steps, 1), "lr_at": ()})


def _stage(name: str, history: History, plan: StagePlan, images: int) -> Stage:
    """Return the seconds of the epochs after the first, or of the only one."""
    batch = min(plan.batch, images)
    per_epoch, steps, whole = images // batch, plan.total_steps(images), history.stages[name]
    ends = [(row["seconds"], row["images"]) for row in history.epochs if row["stage"] == name]
    spans = [(t - before, seen - already) for (before, already), (t, seen) in pairwise(ends)]
    spans = spans or [(whole["seconds"], whole["images"])]
    # A budget in steps may end within an epoch, whose time is then scaled to a full one.
    seconds = tuple(took * per_epoch * batch / seen for took, seen in spans)
    return Stage(seconds=seconds, epochs=steps / per_epoch, images=per_epoch * batch, steps=steps)


def _about(job: Job, epochs: int) -> dict[str, str]:
    """Return the conditions that times depend on."""
    described = job.environment()
    versions = described["versions"]
    assert isinstance(versions, dict)
    return {
        "device": environment.timed_on(described),
        "threads": str(described["threads"]),
        "precision": str(job.trial.config["precision"]),
        "libraries": ", ".join(f"{name} {version}" for name, version in versions.items() if name in ("torch", "numpy")),
        "rule": f"mean of {epochs} epochs after 1 that warms up",
    }


class _Clock:
    """Measures how much of the processors other programs use (on Linux)."""

    def __init__(self) -> None:
        self._ticks, self._own, self._wall = environment.ticks(STAT), time.process_time(), time.perf_counter()

    def others(self) -> float | None:
        """Return the share of the processors that other programs have used since; None if unknown."""
        after, spent = environment.ticks(STAT), time.process_time() - self._own
        if not self._ticks:
            return None
        spans = [(after[n][0] - idle, after[n][1] - whole) for n, (idle, whole) in self._ticks.items() if n in after]
        tick = os.sysconf("SC_CLK_TCK")
        busy = sum(whole - idle for idle, whole in spans) / tick
        return min(1.0, max(0.0, (busy - spent) / max(sum(whole for _, whole in spans) / tick, 1e-9)))
