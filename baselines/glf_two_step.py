from typing import Any

from torch import Tensor

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.nets import Nets


class GLFTwoStep(Baseline):
    """GLF one after the other: the auto-encoder first, then the flow on its finished codes (the paper, section 3.3).

    First 0.5 SSE(x, G(E(x))), then NLL(f(E(x))) on the codes of the training set in eval mode.
    Sample: e ~ N(0, I), then G(f^-1(e)).
    """

    def __init__(self, nets: Nets, *, flow_decay: float = 2e-5) -> None:
        super().__init__(nets)
        self.encoder, self.decoder, self.flow = nets.encoder(), nets.decoder(), nets.flow()
        self.flow_decay = flow_decay

    def stages(self) -> list[Stage]:
        return [Stage("autoencoder", self.step), Stage("flow", self.flow_step, data="codes")]

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield "autoencoder", {"reconstruction": self.recon(self.decoder(z), x)}

    def flow_step(self, z: Tensor, index: Tensor) -> Updates:
        yield "flow", {"nll": self.flow.nll(z).mean()}

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {
            "autoencoder": [{"params": [*self.encoder.parameters(), *self.decoder.parameters()]}],
            "flow": [{"params": self.flow.parameters(), "weight_decay": self.flow_decay}],
        }

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def prior(self, e: Tensor) -> Tensor:
        return self.flow.inverse(e)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
