import math
from typing import Any

import torch
from torch import Tensor

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.aggregate import moment_distance, truncated_normal
from aegen_bench.blocks.losses import standard_normal_nll
from aegen_bench.blocks.nets import Nets
from aegen_bench.numerics.mmd import mmd2

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class WAEMMD(Baseline):
    """Wasserstein auto-encoder with a kernel distance of the codes (Tolstikhin et al. 2018, arXiv:1711.01558).

    Loss: recon_scale * SSE + lam * the unbiased MMD^2 between the codes of a batch and as many samples of the prior
    N(0, sigma2 I), with the inverse multiquadratic kernel: the sum over s in `SCALES` of C / (C + ||a - b||^2), C = 2 d
    sigma2 s. Pretraining, input noise, sampling and the deviation in recon_scale are those of WAE-GAN.
    """

    def __init__(
        self,
        nets: Nets,
        *,
        lam: float = 10.0,
        sigma2: float = 1.0,
        recon_scale: float = 0.05,
        pretrain: bool = True,
        input_noise: float = 0.01,
    ) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.lam, self.sigma2, self.recon_scale = lam, sigma2, recon_scale
        self.pretrain, self.input_noise = pretrain, input_noise

    def stages(self) -> list[Stage]:
        return [Stage("pretrain", self.pretrain_step), Stage("train", self.step)][not self.pretrain :]

    def pretrain_step(self, x: Tensor, index: Tensor) -> Updates:
        yield "encoder", {"moments": moment_distance(self.noisy_codes(x), self.noise(len(x)))}

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z, p = self.noisy_codes(x), self.noise(len(x))
        self.log("code_std", z.std(0).mean())
        yield (
            "autoencoder",
            {
                "reconstruction": 2 * self.recon_scale * self.recon(self.decoder(z), x),  # recon is half the SSE
                "penalty": self.lam * mmd2(self.kernel(z, z), self.kernel(p, p), self.kernel(z, p)),
            },
        )

    def noisy_codes(self, x: Tensor) -> Tensor:
        if self.training and self.input_noise:
            x = x + self.input_noise * truncated_normal(self.rand(*x.shape))
        return self.encoder(x)

    def kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """[n, d], [m, d] -> [n, m]."""
        squares = (a[:, None] - b[None]).square().sum(2)
        sizes = [2 * self.nets.d * self.sigma2 * scale for scale in SCALES]
        return torch.stack([c / (c + squares) for c in sizes]).sum(0)

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        encoder = list(self.encoder.parameters())
        return {
            "encoder": [{"params": encoder, "betas": (0.5, 0.999)}],
            "autoencoder": [{"params": [*encoder, *self.decoder.parameters()], "betas": (0.5, 0.999)}],
        }

    def noise(self, n: int) -> Tensor:
        return math.sqrt(self.sigma2) * self.randn(n, self.nets.d)

    def log_prior(self, z: Tensor) -> Tensor:
        return -standard_normal_nll(z / math.sqrt(self.sigma2)) - self.nets.d / 2 * math.log(self.sigma2)

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
