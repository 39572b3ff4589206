from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aegen_bench.blocks.nets import Nets
from aegen_bench.numerics.neighbours import nearest
from aegen_bench.prior import Prior

CHUNK = 4096  # codes whose neighbours are searched at a time


class IMLE(Prior):
    """Implicit maximum likelihood estimation (Li & Malik 2018, arXiv:1809.09087), as used by GLANN.

    Each epoch: draw candidates e ~ N(0, I), twice as many as codes; give each code the candidate whose T(e) is nearest;
    then one pass of ||T(e_i) - u_i||^2 over T. Sample: e ~ N(0, I), then T(e).

    Deviation: the width of T is chosen to match the number of parameters of the paper's flow instead of 128. T has no
    batch normalisation, which would make candidates depend on each other. Adam continues from epoch to epoch.
    """

    def __init__(self, nets: Nets, *, noise_dim: int = 32, decay: float = 1e-5) -> None:
        super().__init__(nets)
        self.mapping = self.sized(lambda width: _mapping(noise_dim, width, nets.d))
        self.noise_dim, self.decay = noise_dim, decay
        self.register_buffer("matched", torch.zeros(nets.n_train, noise_dim))

    def before_epoch(self, u: Tensor) -> None:
        candidates = self.randn(2 * len(u), self.noise_dim)
        mapped = self.mapping(candidates)
        found = torch.cat([nearest(part, mapped, 1)[0][:, 0] for part in u.split(CHUNK)])
        self.matched.copy_(candidates[found])

    def loss(self, u: Tensor, index: Tensor) -> Mapping[str, Tensor]:
        return {"distance": (self.mapping(self.matched[index]) - u).square().sum(1).mean()}

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": self.mapping.parameters(), "weight_decay": self.decay, "betas": (0.5, 0.999)}]

    def noise(self, n: int) -> Tensor:
        return self.randn(n, self.noise_dim)

    def sample(self, e: Tensor) -> Tensor:
        return self.mapping(e)


def _mapping(d_in: int, width: int, d_out: int) -> nn.Sequential:
    layers = [layer for d in (d_in, width) for layer in (nn.Linear(d, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, d_out))
