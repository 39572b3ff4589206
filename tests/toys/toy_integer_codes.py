import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.nets import Nets


class ToyIntegerCodes(Baseline):
    """A small VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937): one codeword per image and a learned histogram."""

    def __init__(self, nets: Nets, *, codewords: int = 16, commitment: float = 0.25) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.codebook = nn.Parameter(torch.randn(codewords, nets.d))
        self.logits = nn.Parameter(torch.zeros(codewords))
        self.commitment = commitment

    def stages(self) -> list[Stage]:
        return [Stage("train", self.step), Stage("histogram", self.histogram_step, data="codes")]

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        c = self.codebook[self.nearest(z)]
        yield (
            "model",
            {
                # Straight through: z gets the gradient of c.
                "reconstruction": self.recon(self.decoder(z + (c - z).detach()), x),
                "codebook": (c - z.detach()).square().sum(1).mean(),
                "commitment": self.commitment * (z - c.detach()).square().sum(1).mean(),
            },
        )

    def histogram_step(self, k: Tensor, index: Tensor) -> Updates:
        yield "model", {"nll": cross_entropy(self.logits.expand(len(k), -1), k)}

    def nearest(self, z: Tensor) -> Tensor:
        return torch.cdist(z, self.codebook).argmin(1)

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        return self.nearest(self.encoder(x))

    def noise(self, n: int) -> Tensor:
        return self.rand(n, 1)

    def prior(self, e: Tensor) -> Tensor:
        edges = self.logits.softmax(0).cumsum(0)[:-1].contiguous()
        return self.codebook[torch.searchsorted(edges, e[:, 0].contiguous())]  # inverse CDF of the codeword

    def encode(self, x: Tensor) -> Tensor:
        return self.codebook[self.nearest(self.encoder(x))]

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
