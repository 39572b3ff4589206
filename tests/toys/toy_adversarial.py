from typing import Any

from torch import Tensor
from torch.nn.functional import softplus

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class ToyAdversarial(Baseline):
    """A small adversarial auto-encoder (Makhzani et al. 2016, arXiv:1511.05644): the encoder is in both optimizers."""

    def __init__(self, nets: Nets, *, critic_lr: float = 5e-4) -> None:
        super().__init__(nets)
        self.encoder, self.decoder, self.critic = nets.encoder(), nets.decoder(), nets.critic()
        self.critic_lr = critic_lr

    def step(self, x: Tensor, index: Tensor) -> Updates:
        yield "autoencoder", {"reconstruction": self.recon(self.decoder(self.encoder(x)), x)}
        z = self.encoder(x)  # again: the update above changed the encoder
        # The value of z with its gradient negated: the encoder ascends where the critic descends.
        reversed_z = 2 * z.detach() - z
        yield (
            "game",
            {
                "prior": softplus(-self.critic(self.randn(*z.shape))).mean(),
                "codes": softplus(self.critic(reversed_z)).mean(),
            },
        )

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        encoder = list(self.encoder.parameters())
        return {
            "autoencoder": [{"params": [*encoder, *self.decoder.parameters()]}],
            "game": [{"params": [*encoder, *self.critic.parameters()], "lr": self.critic_lr, "betas": (0.5, 0.999)}],
        }

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
