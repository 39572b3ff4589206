from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from aegen_bench.baseline import Baseline, Stage, Updates
from aegen_bench.blocks.nets import Nets


class ToyCodePerImage(Baseline):
    """A small GLO (Bojanowski et al. 2018, arXiv:1707.05776): a learned code on the unit sphere for each image."""

    def __init__(self, nets: Nets, *, code_lr: float = 1e-2) -> None:
        super().__init__(nets)
        self.decoder = nets.decoder()
        self.codes = nn.Parameter(normalize(torch.randn(nets.n_train, nets.d)))
        self.code_lr = code_lr

    def stages(self) -> list[Stage]:
        return [Stage("train", self.step, after_epoch=self.project, fresh_optimizers=True)]

    def step(self, x: Tensor, index: Tensor) -> Updates:
        yield "model", {"reconstruction": self.recon(self.decoder(self.codes[index]), x)}

    def project(self, images: Tensor) -> None:
        self.codes.copy_(normalize(self.codes))

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": [{"params": self.decoder.parameters()}, {"params": [self.codes], "lr": self.code_lr}]}

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        return self.codes[index]

    def prior(self, e: Tensor) -> Tensor:
        return normalize(e)  # uniform on the sphere

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
