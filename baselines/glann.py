from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.nets import Nets
from aegen_bench.blocks.sphere import SphereGenerator
from aegen_bench.numerics.neighbours import nearest

BATCH = 128  # of candidates, because batch normalisation makes them depend on each other
CHUNK = 4096  # codes whose neighbours are searched at a time


class GLANN(Baseline):
    """Generative latent nearest neighbours (Hoshen et al. 2019, arXiv:1812.08985): GLO, and IMLE on its codes.

    Stage `glo`: min over G and z of recon(G(z_i), x_i), the codes on the unit sphere.
    Stage `imle` (Li & Malik 2018, arXiv:1809.09087), each epoch: draw candidates e ~ N(0, I), about twice as many as
    codes (in whole batches); give each code z_i the candidate whose T(e) is nearest; one pass over T of the squared
    error of T(e_i) against z_i, averaged over dimensions.
    Sample: e ~ N(0, I), then G(T(e)). There is no encoder. As in their code, each epoch starts with a new Adam.

    Deviation: sampling uses eval mode; their script leaves the batch normalisation of T and G in train mode.
    """

    def __init__(
        self, nets: Nets, *, noise_dim: int = 32, code_lr: float = 1e-2, batch_norm: bool = True, decay: float = 1e-5
    ) -> None:
        super().__init__(nets)
        self.generator = nets.mixed(SphereGenerator(nets.shape, nets.d, batch_norm=batch_norm))
        self.codes = nn.Parameter(0.01 * torch.randn(nets.n_train, nets.d))
        self.mapping = nn.Sequential(
            *(nn.Linear(noise_dim, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU()),
            *(nn.Linear(128, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU()),
            nn.Linear(128, nets.d, bias=False),
        )
        self.noise_dim, self.code_lr, self.decay = noise_dim, code_lr, decay
        self.register_buffer("matched", torch.zeros(nets.n_train, noise_dim), persistent=False)

    def stages(self) -> list[Stage]:
        return [
            Stage("glo", self.step, after_epoch=self.project, fresh_optimizers=True),
            Stage("imle", self.imle_step, data="codes", before_epoch=self.match, fresh_optimizers=True),
        ]

    def step(self, x: Tensor, index: Tensor) -> Updates:
        yield "glo", {"reconstruction": self.recon(self.generator(self.codes[index]), x)}

    def project(self, images: Tensor) -> None:
        self.codes.copy_(normalize(self.codes))

    def match(self, codes: Tensor) -> None:
        candidates = self.randn(2 * max(1, len(codes) // BATCH) * BATCH, self.noise_dim)
        mapped = torch.cat([self.mapping(e) for e in candidates.split(BATCH)])
        found = torch.cat([nearest(z, mapped, 1)[0][:, 0] for z in codes.split(CHUNK)])
        self.matched.copy_(candidates[found])

    def imle_step(self, z: Tensor, index: Tensor) -> Updates:
        yield "imle", {"distance": mse_loss(self.mapping(self.matched[index]), z)}

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        betas = {"betas": (0.5, 0.999)}
        codes = {"params": [self.codes], "lr": self.code_lr, **betas}
        return {
            "glo": [{"params": self.generator.parameters(), **betas}, codes],
            "imle": [{"params": self.mapping.parameters(), "weight_decay": self.decay, **betas}],
        }

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        return self.codes[index]

    def noise(self, n: int) -> Tensor:
        return self.randn(n, self.noise_dim)

    def prior(self, e: Tensor) -> Tensor:
        return self.mapping(e)

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z)
