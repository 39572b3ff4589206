"""Checks of the contract in `aegen_bench.baseline` and `aegen_bench.prior`, for `aegen-bench check` and the tests."""

from aegen_bench.conformance.check import check, check_row, remarks

__all__ = ["check", "check_row", "remarks"]
