from collections.abc import Mapping
from typing import Any

import zuko
from torch import Tensor

from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Prior


class Spline(Prior):
    """A neural spline flow (Durkan et al. 2019, arXiv:1906.04032) from zuko, by maximum likelihood.

    Couplings of rational-quadratic splines with `bins` bins on [-5, 5], as many couplings as in the paper's flow.

    Deviation: the width of its networks is chosen to match the number of parameters of the paper's flow, not Durkan's.
    """

    def __init__(self, nets: Nets, *, couplings: int = 8, bins: int = 8, decay: float = 2e-5) -> None:
        super().__init__(nets)
        self.decay = decay
        self.flow = self.sized(
            lambda width: zuko.flows.NSF(
                nets.d, bins=bins, transforms=couplings, passes=2, randperm=True, hidden_features=[width] * 2
            )
        )

    def loss(self, u: Tensor, index: Tensor) -> Mapping[str, Tensor]:
        return {"nll": -self.log_prob(u).mean()}

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self.flow.parameters(), "weight_decay": self.decay}]

    def sample(self, e: Tensor) -> Tensor:
        return self.flow().transform.inv(e)

    def log_prob(self, u: Tensor) -> Tensor:
        return self.flow().log_prob(u)
