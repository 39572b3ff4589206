"""Whether two networks that see the images put the models into the same order."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

__all__ = ["Agreement", "rank_correlations"]

FEWEST = 3  # rows: the order of two is a coin


class Agreement(NamedTuple):
    """Spearman's rank correlation of the rows that both networks scored, and their number; None below 3 rows, or where
    one network tells none of them apart.
    """

    correlation: float | None
    rows: int


def rank_correlations(distances: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], Agreement]:
    """Return the agreement of every pair of networks on one dataset from {network: {row: mean distance}}.

    Ties share their mean rank. A distance that is not finite counts as not scored.
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
