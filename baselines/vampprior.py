import math

import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.losses import LOG_2PI, reparameterise
from aegen_bench.blocks.nets import Nets


class VampPrior(Baseline):
    """VAE with a mixture of its own posteriors as prior (Tomczak & Welling 2018, arXiv:1705.07120).

    p(z) = 1/K sum_k q(z|u_k) with learned pseudo-inputs u_k, which are sigmoids of a parameter and are initialised with
    training images. Loss: beta * 0.5 SSE + w (log q(z|x) - log p(z)) with one posterior sample z; the weight w grows
    from 0 to 1 over the fraction `warmup` of training. Log-variances are clipped to [-6, 2], as in the authors' code.
    Sample: k uniform, z ~ q(z|u_k), then G(z).

    Deviation: the authors' networks have no batch normalisation. For pseudo-inputs it uses its running statistics, as
    in sampling, so they neither change nor depend on the statistics of a batch of images.
    """

    def __init__(self, nets: Nets, *, beta: float = 1.0, pseudo_inputs: int = 500, warmup: float = 0.1) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(2 * nets.d), nets.decoder()
        self.beta, self.warmup = beta, warmup
        self.pseudo_inputs = nn.Parameter(torch.randn(min(pseudo_inputs, nets.n_train), *nets.shape))

    def stages(self) -> list[Stage]:
        return [Stage("train", self.step, start=self.start)]

    def start(self, images: Tensor) -> None:
        chosen = self.rand(len(images)).argsort()[: len(self.pseudo_inputs)]
        self.pseudo_inputs.copy_(torch.logit(images[chosen] / 255, eps=0.01))

    def step(self, x: Tensor, index: Tensor) -> Updates:
        mu, logvar = self.posterior(x)
        z = reparameterise(mu, logvar, self.randn(*mu.shape))
        kl = (log_normal(z, mu, logvar) - self.log_prior(z)).mean()
        self.log("kl", kl)
        self.log("posterior_variance", logvar.exp().mean())
        yield (
            "model",
            {
                "reconstruction": self.beta * self.recon(self.decoder(z), x),
                "weighted_kl": (self.progress / self.warmup if self.progress < self.warmup else 1.0) * kl,
            },
        )

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x)."""
        mu, logvar = self.encoder(x).chunk(2, 1)
        return mu, logvar.clamp(-6, 2)

    def components(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|u_k), [K, d] each."""
        training = self.encoder.training
        self.encoder.eval()
        mu, logvar = self.posterior(self.pseudo_inputs.sigmoid())
        self.encoder.train(training)
        return mu, logvar

    def log_prior(self, z: Tensor) -> Tensor:
        mu, logvar = self.components()
        return log_normal(z[:, None], mu, logvar).logsumexp(1) - math.log(len(mu))

    def noise(self, n: int) -> Tensor:
        return torch.cat([self.rand(n, 1), self.randn(n, self.nets.d)], 1)

    def prior(self, e: Tensor) -> Tensor:
        mu, logvar = self.components()
        k = (e[:, 0] * len(mu)).long()
        return reparameterise(mu[k], logvar[k], e[:, 1:])

    def encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


def log_normal(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)), summed over the last dimension."""
    return -0.5 * ((z - mu).square() * torch.exp(-logvar) + logvar + LOG_2PI).sum(-1)
