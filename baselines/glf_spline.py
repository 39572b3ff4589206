from typing import Any

import zuko
from torch import Tensor

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.latent import Standardise
from aegen_bench.blocks.nets import Nets


class GLFSpline(Baseline):
    """GLF in two steps with a neural spline flow (Durkan et al. 2019, arXiv:1906.04032), which comes from zuko.

    Stage `train`: 0.5 SSE(x, G(E(x))). Stage `prior`, on the codes of the finished encoder: NLL(f(z)), where f
    standardises z and runs as many couplings as the paper's flow has, of rational-quadratic splines on [-5, 5].
    Sample: e ~ N(0, I), then G(f^-1(e)).
    """

    def __init__(self, nets: Nets, *, couplings: int = 8, bins: int = 8, flow_decay: float = 2e-5) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.standard = Standardise(nets.d)
        self.flow = zuko.flows.NSF(
            nets.d, bins=bins, transforms=couplings, passes=2, randperm=True, hidden_features=[nets.flow_width] * 2
        )
        self.flow_decay = flow_decay

    def stages(self) -> list[Stage]:
        return [
            Stage("train", self.step),
            Stage("prior", self.prior_step, data="codes", start=self.standard.fit),
        ]

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield "model", {"reconstruction": self.recon(self.decoder(z), x)}

    def prior_step(self, z: Tensor, index: Tensor) -> Updates:
        logdet = -self.standard.scale.log().sum()  # of the standardisation
        yield "prior", {"nll": -(self.flow().log_prob(self.standard(z)) + logdet).mean()}

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {
            "model": [{"params": [*self.encoder.parameters(), *self.decoder.parameters()]}],
            "prior": [{"params": self.flow.parameters(), "weight_decay": self.flow_decay}],
        }

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def prior(self, e: Tensor) -> Tensor:
        return self.standard.inverse(self.flow().transform.inv(e))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
