import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.losses import half_sse, kl_standard_normal, reparameterise
from aegen_bench.blocks.nets import Nets


class ToyTwoStage(Baseline):
    """A small Two-Stage VAE (Dai & Wipf 2019, arXiv:1903.05789): a VAE of images, then a linear VAE of its codes.

    The second decoder's standard deviation gamma is learned, as the scalar log gamma.
    """

    def __init__(self, nets: Nets) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(2 * nets.d), nets.decoder()
        self.second_encoder, self.second_decoder = nn.Linear(nets.d, 2 * nets.d), nn.Linear(nets.d, nets.d)
        self.log_gamma = nn.Parameter(torch.zeros(()))

    def stages(self) -> list[Stage]:
        return [Stage("first", self.step), Stage("second", self.second_step, data="codes")]

    def step(self, x: Tensor, index: Tensor) -> Updates:
        mu, logvar = self.encoder(x).chunk(2, 1)
        z = reparameterise(mu, logvar, self.randn(*mu.shape))
        yield "model", {"reconstruction": self.recon(self.decoder(z), x), "kl": kl_standard_normal(mu, logvar).mean()}

    def second_step(self, codes: Tensor, index: Tensor) -> Updates:
        mu, s = codes.chunk(2, 1)
        z = mu + s * self.randn(*s.shape)
        mu_u, logvar_u = self.second_encoder(z).chunk(2, 1)
        z_hat = self.second_decoder(reparameterise(mu_u, logvar_u, self.randn(*mu_u.shape)))
        yield (
            "model",
            {
                "reconstruction": half_sse(z_hat, z).mean() * torch.exp(-2 * self.log_gamma)
                + self.nets.d * self.log_gamma,
                "kl": kl_standard_normal(mu_u, logvar_u).mean(),
            },
        )
        self.log("gamma", self.log_gamma.exp())

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        mu, logvar = self.encoder(x).chunk(2, 1)
        return torch.cat([mu, torch.exp(0.5 * logvar)], 1)

    def noise(self, n: int) -> Tensor:
        return self.randn(n, 2 * self.nets.d)

    def prior(self, e: Tensor) -> Tensor:
        u, eps = e.chunk(2, 1)
        return self.second_decoder(u) + self.log_gamma.exp() * eps

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)[:, : self.nets.d]

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
