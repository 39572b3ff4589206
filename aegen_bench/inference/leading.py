"""The leading group of a column: the rows that cannot be told from the best one.

Multiple comparisons with the best (Hsu 1984, doi:10.1214/aos/1176346704), run step-down so that all rows that are as
good as the best stay in together (the model confidence set of Hansen, Lunde and Nason 2011, doi:10.3982/ECTA5771).
Hsu's own constant keeps *one* given best row in 95% of tables; of nine equal rows it leaves out some in about every
fifth table (`perf/inference.py`). While the row that lies most significantly behind another does so by more than
the studentised range of as many equal rows allows, it is taken out, and those that remain are judged among themselves,
by the smaller constant of fewer rows. A row that is far behind leaves at the first step and changes nothing.

Noise and number of rows are taken from the rows near the best alone, its *contenders*. A row farther off is judged as
if it were the only one of its kind. Hence an added row that is far behind changes nothing for the others, to the last
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

from aegen_bench.inference.comparing import ALPHA, Difference, Row, difference, moderated
from aegen_bench.inference.power import critical, detectable
from aegen_bench.inference.scales import Scale

__all__ = ["Leading", "Place", "leading_group"]

Numbers = NDArray[np.float64]
NEAR = 8.0
"""Rows within this many standard errors of the best are contenders whatever the scale's window: noise may be wide."""


class Place(Enum):
    """What the tests say of a row."""

    LEADING = "leading"
    """Not told from the best row."""
    BEHIND = "behind"
    """Significantly worse than another row."""
    OPEN = "open"
    """Has one seed, and by the noise of the others it could be as good as the leading group or better."""
    UNTESTED = "untested"
    """There is nothing to test it with: no number, or no other row."""


Lag = tuple[float, int, float]  # how many standard errors a row is behind another, of how many rows, degrees of freedom


@dataclass(frozen=True)
class Leading:
    """The places of a column's rows; `best` is the row with the best mean among those with two seeds or more.

    `to_best` is each row minus the best, on the scale. `spread` is the typical standard deviation over seeds of the
    contenders, `seeds` their median number, and `detectable` the gap to the best that is found with 80% power. Where
    nothing can be tested, `best` is empty and these are NaN.
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
        """Return how probable it is that some of as many equal rows would be so far behind another, over all steps up
        to the one at which the row left; NaN of a row that was not tested.
        """
        return max((_tail(*lag) for lag in self.lags.get(row, ())), default=float("nan"))


def leading_group(
    samples: Mapping[str, Sequence[float]], scale: Scale, *, lower_is_better: bool = True, alpha: float = ALPHA
) -> Leading:
    """Place the rows of a column.

    Args:
        samples: of each row its numbers, one a seed; numbers that are not finite, or have no logarithm on a logarithmic
            scale, are left out.
        scale: `LOG` for distances, `RAW` for scores.

    Rows with one seed borrow the variance of the others. They never serve as the best that others are judged by, and
    never lead: they are behind or open.
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
    group, judged = _step_down(contenders, alpha)
    best = min(near, key=lambda row: contenders[row].mean)
    for row in known:
        among = contenders if row in near else _moderated([*near, row], known)
        to_best[row] = _signed(difference(among[row], among[best]), sign)
        if row in near:
            stays, lags[row] = row in group, judged[row]
        elif row in tested:
            stay, each = _step_down(among, alpha)
            stays, lags[row] = row in stay, each[row]
        else:
            gaps = (difference(among[row], among[other]) for other in group)
            lags[row] = (max(((gap.t(), len(group) + 1, gap.df) for gap in gaps), key=lambda lag: _excess(lag, alpha)),)
            stays = _excess(lags[row][0], alpha) <= 1
        places[row] = (Place.LEADING if row in tested else Place.OPEN) if stays else Place.BEHIND
    seeds = int(np.median([len(tested[row]) for row in near]))
    seen = detectable(spread, seeds, max(len(near), 2), alpha=alpha)
    return Leading(scale, places, lags, to_best, best, tuple(near), spread, seeds, seen)


def _contenders(tested: Mapping[str, Sequence[float]], scale: Scale) -> tuple[list[str], float]:
    """The rows near the best one, and their typical spread over seeds.

    The window only grows, by the noise of the rows within it: what lies outside of it in the end was never looked at.
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


_AS_IS = Scale(logarithmic=False, window=float("inf"))  # numbers that are on their scale already


def _moderated(names: Iterable[str], known: Mapping[str, Sequence[float]]) -> dict[str, Row]:
    found, _ = moderated({name: known[name] for name in names}, _AS_IS)
    return found


def _signed(compared: Difference, sign: float) -> Difference:
    return Difference(sign * compared.gap, compared.error, compared.df)


def _step_down(candidates: Mapping[str, Row], alpha: float) -> tuple[set[str], dict[str, tuple[Lag, ...]]]:
    """Return the rows that remain, and of each the lags of the steps up to the one at which it left."""
    names = list(candidates)
    mean, error, df = (np.array([getattr(row, x) for row in candidates.values()]) for x in ("mean", "error", "df"))
    t, nu = _pairs(mean, error, df)
    left, lags, steps = np.arange(len(names)), dict[str, tuple[Lag, ...]](), tuple[Lag, ...]()
    while len(left) > 1:
        m, here = len(left), np.ix_(left, left)
        kinds, kind = np.unique(nu[here], return_inverse=True)
        times = t[here] / np.array([critical(m, one, alpha) for one in kinds])[kind]
        other = times.argmax(axis=1)
        each = [(float(t[i, left[j]]), m, float(nu[i, left[j]])) for i, j in zip(left, other, strict=True)]
        worst = int(times.max(axis=1).argmax())
        if times[worst, other[worst]] <= 1:
            return {names[i] for i in left}, lags | {names[i]: (*steps, lag) for i, lag in zip(left, each, strict=True)}
        lags[names[left[worst]]] = steps = (*steps, each[worst])
        left = np.delete(left, worst)
    return {names[i] for i in left}, lags | {names[i]: ((0.0, 2, 1.0),) for i in left}


def _pairs(mean: Numbers, error: Numbers, df: Numbers) -> tuple[Numbers, Numbers]:
    """By how many standard errors each row lies above each other one [k, k], and the degrees of freedom of that."""
    gap, both = np.subtract.outer(mean, mean), np.add.outer(error, error)
    parts = np.divide(error, df, out=np.zeros_like(error), where=error > 0)
    summed = np.add.outer(parts, parts)
    nu = np.divide(both, summed, out=np.full_like(both, np.inf), where=summed > 0)
    t = np.divide(gap, both**0.5, out=np.copysign(np.where(gap, np.inf, 0.0), gap), where=both > 0)
    return t, nu.round(3)


def _excess(lag: Lag, alpha: float) -> float:
    """By how many times a row's lag exceeds what equal rows may show."""
    t, m, df = lag
    return t / critical(m, df, alpha)


@cache
def _tail(t: float, m: int, df: float) -> float:
    """How probable it is that of m equal rows some pair is so far apart: 1 for a row that is not behind."""
    if t <= 0 or np.isinf(t):
        return 1.0 if t <= 0 else 0.0
    return float(np.clip(stats.studentized_range.sf(t * 2**0.5, m, min(df, 1e5)), 0.0, 1.0))
