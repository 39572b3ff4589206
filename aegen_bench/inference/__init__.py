"""Statistics for few seeds: comparisons, leading groups, power. Functions of plain numbers (docs/statistics.md)."""

from aegen_bench.inference.comparing import ALPHA, Difference, Row, difference, interval, moderated
from aegen_bench.inference.leading import Leading, Place, leading_group
from aegen_bench.inference.moderation import Moderation, moderate
from aegen_bench.inference.overall import Standing, overall
from aegen_bench.inference.paired import best_of_pairs, paired
from aegen_bench.inference.power import MOST, detectable, detectable_by_t, seeds_by_t, seeds_needed
from aegen_bench.inference.scales import LOG, RAW, Scale
from aegen_bench.inference.variance import Split, split

__all__ = [
    "ALPHA",
    "LOG",
    "MOST",
    "RAW",
    "Difference",
    "Leading",
    "Moderation",
    "Place",
    "Row",
    "Scale",
    "Split",
    "Standing",
    "best_of_pairs",
    "detectable",
    "detectable_by_t",
    "difference",
    "interval",
    "leading_group",
    "moderate",
    "moderated",
    "overall",
    "paired",
    "seeds_by_t",
    "seeds_needed",
    "split",
]
