"""Claims as data: a statement of the paper, its predicate about rows, and how that is tested.

Each comparison of a claim is tested at ALPHA without correction, because a claim is supported only if all of them are
(an intersection-union test). A comparison needs two trials on each side, except for numbers that do not depend on the
seed (sizes). Rows are compared on the scale of their measure, with variances moderated by those of other rows (see
`inference`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator
from scipy import stats

from aegen_bench.errors import unknown
from aegen_bench.inference import ALPHA, MOST, Row, detectable_by_t, difference, seeds_by_t
from aegen_bench.report.claims.measures import MEASURES, Measured, PapersNumbers, Sample
from aegen_bench.study.reading import Strict

__all__ = ["Check", "Claim", "Ends", "Here", "Predicate"]

SO_FAR = {True: "only one trial, in line with the claim", False: "only one trial, at odds with the claim"}
Outcome = Literal["supported", "contradicted", "inconclusive"]
Rows = Annotated[tuple[str, ...], Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]


class Check(NamedTuple):
    """One comparison: its outcome (None: not tested), a description, and the p-values of the claim and of its opposite;
    or the reason why it is not tested, and for which rows.

    `settle` says which difference could have been detected, and how many seeds the observed one would need.
    """

    outcome: Outcome | None
    what: str = ""
    p: float | None = None
    against: float | None = None
    settle: str = ""
    why: str = ""
    whom: str = ""

    @staticmethod
    def by(what: str, p: float, against: float, settle: str = "") -> Check:
        """Return a check whose outcome is decided by the p-values."""
        outcome: Outcome = "supported" if p <= ALPHA else "contradicted" if against <= ALPHA else "inconclusive"
        return Check(outcome, what, p, against, settle)

    def among(self, comparisons: int) -> Check:
        """Return the check as one of several of a claim. A contradiction must hold at ALPHA for all of them together
        (Bonferroni), since one contradicted check is enough to contradict the claim.
        """
        if self.outcome == "contradicted" and self.against is not None and self.against > ALPHA / comparisons:
            return self._replace(outcome="inconclusive")
        return self


class Untested(Exception):
    """Raised with the reason why there is no test, and the rows concerned."""


Here = Measured | PapersNumbers
"""The numbers to test a claim on: our trials, or the paper's tables."""


class Bounds(NamedTuple):
    """The claimed bounds of a difference: below one number, above another, or between both."""

    below: float | None = None
    above: float | None = None

    def hold(self, gap: float) -> bool:
        """Return whether a difference is within the bounds."""
        return (self.below is None or gap < self.below) and (self.above is None or gap > self.above)

    def check(self, here: Here, a: Row, b: Row | float, what: str, *, gain: str = "") -> Check:
        """Test the difference of two rows, or of a row and a known number. With `gain`, a description, the claim is
        contradicted whenever the first row is significantly lower.
        """
        compared, variance = difference(a, b), a.variance + (b.variance if isinstance(b, Row) else 0.0)
        ends = [(compared.p_below, compared.p_above, self.below), (compared.p_above, compared.p_below, self.above)]
        tests = [(inside(at), outside(at), abs(compared.gap - at)) for inside, outside, at in ends if at is not None]
        p, against, gap = max(t[0] for t in tests), min(t[1] for t in tests), min(t[2] for t in tests)
        if gain and (lower := compared.p_below()) <= ALPHA:
            what, p, against, gap = gain, 1 - lower, lower, abs(compared.gap)
        need = seeds_by_t(gap, variance)
        seeds = f"{need} seeds" if need else f"more than {MOST} seeds"
        seen = here.scale.gap(detectable_by_t(compared.error, compared.df))
        settle = f"a difference of {seen} would have been detected; detecting the observed one takes {seeds}"
        return Check.by(what, p, against, settle)


class Predicate(Strict):
    """What a claim states about `rows`; it is tested case by case."""

    test: ClassVar[str] = "one-sided t-test"
    check: ClassVar[Callable[..., Check]]  # tests one case, or raises Untested
    rows: Rows

    def named(self) -> tuple[str, ...]:
        """Return all rows whose numbers are used."""
        others = [*getattr(self, "than", ()), getattr(self, "to", "")]
        return tuple(dict.fromkeys([*self.rows, *filter(None, others)]))

    def checks(self, here: Here) -> Iterator[Check]:
        """Yield the check of each case."""
        for case in self.cases():
            try:
                yield self.check(here, *case)
            except Untested as error:
                why, *whom = error.args
                yield Check(None, why=why, whom=", ".join(whom))

    def cases(self) -> Iterable[tuple[Any, ...]]:
        """Return the cases, arguments of `check`: one per row."""
        return product(self.rows)


def _samples(here: Here, *rows: str) -> list[Sample]:
    """Return the samples of rows; Untested if one cannot be compared."""
    samples = [here.sample(row) for row in rows]
    for sample in samples:
        if sample.why:
            raise Untested(sample.why, sample.name)
    return samples


class Comparison(Predicate):
    """Each of `rows` against each of `than`."""

    than: Rows

    def cases(self) -> Iterable[tuple[Any, ...]]:
        """Return each pair of `rows` and `than`."""
        return product(self.rows, self.than)

    def _known(self, samples: Iterable[Sample], so: bool) -> None:
        if short := [sample.name for sample in samples if not sample.known]:
            raise Untested(SO_FAR[so], *short)


class Order(Comparison):
    """Each of `rows` is lower (or higher) than `factor` times each of `than`. With `to`, this is about their distances
    from the mean of that row, which counts as exactly known.
    """

    lower: ClassVar[bool]
    factor: Positive = 1.0
    to: str = ""

    def check(self, here: Here, row: str, other: str) -> Check:
        """Test one pair of rows."""
        a, b, *to = _samples(here, row, other, *filter(None, [self.to]))
        ours, theirs, names = here.row(row), here.row(other), [a.name, b.name]
        if to:
            if not to[0].known:
                raise Untested("only one trial", to[0].name)
            middle = here.row(self.to).mean
            ours, theirs = (Row(abs(one.mean - middle), one.n, one.variance, one.df) for one in (ours, theirs))
            names = [f"{name}'s distance from {to[0].name}" for name in names]
        bound = math.log(self.factor)
        claimed = Bounds(below=bound) if self.lower else Bounds(above=bound)
        self._known((a, b), claimed.hold(ours.mean - theirs.mean))
        what = f"against {f'{self.factor:g} times ' if self.factor != 1 else ''}{names[1]}"
        return claimed.check(here, ours, theirs, what if len(self.rows) == 1 else f"{names[0]} {what}")


class Lower(Order):
    """`rows` are lower than `than`."""

    lower: ClassVar[bool] = True


class Higher(Order):
    """`rows` are higher than `than`."""

    lower: ClassVar[bool] = False


class Equivalence(Comparison):
    """Each of `rows` equals each of `than` up to `margin`, a share of the latter; `because` gives the reason for it.

    A row that is significantly better contradicts the claim, however small the gain.
    """

    both: ClassVar[bool]
    margin: Positive
    because: str

    def check(self, here: Here, row: str, other: str) -> Check:
        """Test one pair of rows."""
        a, b = _samples(here, row, other)
        ours, theirs, margin = here.row(row), here.row(other), math.log1p(self.margin)
        claimed = Bounds(margin if self.both else None, -margin)
        self._known((a, b), claimed.hold(ours.mean - theirs.mean))
        what = f"against {b.name}, within {self.margin:.0%}"
        return claimed.check(here, ours, theirs, what, gain=f"a gain over {b.name}")


class Within(Equivalence):
    """`rows` are like `than`."""

    test: ClassVar[str] = "two one-sided t-tests"
    both: ClassVar[bool] = True


class NoGain(Equivalence):
    """`rows` are no better than `than`. They may be worse by any amount: unlike `Within`, this has no upper margin."""

    both: ClassVar[bool] = False


def _against(here: Here, sample: Sample, row: str, bound: float, *, lower: bool) -> Check:
    """Test whether a row is below (or above) a known number."""
    what, gap = f"{'below' if lower else 'above'} {bound:g}", float(np.mean(sample.values)) - bound
    claimed = Bounds(below=0.0) if lower else Bounds(above=0.0)
    if sample.exact:
        return Check("supported" if claimed.hold(gap) else "contradicted", what)
    if not sample.known:
        raise Untested(SO_FAR[claimed.hold(gap)], sample.name)
    return claimed.check(here, here.row(row), here.scale.of([bound])[0], what)


class Between(Predicate):
    """Each of `rows` lies above `low` and below `high`; either may be left out. Above `silent_above`, the measure is
    uninformative, and the claim is not tested.
    """

    low: float | None = None
    high: float | None = None
    silent_above: float | None = None

    def cases(self) -> Iterable[tuple[Any, ...]]:
        """Return each row with each bound."""
        bounds = ((self.low, False), (self.high, True))
        return [(row, *bound) for row in self.rows for bound in bounds if bound[0] is not None]

    def check(self, here: Here, row: str, bound: float, lower: bool) -> Check:
        """Test one row against one bound."""
        [sample] = _samples(here, row)
        if self.silent_above is not None and np.mean(sample.values) > self.silent_above:
            raise Untested(f"above {self.silent_above:g}, where the measure is not informative", sample.name)
        return _against(here, sample, row, bound, lower=lower)


class LowerThanCited(Predicate):
    """Each of `rows` is below the median or highest number that a table of the paper gives for the rows `cited`."""

    table: int
    cited: tuple[str, ...]
    pick: Literal["median", "highest"]

    def check(self, here: Here, row: str) -> Check:
        """Test one row against the cited numbers."""
        numbers = [number for name in self.cited if (number := here.cited(self.table, name)) is not None]
        if not numbers:
            raise Untested("the cited numbers are comparable only with FID under the profile `paper`")
        [sample] = _samples(here, row)
        return _against(
            here, sample, row, float(np.median(numbers) if self.pick == "median" else max(numbers)), lower=True
        )


class Trend(Predicate):
    """The number falls or rises along `rows`; with `to`, its distance from the mean of that row does.

    Tested by Kendall's rank correlation over all trials, under the null hypothesis that they are exchangeable. One
    trial per row is enough if there are enough rows.
    """

    test: ClassVar[str] = "Kendall's rank correlation, one-sided"
    ways: ClassVar[tuple[str, str]]
    to: str = ""

    def cases(self) -> Iterable[tuple[Any, ...]]:
        """Return the single case, all rows together."""
        return [()]

    def check(self, here: Here) -> Check:
        """Test the rank correlation over all trials; Untested if there are too few."""
        samples = [here.scale.of(sample.values) for sample in _samples(here, *self.rows, *filter(None, [self.to]))]
        places = [i for i, values in enumerate(samples[: len(self.rows)]) for _ in values]
        values = [value for values in samples[: len(self.rows)] for value in values]
        if self.to:
            values = list(np.abs(np.array(values) - np.mean(samples[-1])))
        tau, against = (stats.kendalltau(places, values, alternative=way) for way in self.ways)
        said = f"tau {tau.statistic:+.2f} over {len(values)} trials"
        if not stats.kendalltau(places, places, alternative="greater").pvalue <= ALPHA:
            raise Untested(f"too few trials to test a trend: {said}")
        return Check.by(said, float(tau.pvalue), float(against.pvalue))


class Falls(Trend):
    """The number falls along `rows`."""

    ways: ClassVar[tuple[str, str]] = ("less", "greater")


class Rises(Trend):
    """The number rises along `rows`."""

    ways: ClassVar[tuple[str, str]] = ("greater", "less")


class Ends(Predicate):
    """Every trial of `rows` ended in one of `states`; needs two trials per row."""

    test: ClassVar[str] = "outcome of every trial"
    states: tuple[Literal["ok", "diverged", "collapsed"], ...]

    def check(self, here: Here, row: str) -> Check:
        """Check how the trials of one row ended; Untested with fewer than two."""
        sample = here.sample(row)
        ended = {state: n for state, n in sample.states.items() if state not in ("failed", "timeout")}
        so, n = all(state in self.states for state in ended), sum(ended.values())
        if n < 2:
            raise Untested(SO_FAR[so] if n else "no trial", sample.name)
        return Check("supported" if so else "contradicted", sample.name)


class Claim(Strict):
    """A statement of the paper. `protocol` is set if the claim is about one protocol only."""

    name: str
    says: str
    section: str
    measure: str
    datasets: tuple[str, ...]
    protocol: str = ""
    lower: Lower | None = None
    higher: Higher | None = None
    within: Within | None = None
    no_gain: NoGain | None = None
    between: Between | None = None
    lower_than_cited: LowerThanCited | None = None
    falls: Falls | None = None
    rises: Rises | None = None
    ends: Ends | None = None

    @model_validator(mode="after")
    def _one_predicate(self) -> Claim:
        if sum(isinstance(value, Predicate) for _, value in self) != 1:
            legal = [name for name, field in type(self).model_fields.items() if field.default is None]
            raise ValueError(f"a claim has exactly one of {', '.join(legal)}")
        if self.measure not in MEASURES:
            raise ValueError(str(unknown("measure", self.measure, MEASURES)))
        predicate = self.predicate
        if (self.measure == "states") != isinstance(predicate, Ends):
            raise ValueError("the measure states belongs to a claim with `ends`, and no other measure does")
        if isinstance(predicate, Between):
            bounds = [bound for bound in (predicate.low, predicate.high) if bound is not None]
            if not bounds or (MEASURES[self.measure].scale.logarithmic and min(bounds) <= 0):
                raise ValueError("between needs low, high or both; above 0 if the measure is compared by its logarithm")
        share = isinstance(predicate, Equivalence) or (isinstance(predicate, Order) and predicate.factor != 1)
        if share and not MEASURES[self.measure].scale.logarithmic:
            raise ValueError(
                f"a factor or margin needs a measure that is compared by its logarithm: not {self.measure}"
            )
        return self

    @property
    def predicate(self) -> Predicate:
        """The predicate, of which a claim has exactly one."""
        return next(value for _, value in self if isinstance(value, Predicate))
