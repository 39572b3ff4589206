import math

from torch import Tensor

from aegen_bench.prior import Prior


class Normal(Prior):
    """N(0, I) on the unscaled codes, which VAEs and WAEs are trained towards. Nothing is fitted."""

    standardised = False

    def sample(self, e: Tensor) -> Tensor:
        return e

    def log_prob(self, u: Tensor) -> Tensor:
        return -0.5 * (u.square() + math.log(2 * math.pi)).sum(1)
