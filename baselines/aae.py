from typing import Any

import torch
from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.aggregate import taken_for
from aegen_bench.blocks.nets import Nets

BETAS = (0.5, 0.999)


class AAE(Baseline):
    """Adversarial auto-encoder (Makhzani et al. 2016, arXiv:1511.05644).

    Three updates per batch, each with newly computed codes. Auto-encoder: 0.5 SSE. Adversary:
    BCE(D(z), 1) + BCE(D(E(x)), 0), z ~ N(0, I). Encoder: BCE(D(E(x)), 1). Sample: z ~ N(0, I), then G(z).

    Deviation: this is the deterministic one of the paper's encoders. The networks are the shared ones, and Adam
    replaces momentum SGD, at `adversarial_lr` for both players.
    """

    def __init__(self, nets: Nets, *, adversarial_lr: float = 5e-4) -> None:
        super().__init__(nets)
        self.encoder, self.decoder, self.critic = nets.encoder(), nets.decoder(), nets.critic()
        self.adversarial_lr = adversarial_lr

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield "autoencoder", {"reconstruction": self.recon(self.decoder(z), x)}
        with torch.no_grad():
            z = self.encoder(x)
        prior = self.randn(*z.shape)
        yield "critic", {"prior": taken_for(True, self.critic(prior)), "codes": taken_for(False, self.critic(z))}
        yield "encoder", {"penalty": taken_for(True, self.critic(self.encoder(x)))}

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        encoder, game = list(self.encoder.parameters()), {"lr": self.adversarial_lr, "betas": BETAS}
        return {
            "autoencoder": [{"params": [*encoder, *self.decoder.parameters()], "betas": BETAS}],
            "critic": [{"params": self.critic.parameters(), **game}],
            "encoder": [{"params": encoder, **game}],
        }

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
