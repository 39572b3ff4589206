"""One comparison of samples, tested, or why it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from aegen_bench.report.claims.measures import Sample
from aegen_bench.report.statistics import ALPHA

__all__ = ["FAR", "Check", "Direction", "against", "unfit"]

FAR = {True: "one trial, as claimed so far", False: "one trial, not as claimed so far"}
Direction = Literal["less", "greater"]


class Check(NamedTuple):
    """One comparison: whether it holds (None: not tested), with what, its p-value; or why there is no test, of whom."""

    holds: bool | None
    what: str = ""
    p: float | None = None
    why: str = ""
    whom: str = ""


def unfit(*samples: Sample | None) -> Check | None:
    """Why samples cannot be compared, None where they can."""
    why = ((sample.why, sample.name) for sample in samples if sample is not None and sample.why)
    return next((Check(None, why=reason, whom=name) for reason, name in why), None)


def against(sample: Sample, other: Sequence[float], name: str, direction: Direction, factor: float = 1.0) -> Check:
    """Test whether the mean of a sample is less or greater than `factor` times another's; without `name`, than a
    known number.
    """
    a, b = np.array(sample.values), factor * np.array(other)
    so = bool(a.mean() < b.mean()) if direction == "less" else bool(a.mean() > b.mean())
    bound = f"{'below' if direction == 'less' else 'above'} {b[0]:g}"
    what = f"against {f'{factor:g} times ' if factor != 1 else ''}{name}" if name else bound
    if sample.exact:
        return Check(so, what)
    if short := [who for who, n in ((sample.name, len(a)), (name, len(b))) if who and n < 2]:
        return Check(None, why=FAR[so], whom=", ".join(short))
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return Check(so, what, 0.0 if so else 1.0)  # without any spread there is nothing left to chance
    if name:
        ours, theirs = ((x.mean(), x.std(ddof=1), len(x)) for x in (a, b))
        p = stats.ttest_ind_from_stats(*ours, *theirs, equal_var=False, alternative=direction).pvalue
    else:
        p = stats.ttest_1samp(a, b[0], alternative=direction).pvalue
    return Check(bool(p <= ALPHA), what, float(p))
