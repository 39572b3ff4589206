"""Tests the paper's statements against the results."""

from __future__ import annotations

from aegen_bench.report.claims.findings import Claim, Finding, alike, claims, evaluate, load, verdicts

__all__ = ["Claim", "Finding", "alike", "claims", "evaluate", "load", "verdicts"]
