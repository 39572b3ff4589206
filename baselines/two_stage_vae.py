from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.losses import gaussian_nll, half_sse, kl_standard_normal, reparameterise
from aegen_bench.blocks.nets import Nets


class TwoStageVAE(Baseline):
    """Two-Stage VAE: a VAE of images, then a VAE of its codes (Dai & Wipf 2019, arXiv:1903.05789; paper, B.4).

    First stage: -log N(x; G(z), gamma_x^2 I) + KL(q(z|x) || N(0, I)) with learned log gamma_x, starting at 0, and
    posterior s = 1e-6 + softplus. Second stage, on new samples z = mu + s eps of the trained first one, with u of the
    size of z: -log N(z; z_hat(u), gamma_z^2 I) + KL(q(u|z) || N(0, I)), with log gamma_z learned likewise.
    Sample: u ~ N(0, I), z = z_hat(u) + gamma_z eps, then G(z), without pixel noise.

    The pair of the trunk `sigma_vae` and the prior `second_vae` is similar, but not the same: its prior is trained on
    standardised posterior means, this second stage on new posterior samples z without standardisation.

    Deviation: the first stage is the shared auto-encoder, as the paper says, not the authors' with spectral norm.
    """

    likelihood = True

    def __init__(self, nets: Nets) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(2 * nets.d), nets.decoder()
        self.log_gamma_x = nn.Parameter(torch.zeros(()))
        self.second_encoder, self.second_decoder = (
            nets.mixed(Skip(nets.d, 2 * nets.d)),
            nets.mixed(Skip(nets.d, nets.d)),
        )
        self.log_gamma_z = nn.Parameter(torch.zeros(()))

    def stages(self) -> list[Stage]:
        return [Stage("first", self.step), Stage("second", self.second_step, data="codes")]

    def step(self, x: Tensor, index: Tensor) -> Updates:
        mu, s = self.posterior(x)
        x_hat = self.decoder(mu + s * self.randn(*s.shape))
        self.log("gamma_x", self.log_gamma_x.exp())
        self.log("posterior_variance", s.square().mean())
        yield (
            "first",
            {
                "reconstruction": gaussian_nll(self.recon(x_hat, x), self.log_gamma_x, self.nets.pixels),
                "kl": kl_standard_normal(mu, 2 * s.log()).mean(),
            },
        )

    def second_step(self, codes: Tensor, index: Tensor) -> Updates:
        mu, s = codes.chunk(2, 1)
        z = mu + s * self.randn(*s.shape)
        mu_u, log_s_u = self.second_encoder(z).chunk(2, 1)
        z_hat = self.second_decoder(reparameterise(mu_u, 2 * log_s_u, self.randn(*mu_u.shape)))
        self.log("gamma_z", self.log_gamma_z.exp())
        yield (
            "second",
            {
                "reconstruction": gaussian_nll(half_sse(z_hat, z).mean(), self.log_gamma_z, self.nets.d),
                "kl": kl_standard_normal(mu_u, 2 * log_s_u).mean(),
            },
        )

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, raw = self.encoder(x).chunk(2, 1)
        return mu, 1e-6 + softplus(raw)

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        first = [*self.encoder.parameters(), *self.decoder.parameters(), self.log_gamma_x]
        second = [*self.second_encoder.parameters(), *self.second_decoder.parameters(), self.log_gamma_z]
        return {"first": [{"params": first}], "second": [{"params": second}]}

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        return torch.cat(self.posterior(x), 1)

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def noise(self, n: int) -> Tensor:
        return self.randn(n, 2 * self.nets.d)

    def prior(self, e: Tensor) -> Tensor:
        u, eps = e.chunk(2, 1)
        return self.second_decoder(u) + self.log_gamma_z.exp() * eps

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


class Skip(nn.Module):
    """Three ReLU layers of 1024 units, then a linear layer on their output and the input: [n, d_in] -> [n, d_out]."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        layers = [layer for d in (d_in, 1024, 1024) for layer in (nn.Linear(d, 1024), nn.ReLU())]
        self.hidden = nn.Sequential(*layers)
        self.out = nn.Linear(d_in + 1024, d_out)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(torch.cat([z, self.hidden(z)], 1))
