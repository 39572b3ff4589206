from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aegen_bench.blocks.losses import gaussian_nll, half_sse, kl_standard_normal, reparameterise
from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Prior


class SecondVAE(Prior):
    """The second stage of Two-Stage VAE (Dai & Wipf 2019, arXiv:1903.05789): a VAE of codes with latents of equal size.

    -log N(u; u_hat(v), gamma^2 I) + KL(q(v|u) || N(0, I)), with log gamma learned, starting at 0.
    Sample: v ~ N(0, I), u = u_hat(v) + gamma eps.

    Deviation: it is trained on the trunk's standardised codes instead of new posterior samples, and the width of its
    layers is chosen to match the number of parameters of the paper's flow instead of 1024.
    """

    def __init__(self, nets: Nets) -> None:
        super().__init__(nets)
        self.networks = self.sized(
            lambda width: nn.ModuleList([Skip(nets.d, 2 * nets.d, width), Skip(nets.d, nets.d, width)])
        )
        self.log_gamma = nn.Parameter(torch.zeros(()))

    def loss(self, u: Tensor, index: Tensor) -> Mapping[str, Tensor]:
        encoder, decoder = self.networks
        mu, log_s = encoder(u).chunk(2, 1)
        u_hat = decoder(reparameterise(mu, 2 * log_s, self.randn(*mu.shape)))
        self.log("gamma", self.log_gamma.exp())
        return {
            "reconstruction": gaussian_nll(half_sse(u_hat, u).mean(), self.log_gamma, self.nets.d),
            "kl": kl_standard_normal(mu, 2 * log_s).mean(),
        }

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters())}]

    def noise(self, n: int) -> Tensor:
        return self.randn(n, 2 * self.nets.d)

    def sample(self, e: Tensor) -> Tensor:
        v, eps = e.chunk(2, 1)
        return self.networks[1](v) + self.log_gamma.exp() * eps


class Skip(nn.Module):
    """Three ReLU layers, then a linear layer that sees them and the input: [n, d_in] -> [n, d_out]."""

    def __init__(self, d_in: int, d_out: int, width: int) -> None:
        super().__init__()
        layers = [layer for d in (d_in, width, width) for layer in (nn.Linear(d, width), nn.ReLU())]
        self.hidden = nn.Sequential(*layers)
        self.out = nn.Linear(d_in + width, d_out)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(torch.cat([z, self.hidden(z)], 1))
