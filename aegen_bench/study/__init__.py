"""The study: benchmarks.yaml and the method files, resolved into trials with settings and keys."""

from aegen_bench.study.command import asked_as, command
from aegen_bench.study.study import NUMERICS, Study, Trial

__all__ = ["NUMERICS", "Study", "Trial", "asked_as", "command"]
