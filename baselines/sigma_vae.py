import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.losses import gaussian_nll, kl_standard_normal, reparameterise
from aegen_bench.blocks.nets import Nets


class SigmaVAE(Baseline):
    """VAE with one learned variance for all pixels (Rybkin et al. 2021, arXiv:2006.13202).

    Loss: -log N(x; G(z), sigma^2 I) + KL(q(z|x) || N(0, I)) with one posterior sample; log sigma is learned, starting
    at 0. It is the first stage of Two-Stage VAE with a different parametrisation of the posterior's standard deviation.
    Images are decoder means.
    """

    likelihood = True

    def __init__(self, nets: Nets) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(2 * nets.d), nets.decoder()
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def step(self, x: Tensor, index: Tensor) -> Updates:
        mu, logvar = self.encoder(x).chunk(2, 1)
        x_hat = self.decoder(reparameterise(mu, logvar, self.randn(*mu.shape)))
        self.log("sigma", self.log_sigma.exp())
        self.log("posterior_variance", logvar.exp().mean())
        yield (
            "model",
            {
                "reconstruction": gaussian_nll(self.recon(x_hat, x), self.log_sigma, self.nets.pixels),
                "kl": kl_standard_normal(mu, logvar).mean(),
            },
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)[:, : self.nets.d]

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
