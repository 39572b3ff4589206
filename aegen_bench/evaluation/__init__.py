"""uint8 images -> features -> numbers. Knows nothing of models."""

from __future__ import annotations

from aegen_bench.evaluation.protocol import Protocol
from aegen_bench.evaluation.scoring import Scores, Subject, evaluate

__all__ = ["Protocol", "Scores", "Subject", "evaluate"]
