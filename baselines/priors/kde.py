import torch
from torch import Tensor

from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Prior


class KDE(Prior):
    """Codes of training images with a little noise (a kernel density): the best that a prior can do.

    Sample: the code of a training image drawn at random, plus `bandwidth` e with e ~ N(0, I).
    """

    def __init__(self, nets: Nets, *, bandwidth: float = 0.1) -> None:
        super().__init__(nets)
        self.bandwidth = bandwidth
        self.register_buffer("codes", torch.zeros(nets.n_train, nets.d))

    def fit(self, u: Tensor) -> None:
        self.codes.copy_(u)

    def noise(self, n: int) -> Tensor:
        return torch.cat([self.rand(n, 1), self.randn(n, self.nets.d)], 1)

    def sample(self, e: Tensor) -> Tensor:
        chosen = (e[:, 0] * len(self.codes)).long().clamp_max(len(self.codes) - 1)
        return self.codes[chosen] + self.bandwidth * e[:, 1:]
