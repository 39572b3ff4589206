import math

import torch
from torch import Tensor

from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Prior


class Gaussian(Prior):
    """One Gaussian with a full covariance, by maximum likelihood."""

    def __init__(self, nets: Nets) -> None:
        super().__init__(nets)
        self.register_buffer("mean", torch.zeros(nets.d))
        self.register_buffer("factor", torch.eye(nets.d))

    def fit(self, u: Tensor) -> None:
        covariance = u.double().T.cov(correction=0)
        covariance.diagonal().add_(1e-6)  # a dimension may be unused
        self.mean.copy_(u.mean(0))
        self.factor.copy_(torch.linalg.cholesky(covariance))

    def sample(self, e: Tensor) -> Tensor:
        return self.mean + e @ self.factor.T

    def log_prob(self, u: Tensor) -> Tensor:
        e = torch.linalg.solve_triangular(self.factor, (u - self.mean).T, upper=False).T
        return -0.5 * (e.square() + math.log(2 * math.pi)).sum(1) - self.factor.diagonal().log().sum()
