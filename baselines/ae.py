from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class AE(Baseline):
    """A plain auto-encoder, a trunk for priors. Loss: 0.5 SSE.

    Without a prior it samples from N(0, I), although its codes are not trained towards that.
    """

    def __init__(self, nets: Nets) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield "model", {"reconstruction": self.recon(self.decoder(z), x)}

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
