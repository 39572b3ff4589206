"""The vocabulary of claims: what a statement asks of rows, as data, and how it is tested.

Each comparison that a claim needs is tested at ALPHA without correction: a claim is supported where all of them are (an
intersection-union test). A comparison needs two trials on each side; only what no seed changes (sizes) is compared as
it is. Rows are compared on the scale of their measure, a row's variance moderated by the other rows' (inference).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import product
from typing import ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from scipy import stats

from aegen_bench.inference import (
    ALPHA,
    MOST,
    Difference,
    Row,
    Scale,
    detectable_by_t,
    difference,
    equivalent,
    seeds_by_t,
)
from aegen_bench.report.claims.measures import Sample
from aegen_bench.study.reading import Strict

__all__ = [
    "Between",
    "Check",
    "Ends",
    "Equivalence",
    "Falls",
    "Here",
    "Higher",
    "Lower",
    "LowerThanCited",
    "NoGain",
    "Order",
    "Outcome",
    "Predicate",
    "Rises",
    "Within",
]


FAR = {True: "one trial, as claimed so far", False: "one trial, not as claimed so far"}
Direction = Literal["less", "greater"]
Outcome = Literal["supported", "contradicted", "inconclusive"]


class Check(NamedTuple):
    """One comparison: its outcome (None: not tested), with what, the p-values of its being as claimed and of its being
    the opposite; or why there is no test, of whom.

    `settle` says which difference could have been found, and how many seeds would settle it.
    """

    outcome: Outcome | None
    what: str = ""
    p: float | None = None
    why: str = ""
    whom: str = ""
    settle: str = ""
    against: float | None = None

    def among(self, comparisons: int) -> Check:
        """Return the check as one of several that a claim needs: that one of them is the opposite counts if it is so at
        ALPHA for all together (Bonferroni), since any of them would do.
        """
        if self.outcome == "contradicted" and self.against is not None and self.against > ALPHA / comparisons:
            return self._replace(outcome="inconclusive")
        return self


class Here(Protocol):
    """Where a claim looks: one measure on one dataset under one protocol, or in the paper's tables."""

    @property
    def scale(self) -> Scale: ...

    def sample(self, row: str) -> Sample: ...

    def row(self, row: str) -> Row:
        """Return the mean of a row that has numbers, on the scale, with its moderated variance."""
        ...

    def cited(self, table: int, row: str) -> float | None:
        """The number the paper prints of a row, None where it does not compare with ours."""
        ...


def unfit(*samples: Sample | None) -> Check | None:
    """Why samples cannot be compared, None where they can."""
    why = ((sample.why, sample.name) for sample in samples if sample is not None and sample.why)
    return next((Check(None, why=reason, whom=name) for reason, name in why), None)


class Tested(NamedTuple):
    """Two rows, or a row and a known number, that are compared: their difference on the scale, the variance of one seed
    of it, and what is said of it.
    """

    compared: Difference
    variance: float
    what: str
    scale: Scale

    @staticmethod
    def of(a: Row, b: Row | float, what: str, scale: Scale) -> Tested:
        return Tested(difference(a, b), a.variance + (b.variance if isinstance(b, Row) else 0.0), what, scale)

    def check(self, below: float | None, above: float | None) -> Check:
        """Test that the difference lies below one number, or above another, or between both."""
        compared, bounds = self.compared, [bound for bound in (below, above) if bound is not None]
        inside = [compared.p_below(below)] if below is not None else []
        inside += [compared.p_above(above)] if above is not None else []
        outside = [compared.p_above(below)] if below is not None else []
        outside += [compared.p_below(above)] if above is not None else []
        p, opposite = max(inside), min(outside)
        outcome: Outcome = "supported" if p <= ALPHA else "contradicted" if opposite <= ALPHA else "inconclusive"
        near = min(abs(compared.gap - bound) for bound in bounds)
        return Check(outcome, self.what, p, settle=self.settled(near), against=opposite)

    def settled(self, gap: float) -> str:
        """Which difference could have been found, and how many seeds would find this one."""
        seen = detectable_by_t(self.compared.error, self.compared.df)
        need = seeds_by_t(gap, self.variance)
        seeds = f"{need} seeds" if need else f"more than {MOST} seeds"
        return f"a difference of {self.scale.gap(seen)} could have been found; the one seen needs {seeds}"


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
    """Each of `rows` against `factor` times each of `than`; with `to`, their distances from that row's mean instead,
    which counts as known.
    """

    test: ClassVar[str] = "one-sided t-test"
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
            ours, theirs = here.row(row), here.row(other)
            names = [a.name, b.name]
            if reference is not None:
                if not reference.known:
                    yield Check(None, why="one trial", whom=reference.name)
                    continue
                middle = here.row(self.to).mean
                ours, theirs = (Row(abs(one.mean - middle), one.n, one.variance, one.df) for one in (ours, theirs))
                names = [f"{name} from {reference.name}" for name in names]
            bound = math.log(self.factor) if self.factor != 1 else 0.0
            so = ours.mean - theirs.mean < bound if self.direction == "less" else ours.mean - theirs.mean > bound
            if short := [sample.name for sample in (a, b) if not sample.known]:
                yield Check(None, why=FAR[so], whom=", ".join(short))
                continue
            times = f"{self.factor:g} times " if self.factor != 1 else ""
            against = f"against {times}{names[1]}"
            what = against if len(self.rows) == 1 else f"{names[0]} {against}"
            tested = Tested.of(ours, theirs, what, here.scale)
            yield tested.check(bound, None) if self.direction == "less" else tested.check(None, bound)


class Lower(Order):
    direction: ClassVar[Direction] = "less"


class Higher(Order):
    direction: ClassVar[Direction] = "greater"


class Equivalence(Predicate):
    """Each of `rows` against each of `than`, up to a share `margin` of the latter, which stands there with its reason.

    A row that is significantly better contradicts the claim, however small the gain.
    """

    than: tuple[str, ...]
    margin: float
    because: str

    def named(self) -> tuple[str, ...]:
        return (*self.rows, *self.than)

    def checks(self, here: Here) -> Iterator[Check]:
        for row, other in product(self.rows, self.than):
            a, b = here.sample(row), here.sample(other)
            if (fault := unfit(a, b)) is not None:
                yield fault
                continue
            tested = Tested.of(
                here.row(row), here.row(other), f"against {b.name}, within {self.margin:.0%}", here.scale
            )
            if short := [sample.name for sample in (a, b) if not sample.known]:
                yield Check(None, why=FAR[self.so(tested.compared.gap)], whom=", ".join(short))
            elif (gain := tested.compared.p_below()) <= ALPHA:
                settle = tested.settled(abs(tested.compared.gap))
                yield Check("contradicted", f"a gain over {b.name}", 1 - gain, settle=settle, against=gain)
            else:
                yield self.decide(tested)

    def so(self, gap: float) -> bool:
        """Whether a difference is as claimed, tests aside."""
        raise NotImplementedError

    def decide(self, tested: Tested) -> Check:
        raise NotImplementedError


class Within(Equivalence):
    """`rows` are like `than`."""

    test: ClassVar[str] = "two one-sided t-tests"

    def so(self, gap: float) -> bool:
        return abs(gap) < math.log1p(self.margin)

    def decide(self, tested: Tested) -> Check:
        margin = math.log1p(self.margin)
        if (p := equivalent(tested.compared, -margin, margin)) <= ALPHA:
            return Check("supported", tested.what, p)
        return tested.check(margin, -margin)


class NoGain(Equivalence):
    """`rows` are no better than `than`. One that is worse, by however much, is no better: unlike `Within`, this has no
    upper margin.
    """

    test: ClassVar[str] = "one-sided t-test"

    def so(self, gap: float) -> bool:
        return gap > -math.log1p(self.margin)

    def decide(self, tested: Tested) -> Check:
        return tested.check(None, -math.log1p(self.margin))


class Between(Predicate):
    """Each of `rows` lies above `low` and below `high`; either may be left out. Above `silent_above` the measure says
    nothing, and the claim is not tested.
    """

    test: ClassVar[str] = "one-sided t-test"
    low: float | None = None
    high: float | None = None
    silent_above: float | None = None

    def checks(self, here: Here) -> Iterator[Check]:
        for row in self.rows:
            sample = here.sample(row)
            if (fault := unfit(sample)) is not None:
                yield fault
                continue
            if self.silent_above is not None and np.mean(sample.values) > self.silent_above:
                yield Check(None, why=f"above {self.silent_above:g} the measure does not tell", whom=sample.name)
                continue
            for bound, direction in ((self.low, "greater"), (self.high, "less")):
                if bound is not None:
                    yield _against(here, row, bound, direction)


def _against(here: Here, row: str, bound: float, direction: str) -> Check:
    """Test that a row is below a known number ("less") or above it."""
    sample, less = here.sample(row), direction == "less"
    so = bool(np.mean(sample.values) < bound) if less else bool(np.mean(sample.values) > bound)
    what = f"{'below' if less else 'above'} {bound:g}"
    if sample.exact:
        return Check("supported" if so else "contradicted", what)
    if not sample.known:
        return Check(None, why=FAR[so], whom=sample.name)
    [at] = here.scale.of([bound])
    tested = Tested.of(here.row(row), at, what, here.scale)
    return tested.check(0.0, None) if less else tested.check(None, 0.0)


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
                yield _against(here, row, float(np.median(numbers)) if self.pick == "median" else max(numbers), "less")


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
        middle = float(np.mean(here.scale.of(reference.values))) if reference is not None else None
        places, values = list[int](), list[float]()
        for i, sample in enumerate(samples):
            for value in here.scale.of(sample.values):
                places.append(i)
                values.append(value if middle is None else abs(value - middle))
        tau, against = (stats.kendalltau(places, values, alternative=way) for way in self._ways)
        said = f"tau {tau.statistic:+.2f} over {len(values)} trials"
        best = float(stats.kendalltau(places, places, alternative="greater").pvalue)
        if not best <= ALPHA:
            yield Check(None, why=f"too few trials for a trend, {said}")
        else:
            p, other = float(tau.pvalue), float(against.pvalue)
            outcome: Outcome = "supported" if p <= ALPHA else "contradicted" if other <= ALPHA else "inconclusive"
            yield Check(outcome, said, p, against=other)

    @property
    def _ways(self) -> tuple[Direction, Direction]:
        return ("less", "greater") if self.direction == "less" else ("greater", "less")


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
                yield Check("supported" if so else "contradicted", sample.name)
