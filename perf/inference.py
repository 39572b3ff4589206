"""Error rates and power of the statistics behind the tables, on simulated tables with a known truth.

Nine rows with log-normal seeds and a spread of 2.5%; in the tables "beside a wild row" one of the nine has 30%. Prints
how often

- the leading group misses one of nine equal rows (any of the nine; any but the second, the wild one; the first);
- a ninth row that is worse by a gap is found to be behind;

for the leading group of the report, for Welch's tests between all pairs with Holm's correction and, with equal rows,
for Hsu's single-step comparisons with the best with the variance pooled over all rows. Then the same for scores, by
scale, in how many tables a place changes when a row is added that is far behind, and how often the intervals of the
table `overall` hold.

    python perf/inference.py            # 2,000 tables each, about two minutes on one core
    python perf/inference.py --quick    # 100
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aegen_bench.inference import ALPHA, LOG, RAW, Place, Scale, leading_group, overall
from aegen_bench.inference.paired import holm

Numbers = NDArray[np.float64]
Group = Callable[[Numbers], NDArray[np.bool_]]  # [rows, seeds] -> whether each row is in the leading group
ROWS, SPREAD, WILD = 9, 0.025, 0.30


def ours(scale: Scale = LOG, lower_is_better: bool = True) -> Group:
    def group(table: Numbers) -> NDArray[np.bool_]:
        found = leading_group(dict(enumerate(table.tolist())), scale, lower_is_better=lower_is_better)
        return np.array([place is Place.LEADING for place in found.places.values()])

    return group


def welch_holm(table: Numbers) -> NDArray[np.bool_]:
    """Return the rows that Welch's tests between all pairs, with Holm's correction, cannot tell from the best mean."""
    mean, variance, n = table.mean(axis=1), table.var(axis=1, ddof=1), table.shape[1]
    i, j = np.triu_indices(len(mean), 1)
    error = (variance[i] + variance[j]) / n
    df = error**2 / ((variance[i] ** 2 + variance[j] ** 2) / n**2 / (n - 1))
    p = 2 * stats.t.sf(np.abs(mean[i] - mean[j]) / error**0.5, df)
    best = mean.argmin()
    lead = np.ones(len(mean), dtype=bool)
    for one, other, adjusted in zip(i, j, holm(p), strict=True):
        if best in (one, other) and adjusted < ALPHA:
            lead[other if one == best else one] = False
    return lead


def hsu(table: Numbers) -> NDArray[np.bool_]:
    """Return the rows that Hsu's single-step comparisons with the best keep, assuming equal variances."""
    k, n = table.shape
    pooled = table.var(axis=1, ddof=1).mean()
    return table.mean(axis=1) - table.mean(axis=1).min() <= _dunnett(k - 1, k * (n - 1)) * (2 * pooled / n) ** 0.5


@cache
def _dunnett(m: int, df: int) -> float:
    """Return the one-sided 5% point of Dunnett's test of m rows against one, by simulation."""
    generator = np.random.default_rng(0)
    z, control = generator.standard_normal((200_000, m)), generator.standard_normal((200_000, 1))
    scale = (generator.chisquare(df, 200_000) / df) ** 0.5
    return float(np.quantile((control - z).max(axis=1) / 2**0.5 / scale, 1 - ALPHA))


def tables(count: int, n: int, means: Numbers, spreads: Numbers, seed: int = 0) -> Iterator[Numbers]:
    """Yield tables [rows, seeds] of logarithms, normal around the rows' means."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield means[:, None] + spreads[:, None] * generator.standard_normal((len(means), n))


def left_out(count: int, n: int, group: Group, *, gap: float = 0.0, wild: bool = False) -> Numbers:
    """Return whether each of nine rows is left out of the leading group [tables, rows].

    The last row is worse by the share `gap`. Beside a wild row, that is the second of the nine.
    """
    means, spreads = np.zeros(ROWS), np.full(ROWS, SPREAD)
    means[-1] = np.log1p(gap)
    spreads[1] = WILD if wild else SPREAD
    return np.array([~group(np.exp(table)) for table in tables(count, n, means, spreads)], dtype=float)


def changed(count: int, n: int) -> int:
    """Return in how many tables a place changes when a row is added whose distance is twice the others' and whose
    spread is that of a wild row.
    """
    generator, found = np.random.default_rng(1), 0
    for table in tables(count, n, np.linspace(0, 0.15, ROWS), np.full(ROWS, SPREAD)):
        far = 2.0 + WILD * generator.standard_normal((1, n))
        before, after = ours()(np.exp(table)), ours()(np.exp(np.vstack([table, far])))
        found += bool((before != after[:-1]).any())
    return found


def scores(count: int, n: int, level: float, spread: float, scale: Scale) -> tuple[float, float]:
    """Return how often nine equal scores around a level (Beta distributed) lose a member, and how often a row worse by
    four spreads is found, on a scale.
    """
    generator = np.random.default_rng(2)
    size = level * (1 - level) / spread**2 - 1
    rates = []
    for low in (level, level - 4 * spread):
        means = np.full(ROWS, level)
        means[-1] = low
        drawn = generator.beta(means[:, None] * size, (1 - means[:, None]) * size, (count, ROWS, n))
        drawn = np.log(drawn / (1 - drawn)) if scale is _LOGIT else drawn
        lead = np.array([ours(RAW if scale is RAW else _LOGIT, lower_is_better=False)(table) for table in drawn])
        rates.append(float((~lead).any(axis=1).mean() if low == level else (~lead[:, -1]).mean()))
    return rates[0], rates[1]


_LOGIT = Scale(logarithmic=False, window=1.0)


def held(count: int, seeds: tuple[int, ...]) -> float:
    """Return how often the 95% intervals of the scores of nine rows hold, on datasets with these numbers of seeds."""
    generator, found = np.random.default_rng(3), list[bool]()
    truth = np.linspace(0, 0.4, ROWS)
    for _ in range(count):
        noise = [SPREAD * generator.standard_normal((ROWS, n)) for n in seeds]
        samples = {
            str(row): {str(i): list(np.exp(level + each[row])) for i, each in enumerate(noise)}
            for row, level in enumerate(truth)
        }
        standings = overall(samples)
        ends = [standings[str(row)].interval or (np.nan, np.nan) for row in range(ROWS)]
        found += [low <= np.exp(level) <= high for (low, high), level in zip(ends, truth, strict=True)]
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the short form, to see that it works")
    count = 100 if parser.parse_args().quick else 2000
    print(f"{count:,} tables each. Nine equal rows: left out is any of the nine / any but the second / the first\n")
    print(f"{'':26}{'leading group':>25}{'Welch, Holm':>25}{'Hsu, single step':>25}")
    for wild in (False, True):
        for n in (2, 3, 5, 10):
            rates = [left_out(count, n, group, wild=wild) for group in (ours(), welch_holm, hsu)]
            kinds = [(out.any(axis=1), np.delete(out, 1, axis=1).any(axis=1), out[:, 0]) for out in rates]
            texts = [" / ".join(f"{kind.mean():.1%}" for kind in each) for each in kinds]
            print(f"n = {n:<3}{'beside a wild row' if wild else '':<20}{''.join(f'{text:>25}' for text in texts)}")
    print("\nOne row worse by a gap: it is found to be behind\n")
    for wild in (False, True):
        for gap, n in ((0.05, 3), (0.05, 5), (0.10, 2), (0.10, 3)):
            rates = [left_out(count, n, group, gap=gap, wild=wild)[:, -1].mean() for group in (ours(), welch_holm)]
            texts = "".join(f"{rate:>20.1%}" for rate in rates)
            print(f"{gap:.0%}, n = {n:<3}{'beside a wild row' if wild else '':<15}{texts}")
    print("\nA row at twice the distance is added: tables in which another row's place changes")
    print(*(f"n = {n}: {changed(count // 4, n)} of {count // 4}" for n in (2, 3, 5)), sep="; ")
    print("\nScores, n = 3: nine equal ones lose a member / a row worse by four spreads is found\n")
    for level, spread in ((0.5, 0.02), (0.86, 0.015), (0.97, 0.008)):
        for name, scale in (("as they are", RAW), ("logit", _LOGIT)):
            wrong, found = scores(count // 4, 3, level, spread, scale)
            print(f"around {level} ± {spread}, {name:<12} {wrong:.1%} / {found:.1%}")
    print("\nIntervals of the table `overall`, nine rows on three datasets: they hold in")
    for seeds in ((2, 2, 2), (3, 3, 2), (3, 3, 3), (5, 5, 3), (10, 10, 10)):
        print(f"{held(count // 4, seeds):.1%} with {', '.join(map(str, seeds))} seeds")


if __name__ == "__main__":
    main()
