from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.nets import Nets
from aegen_bench.blocks.sphere import SphereGenerator


class GLO(Baseline):
    """Generative latent optimisation (Bojanowski et al. 2018, arXiv:1707.05776): a learned code for each image.

    Loss: recon(G(z_i), x_i), minimised over the generator G and the codes z_i of the training images; no encoder.
    Sample: z ~ N(m, C) with the mean and the full covariance of the codes, then G(z).

    Deviation: this is the first stage of GLANN (Hoshen et al. 2019), which differs from the original in the network, in
    a new Adam for each epoch, and in projecting codes to the unit sphere after each epoch instead of to the unit ball
    after each step. The loss is the row's, not a Laplacian pyramid.
    """

    def __init__(self, nets: Nets, *, code_lr: float = 1e-2, batch_norm: bool = True) -> None:
        super().__init__(nets)
        self.generator = nets.mixed(SphereGenerator(nets.shape, nets.d, batch_norm=batch_norm))
        self.codes = nn.Parameter(0.01 * torch.randn(nets.n_train, nets.d))
        self.code_lr = code_lr
        self.register_buffer("mean", torch.zeros(nets.d))
        self.register_buffer("factor", torch.eye(nets.d))

    def stages(self) -> list[Stage]:
        return [Stage("glo", self.step, after_epoch=self.project, fresh_optimizers=True)]

    def step(self, x: Tensor, index: Tensor) -> Updates:
        yield "glo", {"reconstruction": self.recon(self.generator(self.codes[index]), x)}

    def project(self, images: Tensor) -> None:
        self.codes.copy_(normalize(self.codes))

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        codes = {"params": [self.codes], "lr": self.code_lr, "betas": (0.5, 0.999)}
        return {"glo": [{"params": self.generator.parameters(), "betas": (0.5, 0.999)}, codes]}

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        return self.codes[index]

    def fit(self, codes: Tensor) -> None:
        z = codes.double()
        values, vectors = torch.linalg.eigh(z.T.cov())  # a covariance without full rank has no Cholesky factor
        self.mean.copy_(z.mean(0))
        self.factor.copy_(vectors * values.clamp_min(0).sqrt())

    def prior(self, e: Tensor) -> Tensor:
        return self.mean + e @ self.factor.T

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z)
