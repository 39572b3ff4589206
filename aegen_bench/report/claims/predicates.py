"""The vocabulary of claims: what a statement asks of samples, as data, and how it is tested.

A claim holds where each of its comparisons does, so each is tested at ALPHA without correction (an
intersection-union test). No comparison holds without a test, and a test needs two trials on each side; only what no
seed changes (sizes) is compared as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from scipy import stats

from aegen_bench.report.claims.measures import Sample
from aegen_bench.report.statistics import ALPHA
from aegen_bench.study.reading import Strict

__all__ = [
    "Between",
    "Check",
    "Ends",
    "Falls",
    "Here",
    "Higher",
    "Lower",
    "LowerThanCited",
    "Predicate",
    "Rises",
    "Within",
]


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


class Here(Protocol):
    """Where a claim looks: one measure on one dataset under one protocol."""

    def sample(self, row: str) -> Sample: ...

    def cited(self, table: int, row: str) -> float | None:
        """The number the paper prints of a row, None where it does not compare with ours."""
        ...


class Predicate(Strict):
    """`rows` are what the claim speaks of."""

    test: ClassVar[str]
    rows: tuple[str, ...]

    def named(self) -> tuple[str, ...]:
        """Return every row whose numbers are looked at."""
        return self.rows

    def checks(self, here: Here) -> Iterable[Check]:
        raise NotImplementedError


class Order(Predicate):
    """Each of `rows` against `factor` times each of `than`; with `to`, their distances from that row's mean instead."""

    test: ClassVar[str] = "Welch, one-sided"
    direction: ClassVar[Direction]
    than: tuple[str, ...]
    factor: float = 1.0
    to: str = ""

    def named(self) -> tuple[str, ...]:
        return (*self.rows, *self.than, *([self.to] if self.to else []))

    def checks(self, here: Here) -> Iterator[Check]:
        for row, other in product(self.rows, self.than):
            a, b = here.sample(row), here.sample(other)
            reference = here.sample(self.to) if self.to else None
            if (fault := unfit(a, b, reference)) is not None:
                yield fault
                continue
            if reference is not None:
                if len(reference.values) < 2:
                    yield Check(None, why="one trial", whom=reference.name)
                    continue
                a, b = a.apart(reference), b.apart(reference)
            check = against(a, b.values, b.name, self.direction, self.factor)
            yield check if len(self.rows) == 1 else check._replace(what=f"{a.name} {check.what}")


class Lower(Order):
    direction: ClassVar[Direction] = "less"


class Higher(Order):
    direction: ClassVar[Direction] = "greater"


class Within(Predicate):
    """Each of `rows` differs from each of `than` by less than `share` of the latter: two one-sided tests."""

    test: ClassVar[str] = "two one-sided Welch tests"
    than: tuple[str, ...]
    share: float

    def named(self) -> tuple[str, ...]:
        return (*self.rows, *self.than)

    def checks(self, here: Here) -> Iterator[Check]:
        for row, other in product(self.rows, self.than):
            a, b = here.sample(row), here.sample(other)
            if (fault := unfit(a, b)) is not None:
                yield fault
                continue
            below = against(a, b.values, b.name, "less", 1 + self.share)
            above = against(a, b.values, b.name, "greater", 1 - self.share)
            # The one that decides: a test that fails, a trial that is not as claimed, the larger p.
            yield max(below, above, key=lambda check: (check.holds is False, check.why == FAR[False], check.p or 0.0))


class Between(Predicate):
    """Each of `rows` lies above `low` and below `high`; either may be left out."""

    test: ClassVar[str] = "one-sided t-test"
    low: float | None = None
    high: float | None = None

    def checks(self, here: Here) -> Iterator[Check]:
        bounds: list[tuple[float | None, Direction]] = [(self.low, "greater"), (self.high, "less")]
        for row in self.rows:
            sample = here.sample(row)
            if (fault := unfit(sample)) is not None:
                yield fault
                continue
            for bound, direction in bounds:
                if bound is not None:
                    yield against(sample, (bound,), "", direction)


class LowerThanCited(Predicate):
    """Each of `rows` is below the median or the highest of the numbers that a table of the paper cites of `cited`."""

    test: ClassVar[str] = "one-sided t-test"
    table: int
    cited: tuple[str, ...]
    pick: Literal["median", "highest"]

    def checks(self, here: Here) -> Iterator[Check]:
        found = [here.cited(self.table, name) for name in self.cited]
        numbers = [number for number in found if number is not None]
        for row in self.rows:
            sample = here.sample(row)
            if not numbers:
                yield Check(None, why="cited numbers compare under the FID of the paper's profile only")
            elif (fault := unfit(sample)) is not None:
                yield fault
            else:
                yield against(
                    sample, (float(np.median(numbers)) if self.pick == "median" else max(numbers),), "", "less"
                )


class Trend(Predicate):
    """The number falls or rises along `rows`, or, with `to`, its distance from that row's mean does.

    Kendall's rank correlation over all trials, against their being exchangeable: one trial a row is enough if there
    are rows enough.
    """

    test: ClassVar[str] = "Kendall's rank correlation, one-sided"
    direction: ClassVar[Direction]
    to: str = ""

    def named(self) -> tuple[str, ...]:
        return (*self.rows, *([self.to] if self.to else []))

    def checks(self, here: Here) -> Iterator[Check]:
        samples = [here.sample(row) for row in self.rows]
        reference = here.sample(self.to) if self.to else None
        if (fault := unfit(*samples, reference)) is not None:
            yield fault
            return
        if reference is not None:
            samples = [sample.apart(reference) for sample in samples]
        places = [i for i, sample in enumerate(samples) for _ in sample.values]
        values = [value for sample in samples for value in sample.values]
        tau = stats.kendalltau(places, values, alternative=self.direction)
        said = f"tau {tau.statistic:+.2f} over {len(values)} trials"
        best = float(stats.kendalltau(places, places, alternative="greater").pvalue)
        if not best <= ALPHA:
            yield Check(None, why=f"too few trials for a trend, {said}")
        else:
            yield Check(bool(tau.pvalue <= ALPHA), said, float(tau.pvalue))


class Falls(Trend):
    direction: ClassVar[Direction] = "less"


class Rises(Trend):
    direction: ClassVar[Direction] = "greater"


class Ends(Predicate):
    """Every trial of `rows` ended in one of `states`; two a row are needed."""

    test: ClassVar[str] = "how every trial ended"
    states: tuple[Literal["ok", "diverged", "collapsed"], ...]

    def checks(self, here: Here) -> Iterator[Check]:
        for row in self.rows:
            sample = here.sample(row)
            ended = {state: n for state, n in sample.states.items() if state not in ("failed", "timeout")}
            so = all(state in self.states for state in ended)
            if (n := sum(ended.values())) < 2:
                yield Check(None, why=FAR[so] if n else "no trial", whom=sample.name)
            else:
                yield Check(so, sample.name)
