from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from aegen_bench.blocks.latent import TimedMLP
from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Prior


class Diffusion(Prior):
    """EDM diffusion (Karras et al. 2022, arXiv:2206.00364) on codes with standard deviation sigma_data = 1.

    The denoiser is D(u; s) = c_skip u + c_out F(c_in u; log(s) / 4), with the factors of their Table 1. Loss:
    w(s) ||D(u + s e; s) - u||^2, log s ~ N(p_mean, p_std^2), w(s) = (s^2 + 1) / s^2. Sample: s_max e, then Heun's
    method along du/ds = (u - D(u; s)) / s over `solver_steps` levels from s_max to s_min, and to 0 (their Algorithm 1).
    The 40 levels are theirs for faces; with the 18 for CIFAR-10, even the exact denoiser of N(0, I) gives samples that
    spread 4.5% too widely.

    Deviation: F is a small fully connected network that receives log(s) / 4 as sinusoids of 10 times its value. There
    is no dropout and, as in all rows here, no moving average of the weights.
    """

    def __init__(
        self,
        nets: Nets,
        *,
        hidden_layers: int = 4,
        p_mean: float = -1.2,
        p_std: float = 1.2,
        s_min: float = 0.002,
        s_max: float = 80.0,
        rho: float = 7.0,
        solver_steps: int = 40,
    ) -> None:
        super().__init__(nets)
        self.network = self.sized(lambda width: TimedMLP(nets.d, width=width, hidden_layers=hidden_layers))
        self.p_mean, self.p_std, self.s_max = p_mean, p_std, s_max
        ends = s_max ** (1 / rho), s_min ** (1 / rho)
        levels = torch.linspace(*ends, solver_steps, dtype=torch.float64) ** rho  # their eq. 5
        self.register_buffer("levels", torch.cat([levels, torch.zeros(1)]).float())

    def denoised(self, u: Tensor, s: Tensor) -> Tensor:
        """u [n, d] with noise of deviation s [n, 1] -> its clean codes, as the network sees them."""
        total = (s.square() + 1).sqrt()
        time = s[:, 0].log() / 4 / 100  # TimedMLP multiplies it by 1000
        return u / total.square() + s / total * self.network(u / total, time)

    def loss(self, u: Tensor, index: Tensor) -> Mapping[str, Tensor]:
        s = (self.p_mean + self.p_std * self.randn(len(u), 1)).exp()
        errors = (self.denoised(u + s * self.randn(*u.shape), s) - u).square()
        return {"denoising": ((s.square() + 1) / s.square() * errors).sum(1).mean()}

    def sample(self, e: Tensor) -> Tensor:
        u = self.s_max * e
        levels = [level.expand(len(e), 1) for level in self.levels]
        for here, after in pairwise(levels[:-1]):
            slope = (u - self.denoised(u, here)) / here
            guess = u + (after - here) * slope
            u = u + (after - here) * (slope + (guess - self.denoised(guess, after)) / after) / 2
        self.log("function_evaluations", 2 * len(levels) - 3)
        return self.denoised(u, levels[-2])  # the last step, to s = 0, is an Euler step, which ends at D
