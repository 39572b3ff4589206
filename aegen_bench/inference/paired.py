"""Comparing rows that share a trained trunk: with the same seed they use the same auto-encoder, so seeds are pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from aegen_bench.inference.comparing import Difference
from aegen_bench.inference.moderation import moderate
from aegen_bench.inference.scales import Scale

__all__ = ["best_of_pairs", "holm", "paired"]


def paired(samples: Mapping[str, Mapping[int, float]], scale: Scale) -> dict[tuple[str, str], Difference]:
    """Compare all pairs of rows that share a trunk, seed by seed.

    The effect that the trunk of a seed has on both rows cancels in their difference. The variances of these differences
    are moderated together. Pairs with one common seed use the pooled variance; pairs without any are left out.

    Args:
        samples: For each row its numbers by seed, all on the trunks of the same seeds.
        scale: `LOG` for distances, `RAW` for scores.
    """
    gaps: dict[tuple[str, str], list[float]] = {}
    for a, b in combinations(samples, 2):
        both = [(scale.of([samples[a][s]]), scale.of([samples[b][s]])) for s in samples[a] if s in samples[b]]
        if found := [x[0] - y[0] for x, y in both if x and y]:
            gaps[a, b] = found
    variances = [float(np.var(x, ddof=1)) if len(x) > 1 else 0.0 for x in gaps.values()]
    noise = moderate(variances, [len(x) - 1 for x in gaps.values()])
    return {
        pair: Difference(float(np.mean(x)), float(variance / len(x)) ** 0.5, float(df))
        for (pair, x), variance, df in zip(gaps.items(), noise.variance, noise.df, strict=True)
    }


def best_of_pairs(
    samples: Mapping[str, Mapping[int, float]], scale: Scale
) -> tuple[str, dict[str, tuple[Difference, float]]]:
    """Return the row with the lowest mean, and for each other row with a common seed the difference to it, with the
    p-value of the two-sided paired test after Holm's correction; NaN if it cannot be tested.
    """
    means = {row: float(np.mean(x)) for row, each in samples.items() if (x := scale.of(list(each.values())))}
    if not means:
        return "", {}
    best = min(means, key=lambda row: means[row])
    found = {}
    for (a, b), gap in paired(samples, scale).items():
        if best in (a, b):
            found[a if b == best else b] = gap if b == best else Difference(-gap.gap, gap.error, gap.df)
    tested = {row: 2 * min(gap.p_below(), gap.p_above()) for row, gap in found.items() if gap.tested}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return best, {row: (gap, corrected.get(row, float("nan"))) for row, gap in found.items()}


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values (Holm 1979). That of statsmodels collects garbage at each call, which takes
    more than a quarter of the time of a large report.
    """
    order = np.argsort(p)
    stepped = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()
