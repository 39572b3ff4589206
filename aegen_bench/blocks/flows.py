"""The paper's normalising flow: affine couplings and fixed random permutations (section 3.1, Figure 1b).

Direction: the flow f maps codes z to noise e; sampling runs its inverse.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aegen_bench.blocks.losses import standard_normal_nll

__all__ = ["Coupling", "CouplingFlow"]


class Coupling(nn.Module):
    """y1 = z1, y2 = z2 * exp(s(z1)) + t(z1), with s and t from one network of three fully connected layers.

    Deviation: the paper does not bound s. Here s = 0.636 c atan(raw / c) with c = `clamp`, so |s| < c: the soft
    clamp of the reversible-network code that the paper's settings resemble. With a bound near 1, the NLL of its
    Figure 4 would be out of reach.
    """

    def __init__(self, d_in: int, d_out: int, width: int, hidden_layers: int, clamp: float) -> None:
        super().__init__()
        self.first = nn.Linear(d_in, width)
        layers = [layer for _ in range(hidden_layers - 1) for layer in (nn.ReLU(), nn.Linear(width, width))]
        self.rest = nn.Sequential(*layers, nn.ReLU(), nn.Linear(width, 2 * d_out))
        self.clamp = clamp

    def _scale_shift(self, z1: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        hidden = self.first(z1) if context is None else self.first(z1) + context
        raw, t = self.rest(hidden).chunk(2, dim=1)
        return 0.636 * self.clamp * torch.atan(raw / self.clamp), t

    def forward(self, z1: Tensor, z2: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return y2, [n, d_out], and log|det dy/dz|, [n], for z1 [n, d_in], z2 [n, d_out] and context [n, width]."""
        s, t = self._scale_shift(z1, context)
        return z2 * s.exp() + t, s.sum(1)

    def inverse(self, z1: Tensor, y2: Tensor, context: Tensor | None) -> Tensor:
        """Return z2, [n, d_out], for the y2 that `forward` returned."""
        s, t = self._scale_shift(z1, context)
        return (y2 - t) * torch.exp(-s)


class CouplingFlow(nn.Module):
    """`blocks` times: transform the second half given the first, the first given the new second, then permute.

    `d` is the number of dimensions (odd ones are split floor/ceil), and `width` the hidden units k (64 for MNIST and
    Fashion-MNIST, 256 for CIFAR-10 and CelebA). With `context` > 0, every call takes a tensor [n, context], which is
    mapped once to k units and added to the first hidden layer of every coupling. The permutations are buffers, since
    restored weights are useless without them.
    """

    def __init__(
        self, d: int, width: int, *, blocks: int = 4, hidden_layers: int = 2, clamp: float = 5.0, context: int = 0
    ) -> None:
        super().__init__()
        self.split = d // 2
        halves = self.split, d - self.split
        self.lower = nn.ModuleList(Coupling(halves[0], halves[1], width, hidden_layers, clamp) for _ in range(blocks))
        self.upper = nn.ModuleList(Coupling(halves[1], halves[0], width, hidden_layers, clamp) for _ in range(blocks))
        self.context = nn.Linear(context, width) if context else None
        order = torch.stack([torch.randperm(d) for _ in range(blocks)])
        self.order = nn.Buffer(order)
        self.undo = nn.Buffer(order.argsort(1))
        units = "-".join(map(str, [halves[0], *[width] * hidden_layers, 2 * halves[1]]))
        inside = f"FC {units}, log scale within ±{clamp:g}"
        conditional = f", conditioned on {context} features" if context else ""
        self.summary = f"{blocks} blocks of 2 affine couplings ({inside}) and a fixed permutation{conditional}"

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map codes z [n, d] to noise e [n, d]; also return log|det de/dz|, [n]."""
        c = self._embed(context)
        logdet = z.new_zeros(len(z))
        for i, (lower, upper) in enumerate(self._blocks()):
            z1, z2 = z[:, : self.split], z[:, self.split :]
            z2, change2 = lower(z1, z2, c)
            z1, change1 = upper(z2, z1, c)
            logdet = logdet + change1 + change2
            z = torch.cat([z1, z2], 1).index_select(1, self.order[i])
        return z, logdet

    def inverse(self, e: Tensor, context: Tensor | None = None) -> Tensor:
        """Map noise e [n, d] to codes z [n, d]."""
        c = self._embed(context)
        for i, (lower, upper) in reversed([*enumerate(self._blocks())]):
            e = e.index_select(1, self.undo[i])
            e1, e2 = e[:, : self.split], e[:, self.split :]
            e1 = upper.inverse(e2, e1, c)
            e2 = lower.inverse(e1, e2, c)
            e = torch.cat([e1, e2], 1)
        return e

    def nll(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return -log p(z) of codes z [n, d] under the flow with a standard normal base (eq. 1), in nats: [n].

        The constant of the normal density is included.
        """
        e, logdet = self(z, context)
        nll: Tensor = standard_normal_nll(e) - logdet
        return nll

    def _blocks(self) -> list[tuple[Coupling, Coupling]]:
        return list(zip(self.lower, self.upper, strict=True))  # type: ignore[arg-type]

    def _embed(self, context: Tensor | None) -> Tensor | None:
        embedded: Tensor | None = None if self.context is None else self.context(context)
        return embedded
