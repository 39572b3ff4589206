from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.nets import Nets
from aegen_bench.blocks.pixelcnn import GatedPixelCNN


class VQVAEAR(Baseline):
    """VQ-VAE with an autoregressive prior (van den Oord et al. 2017, arXiv:1711.00937) on a grid of M x M codewords.

    Stage `train`: 0.5 SSE(x, G(c)) + commitment * ||E(x) - sg[c]||^2, where c is the codeword nearest to E(x) at each
    position, with a straight-through gradient to E. Codewords are moving averages of the E(x) assigned to them (their
    appendix A.1); a codeword with almost no assignments is reset to some E(x) of the batch (as in arXiv:2005.00341).
    Stage `prior`: the cross entropy of a gated PixelCNN on the codeword indices k of the trained encoder.
    Sample: k from the PixelCNN, position by position, at temperature 1; then G.

    Its codes hold M * M * log2(codewords) bits (441 at 28 px), not d numbers as in the other rows.
    """

    def __init__(
        self,
        nets: Nets,
        *,
        codewords: int = 512,
        width: int = 64,
        commitment: float = 0.25,
        decay: float = 0.99,
        channels: int = 64,
        layers: int = 12,
    ) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.grid_encoder(width), nets.grid_decoder(width)
        self.pixelcnn = GatedPixelCNN(codewords, channels=channels, layers=layers)
        self.side, self.commitment, self.decay = nets.shape[1] // 4, commitment, decay
        self.register_buffer("counts", torch.ones(codewords))
        self.register_buffer("sums", torch.randn(codewords, width))

    def stages(self) -> list[Stage]:
        return [Stage("train", self.step, start=self.scatter), Stage("prior", self.prior_step, data="codes")]

    @property
    def codebook(self) -> Tensor:
        return self.sums / self.counts[:, None]

    def vectors(self, x: Tensor) -> Tensor:
        """Return E(x) by position, [n, M * M, width]."""
        return self.encoder(x).flatten(2).mT

    def nearest(self, z: Tensor) -> Tensor:
        c = self.codebook
        return (c.square().sum(1) - 2 * z @ c.T).argmin(-1)

    def scatter(self, images: Tensor) -> None:
        """Initialise the codewords with the E(x) of some images."""
        z = self.vectors(images[self.randint(len(images), 512)] / 255).flatten(0, 1)
        self.sums.copy_(z[self.randint(len(z), len(self.sums))])

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.vectors(x)
        k = self.nearest(z)
        c = self.codebook[k]
        chosen = one_hot(k.flatten(), len(self.counts)).to(z.dtype)
        self.log("perplexity", torch.special.entr(chosen.mean(0)).sum().exp())
        yield (
            "model",
            {
                "reconstruction": self.recon(self.paint(z + (c - z).detach()), x),  # straight through
                "commitment": self.commitment * (z - c).square().sum((1, 2)).mean(),
            },
        )
        with torch.no_grad():
            self.average(z.flatten(0, 1), chosen)

    def average(self, z: Tensor, chosen: Tensor) -> None:
        """Move each codeword towards the mean of the vectors z [m, width] assigned to it (one-hot rows)."""
        self.counts.lerp_(chosen.sum(0), 1 - self.decay)
        self.sums.lerp_(chosen.T @ z, 1 - self.decay)
        fair = len(z) / len(self.counts)
        dead = self.counts < 0.01 * fair
        fresh = fair * z[self.randint(len(z), len(self.counts))]
        self.sums.copy_(torch.where(dead[:, None], fresh, self.sums))
        self.counts.copy_(torch.where(dead, fair, self.counts))

    def prior_step(self, k: Tensor, index: Tensor) -> Updates:
        k = k.view(-1, self.side, self.side)
        yield "prior", {"nll": cross_entropy(self.pixelcnn(k), k, reduction="sum") / len(k)}

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {
            "model": [{"params": [*self.encoder.parameters(), *self.decoder.parameters()]}],
            "prior": [{"params": self.pixelcnn.parameters()}],
        }

    def paint(self, c: Tensor) -> Tensor:
        """Decode vectors by position, [n, M * M, width], to images."""
        return self.decoder(c.mT.unflatten(2, (self.side, self.side)))

    def encode(self, x: Tensor) -> Tensor:
        return self.nearest(self.vectors(x))

    def noise(self, n: int) -> Tensor:
        return self.rand(n, self.side**2)

    def prior(self, e: Tensor) -> Tensor:
        return self.pixelcnn.sample(e.view(-1, self.side, self.side)).flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        return self.paint(self.codebook[z])
