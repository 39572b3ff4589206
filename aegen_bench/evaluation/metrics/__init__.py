"""The metrics, one file each; `aegen_bench/evaluation/metric.py` says what such a file defines."""

from aegen_bench.evaluation.metric import load, names

__all__ = ["load", "names"]
