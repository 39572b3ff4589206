"""Planning trials, and running them in this process, in worker processes or on a cluster."""

from aegen_bench.runner.execution import Executor, Summary, run, running
from aegen_bench.runner.planning import ON_REQUEST, TO_DO, TRAINING, anchors_missing, plan, require_weights, unusable
from aegen_bench.trial.job import Job

__all__ = [
    "ON_REQUEST",
    "TO_DO",
    "TRAINING",
    "Executor",
    "Job",
    "Summary",
    "anchors_missing",
    "plan",
    "require_weights",
    "run",
    "running",
    "unusable",
]
