import math
from typing import Any

import torch
from torch import Tensor

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.aggregate import moment_distance, taken_for, truncated_normal
from aegen_bench.blocks.losses import standard_normal_nll
from aegen_bench.blocks.nets import Nets

BETAS = (0.5, 0.999)


class WAEGAN(Baseline):
    """Wasserstein auto-encoder with an adversary on the codes (Tolstikhin et al. 2018, arXiv:1711.01558; paper, B.3).

    The adversary D separates samples of the prior N(0, sigma2 I), the real class, from codes of images. On each batch,
    the auto-encoder takes a step on recon_scale * SSE + lam * BCE(D(E(x)), 1), then the adversary takes one on
    lam * (BCE(D(z), 1) + BCE(D(E(x)), 0)) with z from the prior and newly computed codes.
    Before that, the stage `pretrain` matches the mean and covariance of the codes to those of the prior. During
    training, a little truncated normal noise is added to the encoder's input. Sample: z ~ N(0, sigma2 I), then G(z).

    Deviation: the paper states lam but not the scale of the reconstruction; recon_scale is that of the authors' code,
    which for CelebA, in [-1, 1] there, is 0.2 for images in [0, 1]. Pretraining does not stop early.
    `prior_in_adversary`, their D(z) + log p(z) on CelebA, is off, because the paper's adversary does not have it.
    """

    def __init__(
        self,
        nets: Nets,
        *,
        lam: float = 10.0,
        sigma2: float = 1.0,
        recon_scale: float = 0.05,
        critic_lr: float = 5e-4,
        pretrain: bool = True,
        input_noise: float = 0.01,
        prior_in_adversary: bool = False,
    ) -> None:
        super().__init__(nets)
        self.encoder, self.decoder, self.critic = nets.encoder(), nets.decoder(), nets.critic()
        self.lam, self.sigma, self.recon_scale = lam, math.sqrt(sigma2), recon_scale
        self.critic_lr, self.pretrain, self.input_noise = critic_lr, pretrain, input_noise
        self.prior_in_adversary = prior_in_adversary

    def stages(self) -> list[Stage]:
        return [Stage("pretrain", self.pretrain_step), Stage("train", self.step)][not self.pretrain :]

    def pretrain_step(self, x: Tensor, index: Tensor) -> Updates:
        yield "encoder", {"moments": moment_distance(self.noisy_codes(x), self.noise(len(x)))}

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.noisy_codes(x)
        self.log("code_std", z.std(0).mean())
        yield (
            "autoencoder",
            {
                "reconstruction": 2 * self.recon_scale * self.recon(self.decoder(z), x),  # recon is half the SSE
                "penalty": self.lam * taken_for(True, self.logits(z)),
            },
        )
        with torch.no_grad():
            z = self.noisy_codes(x)
        yield (
            "critic",
            {
                "prior": self.lam * taken_for(True, self.logits(self.noise(len(x)))),
                "codes": self.lam * taken_for(False, self.logits(z)),
            },
        )

    def noisy_codes(self, x: Tensor) -> Tensor:
        if self.training and self.input_noise:
            x = x + self.input_noise * truncated_normal(self.rand(*x.shape))
        return self.encoder(x)

    def logits(self, z: Tensor) -> Tensor:
        if not self.prior_in_adversary:
            return self.critic(z)
        return self.critic(z) + self.log_prior(z)[:, None]

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        encoder = list(self.encoder.parameters())
        return {
            "encoder": [{"params": encoder, "betas": BETAS}],
            "autoencoder": [{"params": [*encoder, *self.decoder.parameters()], "betas": BETAS}],
            "critic": [{"params": self.critic.parameters(), "lr": self.critic_lr, "betas": BETAS}],
        }

    def noise(self, n: int) -> Tensor:
        return self.sigma * self.randn(n, self.nets.d)

    def log_prior(self, z: Tensor) -> Tensor:
        return -standard_normal_nll(z / self.sigma) - self.nets.d * math.log(self.sigma)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
