import math
from typing import Any

import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.losses import gaussian_entropy, gaussian_nll, reparameterise
from aegen_bench.blocks.nets import Nets


class VAEFlowPrior(Baseline):
    """VAE with a flow as its prior, trained jointly on one bound (eq. 3 of the paper; its sections 3.2 and 4.2.1).

    Loss: beta * 0.5 SSE + NLL(f(z)) - H(q(z|x)) with one posterior sample z and the entropy H in closed form.
    With `learn_beta` (Dai & Wipf 2019, arXiv:1903.05789) the first term is -log N(x; G(z), gamma^2 I) with learned log
    gamma, starting at gamma^-2 = beta; at its optimum gamma^2 = SSE / D. `beta_eff` is gamma^-2.
    Sample: e ~ N(0, I), then G(f^-1(e)). Images are decoder means, without pixel noise.

    Deviation: the flow's weight decay is that of GLF; the paper states none here.
    """

    likelihood = True  # needed by `learn_beta`

    def __init__(self, nets: Nets, *, beta: float = 1.0, flow_decay: float = 2e-5, learn_beta: bool = False) -> None:
        super().__init__(nets)
        self.encoder, self.decoder, self.flow = nets.encoder(2 * nets.d), nets.decoder(), nets.flow()
        self.beta, self.flow_decay, self.learn_beta = beta, flow_decay, learn_beta
        if learn_beta:
            self.log_gamma = nn.Parameter(torch.tensor(-0.5 * math.log(beta)))

    def step(self, x: Tensor, index: Tensor) -> Updates:
        mu, logvar = self.encoder(x).chunk(2, 1)
        z = reparameterise(mu, logvar, self.randn(*mu.shape))
        log_s = 0.5 * logvar.sum(1).mean()
        self.log("neg_entropy", -log_s)  # -H without its constant
        self.log("entropy_paper", -log_s / 2)  # as printed in section 4.2.1
        self.log("posterior_variance", logvar.exp().mean())
        self.log("code_std", z.std(0).mean())
        yield (
            "model",
            {
                "reconstruction": self.weigh(self.recon(self.decoder(z), x)),
                "nll": self.flow.nll(z).mean(),
                "minus_entropy": -gaussian_entropy(logvar).mean(),
            },
        )

    def weigh(self, recon: Tensor) -> Tensor:
        """beta * recon, with a learned beta the whole -log p(x|z)."""
        if not self.learn_beta:
            return self.beta * recon
        self.log("beta_eff", torch.exp(-2 * self.log_gamma))
        return gaussian_nll(recon, self.log_gamma, self.nets.pixels)

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        flow = {"params": self.flow.parameters(), "weight_decay": self.flow_decay}
        rest = [*self.encoder.parameters(), *self.decoder.parameters(), *self.parameters(recurse=False)]
        return {"model": [{"params": rest}, flow]}

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)[:, : self.nets.d]

    def prior(self, e: Tensor) -> Tensor:
        return self.flow.inverse(e)

    def log_prior(self, z: Tensor) -> Tensor:
        return -self.flow.nll(z)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
