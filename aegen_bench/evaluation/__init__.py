"""Evaluation: uint8 images -> features -> metrics. Independent of models and training."""

from __future__ import annotations

from aegen_bench.evaluation.protocol import Protocol
from aegen_bench.evaluation.scoring import Scores, Subject, evaluate

__all__ = ["Protocol", "Scores", "Subject", "evaluate"]
