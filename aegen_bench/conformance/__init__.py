"""Whether a method keeps the contract of `aegen_bench.baseline`: what `aegen-bench check` and the contract test run."""

from aegen_bench.conformance.check import check, check_row, remarks

__all__ = ["check", "check_row", "remarks"]
