from typing import Any

from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class GLFRegularized(Baseline):
    """Regularized GLF: the flow's gradient reaches the encoder (the paper, section 3.3.1 and Figure 4).

    Loss, eq. 4: beta * 0.5 SSE(x, G(E(x))) + NLL(f(E(x))), without GLF's stop-gradient.
    Sample: e ~ N(0, I), then G(f^-1(e)).

    The decoder starts with a linear layer and batch normalisation, so shrinking the codes by a factor c does not affect
    reconstruction and lowers the NLL by d log(1 / c). How far this goes depends on the flow's bound on s and on the eps
    of the normalisation.
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
                "nll": self.flow.nll(z).mean(),  # also trains the encoder
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
