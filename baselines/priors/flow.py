from collections.abc import Mapping
from typing import Any

from torch import Tensor

from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Prior


class Flow(Prior):
    """The paper's flow of affine couplings (section 3.1), by maximum likelihood: GLF in two steps (section 3.3).

    Deviation: like all priors, it is trained on standardised codes; the paper's is trained on the codes themselves.
    """

    def __init__(self, nets: Nets, *, decay: float = 2e-5) -> None:
        super().__init__(nets)
        self.flow, self.decay = nets.flow(), decay

    def loss(self, u: Tensor, index: Tensor) -> Mapping[str, Tensor]:
        return {"nll": self.flow.nll(u).mean()}

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self.flow.parameters(), "weight_decay": self.decay}]

    def sample(self, e: Tensor) -> Tensor:
        return self.flow.inverse(e)

    def log_prob(self, u: Tensor) -> Tensor:
        return -self.flow.nll(u)
