"""The leading group of a column: the rows that cannot be told from the best one.

It is found by multiple comparisons with the best (Hsu 1984, doi:10.1214/aos/1176346704), run step-down so that all
rows that are as good as the best are kept together (the model confidence set of Hansen, Lunde and Nason 2011,
doi:10.3982/ECTA5771). Hsu's own constant keeps *one* given best row in 95% of tables; of nine equal rows, it leaves
some out in about every fifth table (`perf/inference.py`). In each step, the row that is most significantly behind
another one is removed if its lag exceeds the studentised range of that many equal rows. The remaining rows are then
compared among themselves, with the smaller constant of fewer rows. A row that is far behind is removed in the first
step and has no influence.

Noise and number of rows are those of the rows near the best, its *contenders*. Each row farther away is tested as if it
were the only other one. Adding a row that is far behind therefore does not change the results of others, to the last
digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aegen_bench.inference.comparing import Difference, Row, difference, moderated
from aegen_bench.inference.power import critical, detectable
from aegen_bench.inference.scales import Scale

__all__ = ["Leading", "Place", "leading_group"]

Numbers = NDArray[np.float64]
NEAR = 8.0
"""Rows within this many standard errors of the best are contenders, even if noise exceeds the scale's window."""


class Place(Enum):
    """The result of the tests for a row."""

    LEADING = "leading"
    """Cannot be told from the best row."""
    BEHIND = "behind"
    """Significantly worse than another row."""
    OPEN = "open"
    """One seed; given the noise of the others, it could be as good as the leading group or better."""
    UNTESTED = "untested"
    """Cannot be tested: it has no number, or there is no other row."""


Lag = tuple[float, int, float]  # by how many standard errors a row is behind, number of rows, degrees of freedom


@dataclass(frozen=True)
class Leading:
    """The places of a column's rows.

    Attributes:
        best: The row with the best mean among those with at least two seeds; empty if nothing can be tested.
        to_best: Each row minus the best, on the scale.
        spread: The typical standard deviation of the contenders over seeds; NaN if nothing can be tested.
        seeds: The contenders' median number of seeds.
        detectable: The gap to the best that is detected with 80% power; NaN if nothing can be tested.
    """

    scale: Scale
    places: dict[str, Place]
    lags: dict[str, tuple[Lag, ...]]
    to_best: dict[str, Difference]
    best: str
    contenders: tuple[str, ...]
    spread: float
    seeds: int
    detectable: float

    def p(self, row: str) -> float:
        """Return the p-value of the row: the probability that among equally many equal rows some row is as far behind,
        the largest over all steps up to the row's removal. NaN for a row that was not tested.
        """
        return max((_tail(*lag) for lag in self.lags.get(row, ())), default=float("nan"))


def leading_group(samples: Mapping[str, Sequence[float]], scale: Scale, *, lower_is_better: bool = True) -> Leading:
    """Find the leading group of a column. It lacks a row that is as good as the best with probability `ALPHA`.

    Rows with one seed use the pooled variance. Others are never compared with them, and they never lead: they are
    behind or open.

    Args:
        samples: For each row its numbers, one per seed. Numbers that are not finite, or not positive on a logarithmic
            scale, are left out.
        scale: `LOG` for distances, `RAW` for scores.
        lower_is_better: The direction.
    """
    sign = 1.0 if lower_is_better else -1.0
    taken = {row: [sign * x for x in scale.of(values)] for row, values in samples.items()}
    known = {row: values for row, values in taken.items() if values}
    tested = {row: values for row, values in known.items() if len(values) > 1}
    places = dict.fromkeys(samples, Place.UNTESTED)
    lags, to_best, nothing = dict[str, tuple[Lag, ...]](), dict[str, Difference](), float("nan")
    if not tested or len(known) < 2:
        return Leading(scale, places, lags, to_best, "", (), nothing, 0, nothing)

    near, spread = _contenders(tested, scale)
    contenders = _moderated(near, tested)
    group, judged = _step_down(contenders)
    best = min(near, key=lambda row: contenders[row].mean)
    for row in known:
        among = contenders if row in near else _moderated([*near, row], known)
        to_best[row] = _signed(difference(among[row], among[best]), sign)
        if row in near:
            stays, lags[row] = row in group, judged[row]
        elif row in tested:
            stay, each = _step_down(among)
            stays, lags[row] = row in stay, each[row]
        else:
            gaps = (difference(among[row], among[other]) for other in group)
            lags[row] = (max(((gap.t(), len(group) + 1, gap.df) for gap in gaps), key=_excess),)
            stays = _excess(lags[row][0]) <= 1
        places[row] = (Place.LEADING if row in tested else Place.OPEN) if stays else Place.BEHIND
    seeds = int(np.median([len(tested[row]) for row in near]))
    seen = detectable(spread, seeds, max(len(near), 2))
    return Leading(scale, places, lags, to_best, best, tuple(near), spread, seeds, seen)


def _contenders(tested: Mapping[str, Sequence[float]], scale: Scale) -> tuple[list[str], float]:
    """Return the rows near the best one, and their typical spread over seeds.

    The window only grows, with the noise of the rows inside, so rows that end up outside have no influence.
    """
    means = {row: float(np.mean(values)) for row, values in tested.items()}
    least, window, near = min(means.values()), scale.window, list[str]()
    while True:
        within = [row for row, mean in means.items() if mean - least <= window]
        _, noise = moderated({row: tested[row] for row in within}, _AS_IS)
        spread = noise.typical**0.5
        if within == near:
            return near, spread
        near, fewest = within, min(len(tested[row]) for row in within)
        window = max(window, NEAR * spread * (2 / fewest) ** 0.5)


_AS_IS = Scale(logarithmic=False, window=float("inf"))  # for numbers that are already on their scale


def _moderated(names: Iterable[str], known: Mapping[str, Sequence[float]]) -> dict[str, Row]:
    found, _ = moderated({name: known[name] for name in names}, _AS_IS)
    return found


def _signed(compared: Difference, sign: float) -> Difference:
    return Difference(sign * compared.gap, compared.error, compared.df)


def _step_down(candidates: Mapping[str, Row]) -> tuple[set[str], dict[str, tuple[Lag, ...]]]:
    """Return the rows that remain, and for each row its lags in all steps up to its removal."""
    names = list(candidates)
    mean, error, df = (np.array([getattr(row, x) for row in candidates.values()]) for x in ("mean", "error", "df"))
    t, nu = _pairs(mean, error, df)
    left, lags, steps = np.arange(len(names)), dict[str, tuple[Lag, ...]](), tuple[Lag, ...]()
    while len(left) > 1:
        m, here = len(left), np.ix_(left, left)
        kinds, kind = np.unique(nu[here], return_inverse=True)
        times = t[here] / np.array([critical(m, one) for one in kinds])[kind]
        other = times.argmax(axis=1)
        each = [(float(t[i, left[j]]), m, float(nu[i, left[j]])) for i, j in zip(left, other, strict=True)]
        worst = int(times.max(axis=1).argmax())
        if times[worst, other[worst]] <= 1:
            return {names[i] for i in left}, lags | {names[i]: (*steps, lag) for i, lag in zip(left, each, strict=True)}
        lags[names[left[worst]]] = steps = (*steps, each[worst])
        left = np.delete(left, worst)
    return {names[i] for i in left}, lags | {names[i]: ((0.0, 2, 1.0),) for i in left}


def _pairs(mean: Numbers, error: Numbers, df: Numbers) -> tuple[Numbers, Numbers]:
    """By how many standard errors each row is above each other one, [k, k], and the degrees of freedom."""
    gap, both = np.subtract.outer(mean, mean), np.add.outer(error, error)
    parts = np.divide(error, df, out=np.zeros_like(error), where=error > 0)
    summed = np.add.outer(parts, parts)
    nu = np.divide(both, summed, out=np.full_like(both, np.inf), where=summed > 0)
    t = np.divide(gap, both**0.5, out=np.copysign(np.where(gap, np.inf, 0.0), gap), where=both > 0)
    return t, nu.round(3)


def _excess(lag: Lag) -> float:
    """The ratio of a row's lag to the critical value for equal rows."""
    t, m, df = lag
    return t / critical(m, df)


@cache
def _tail(t: float, m: int, df: float) -> float:
    """The probability that some pair of m equal rows is this far apart; 1 for a row that is not behind."""
    if t <= 0 or np.isinf(t):
        return 1.0 if t <= 0 else 0.0
    return float(np.clip(stats.studentized_range.sf(t * 2**0.5, m, min(df, 1e5)), 0.0, 1.0))
