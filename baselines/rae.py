from typing import Any

from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class RAE(Baseline):
    """Regularised auto-encoder (Ghosh et al. 2020, arXiv:1903.12436), a trunk for priors.

    Loss: 0.5 SSE + gamma ||z||^2, and weight decay on the decoder. The defaults are the paper's version (B.5): gamma
    0.5 and no decay. The row `rae_l2` has the authors' weak penalty and decay.
    Without a prior it samples from N(0, I), although its codes are not trained towards that.
    """

    def __init__(self, nets: Nets, *, gamma: float = 0.5, decoder_decay: float = 0.0) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.gamma, self.decoder_decay = gamma, decoder_decay

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield (
            "model",
            {
                "reconstruction": self.recon(self.decoder(z), x),
                "penalty": self.gamma * z.square().sum(1).mean(),
            },
        )

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        decoder = {"params": self.decoder.parameters(), "weight_decay": self.decoder_decay}
        return {"model": [{"params": self.encoder.parameters()}, decoder]}

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
