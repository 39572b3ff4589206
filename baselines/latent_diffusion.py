from typing import Any

import torch
from torch import Tensor

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.latent import Standardise, TimedMLP
from aegen_bench.blocks.nets import Nets


class LatentDiffusion(Baseline):
    """A diffusion model (Ho et al. 2020, arXiv:2006.11239) on the codes of a plain auto-encoder.

    Stage `train`: 0.5 SSE(x, G(E(x))). Stage `prior`, on the standardised codes u of the finished encoder:
    ||eps - eps_theta(sqrt(a_t) u + sqrt(1 - a_t) eps, t)||^2, t uniform (their eq. 14), a_t the product of 1 - beta
    with beta from 1e-4 to 0.02 in 1,000 steps. Sample: u_T ~ N(0, I), then DDIM without noise (Song et al. 2021,
    arXiv:2010.02502, eq. 12 at sigma = 0) over every tenth step, then G.

    Deviation: as in every row here, no moving average of the weights.
    """

    def __init__(self, nets: Nets, *, width: int = 512, hidden_layers: int = 4, solver_steps: int = 100) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.standard = Standardise(nets.d)
        self.eps = TimedMLP(nets.d, width=width, hidden_layers=hidden_layers)
        kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
        self.register_buffer("a", kept.float())  # a_t, the share of u's variance that is left
        self.register_buffer("times", torch.linspace(999, 0, solver_steps).round().long())

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
        u, eps, t = self.standard(z), self.randn(*z.shape), self.randint(len(self.a), len(z))
        a = self.a[t][:, None]
        noisy = a.sqrt() * u + (1 - a).sqrt() * eps
        yield "prior", {"noise": (self.eps(noisy, t / len(self.a)) - eps).square().sum(1).mean()}

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {
            "model": [{"params": [*self.encoder.parameters(), *self.decoder.parameters()]}],
            "prior": [{"params": self.eps.parameters()}],
        }

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def prior(self, e: Tensor) -> Tensor:
        u, kept = e, self.a[self.times]
        after = torch.cat([kept[1:], torch.ones_like(kept[:1])])
        for t, a, b in zip(self.times, kept, after, strict=True):
            eps = self.eps(u, (t / len(self.a)).expand(len(u)))
            clean = (u - (1 - a).sqrt() * eps) / a.sqrt()
            u = b.sqrt() * clean + (1 - b).sqrt() * eps
        self.log("function_evaluations", len(self.times))
        return self.standard.inverse(u)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
