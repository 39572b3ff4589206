"""Executing a plan: all trials in order, in this process or on workers, and then the anchors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from aegen_bench import results
from aegen_bench.evaluation import imagesets
from aegen_bench.progress import Progress
from aegen_bench.results import locks
from aegen_bench.runner.planning import TO_DO, scorers
from aegen_bench.study import Study
from aegen_bench.training.stopping import Interrupts
from aegen_bench.trial.job import Job

if TYPE_CHECKING:
    from aegen_bench.runner.single_trial import Outcome

__all__ = ["Executor", "Summary", "run", "running"]

Executor: TypeAlias = "Callable[[Sequence[Job], Progress], Iterator[tuple[Job, Outcome]]]"
"""Runs jobs, here or elsewhere, and yields each with its outcome, in the order in which they end."""


GOOD = {"ok", locks.ELSEWHERE}


@dataclass(frozen=True)
class Summary:
    """The outcome of a run: the number of trials by outcome, and what became of those that did not end well."""

    outcomes: Counter[str]
    bad: list[tuple[Job, Outcome]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether every trial succeeded or was left to another run."""
        return self.outcomes.keys() <= GOOD


def run(
    study: Study,
    jobs: Sequence[Job],
    show: Progress,
    broken: dict[str, str],
    interrupts: Interrupts,
    execute: Executor,
    device: str,
) -> Summary:
    """Run the unfinished jobs by `execute`, and compute missing anchors on `device`.

    A trial that fails does not stop the others; Ctrl-C and SIGTERM raise `Stopped`. `broken` are rows that cannot be
    imported.
    """
    import torch

    from aegen_bench import environment

    wanted = [job for job in jobs if job.state in TO_DO]
    to_do = [job for job in wanted if job.trial.row not in broken]
    to_do = [
        replace(
            job,
            place=replace(job.place, device=device),
            label=f"[{number}/{len(to_do)}] {job.trial.label}",
            interrupts=interrupts,
        )
        for number, job in enumerate(to_do, 1)
    ]
    outcomes: Counter[str] = Counter(broken=len(wanted) - len(to_do)) if broken else Counter()
    bad: list[tuple[Job, Outcome]] = []
    with interrupts.listening():
        show.grid(0, len(to_do))
        for number, (job, outcome) in enumerate(execute(to_do, show), 1):
            if outcome.status not in (locks.ELSEWHERE, "blocked") and not job.record.is_file():
                outcome = replace(outcome, status="not recorded")
            outcomes[outcome.status] += 1
            if outcome.status not in GOOD:
                bad.append((job, outcome))
            show.note(f"{job.label}: {outcome.text}")
            show.grid(number, len(to_do))
        if lost := len(to_do) - outcomes.total() + outcomes["broken"]:
            outcomes["not run"] = lost
        for scorer, root in scorers(study, jobs, torch.device(device), show):
            lock = locks.lock_path(root, results.ANCHORS, scorer.dataset)
            try:
                with locks.wait_for(lock, f"the anchors of {scorer.dataset}", show.note), environment.exact():
                    imagesets.anchors(scorer, root)
            except Exception as error:
                outcomes["evaluation failed"] += 1
                show.note(f"anchors of {scorer.dataset}: evaluation failed: {' '.join(str(error).split())}")
    return Summary(outcomes, bad)


def running(root: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the trials that are running in any process, as label and facts (`progress.facts`), sorted by profile,
    dataset, row and seed.
    """
    trials = ((names, figures) for names, figures in locks.held(root) if len(names) == 4)
    return [(f"{row} on {dataset}, {seed.replace('-', ' ')}", told) for (_, dataset, row, seed), told in trials]
