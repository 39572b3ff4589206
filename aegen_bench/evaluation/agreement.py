"""Rank correlation between networks: whether their features put the models in the same order."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

__all__ = ["Agreement", "rank_correlations"]

FEWEST = 3  # rows: two agree by chance half of the time


class Agreement(NamedTuple):
    """Spearman's rank correlation over the rows that both networks scored, and the number of these rows.

    None below 3 rows, or if one network has the same distance for all of them.
    """

    correlation: float | None
    rows: int


def rank_correlations(distances: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], Agreement]:
    """Return the agreement of each pair of networks on one dataset, given {network: {row: mean distance}}.

    Ties get their mean rank. Distances that are not finite are ignored.
    """
    import math

    from scipy.stats import rankdata

    found = {}
    for one, other in combinations(distances, 2):
        a, b = distances[one], distances[other]
        rows = [row for row in a if row in b and math.isfinite(a[row]) and math.isfinite(b[row])]
        ranks = [rankdata([values[row] for row in rows]) for values in (a, b)]
        centred = [of - of.mean() for of in ranks] if rows else []
        scale = math.sqrt(math.prod(float(of @ of) for of in centred)) if rows else 0.0
        correlation = float(centred[0] @ centred[1]) / scale if len(rows) >= FEWEST and scale > 0 else None
        found[one, other] = Agreement(correlation, len(rows))
    return found
