"""Statistics for few seeds: what a table may say about its rows."""

from aegen_bench.inference.comparing import ALPHA, Difference, Row, difference, equivalent
from aegen_bench.inference.leading import Leading, Place, leading_group
from aegen_bench.inference.moderation import Moderation, moderate
from aegen_bench.inference.overall import Standing, overall
from aegen_bench.inference.paired import paired
from aegen_bench.inference.power import detectable, seeds_needed
from aegen_bench.inference.scales import LOG, RAW, Scale

__all__ = [
    "ALPHA",
    "LOG",
    "RAW",
    "Difference",
    "Leading",
    "Moderation",
    "Place",
    "Row",
    "Scale",
    "Standing",
    "detectable",
    "difference",
    "equivalent",
    "leading_group",
    "moderate",
    "overall",
    "paired",
    "seeds_needed",
]
