import torch
from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class ToyFittedDensity(Baseline):
    """A plain auto-encoder, and a Gaussian that is fitted to the mean and covariance of its codes after training."""

    def __init__(self, nets: Nets) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.register_buffer("mean", torch.zeros(nets.d))
        self.register_buffer("factor", torch.eye(nets.d))

    def step(self, x: Tensor, index: Tensor) -> Updates:
        yield "model", {"reconstruction": self.recon(self.decoder(self.encoder(x)), x)}

    def fit(self, codes: Tensor) -> None:
        self.mean.copy_(codes.mean(0))
        self.factor.copy_(torch.linalg.cholesky(codes.double().T.cov()))

    def prior(self, e: Tensor) -> Tensor:
        return self.mean + e @ self.factor.T

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
