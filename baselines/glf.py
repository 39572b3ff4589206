from typing import Any

from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class GLF(Baseline):
    """Generative Latent Flow: an auto-encoder and a flow on its codes, trained together (the paper, section 3.2).

    Loss, eq. 5: beta * 0.5 SSE(x, G(E(x))) + NLL(f(sg[E(x)])), where sg stops the gradient.
    Sample: e ~ N(0, I), then G(f^-1(e)).
    """

    def __init__(self, nets: Nets, *, beta: float = 1.0, flow_decay: float = 2e-5) -> None:
        super().__init__(nets)
        self.encoder, self.decoder, self.flow = nets.encoder(), nets.decoder(), nets.flow()
        self.beta, self.flow_decay = beta, flow_decay

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield (
            "model",
            {
                "reconstruction": self.beta * self.recon(self.decoder(z), x),
                "nll": self.flow.nll(z.detach()).mean(),  # trains the flow only, not the encoder
            },
        )

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        flow = {"params": self.flow.parameters(), "weight_decay": self.flow_decay}
        return {"model": [{"params": [*self.encoder.parameters(), *self.decoder.parameters()]}, flow]}

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def prior(self, e: Tensor) -> Tensor:
        return self.flow.inverse(e)

    def log_prior(self, z: Tensor) -> Tensor:
        return -self.flow.nll(z)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
