"""The metrics, one file each; see `aegen_bench/evaluation/metric.py` for the interface."""

from aegen_bench.evaluation.metric import load, names

__all__ = ["load", "names"]
