"""An autoregressive model of a grid of code numbers: the gated PixelCNN of van den Oord et al. 2016 (arXiv:1606.05328).

Causality comes from shifts, not from masks: the vertical stack starts one row further down, the horizontal one a column
further right, and each convolution looks up and left only. So no position is blind to an earlier one, and sampling
needs the vertical stack once a row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GatedPixelCNN"]


class GatedPixelCNN(nn.Module):
    """Code numbers k [n, M, M] -> logits [n, codewords, M, M], where those of a position depend on the ones before it.

    The order is row by row. Numbers enter as learned embeddings of `channels` dimensions.
    """

    def __init__(self, codewords: int, *, channels: int, layers: int) -> None:
        super().__init__()
        twice = 2 * channels
        self.embedding = nn.Embedding(codewords, channels)
        self.vertical = nn.ModuleList(nn.Conv2d(channels, twice, (2, 3)) for _ in range(layers))
        self.link = nn.ModuleList(nn.Conv2d(twice, twice, 1) for _ in range(layers))
        self.horizontal = nn.ModuleList(nn.Conv2d(channels, twice, (1, 2)) for _ in range(layers))
        self.out = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(layers))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, codewords, 1))
        self.summary = f"{layers} gated layers of {channels} channels (2x3 above, 1x2 left), 1x1 Conv{codewords}"

    def forward(self, k: Tensor) -> Tensor:
        return self._along(k, self._above(k))

    def sample(self, u: Tensor) -> Tensor:
        """Uniform numbers u [n, M, M] in [0, 1) -> code numbers of the model: each the inverse CDF at its u."""
        k = torch.zeros_like(u, dtype=torch.long)
        for row in range(u.shape[1]):
            above = [part[:, :, row:] for part in self._above(k[:, : row + 1])]
            for column in range(u.shape[2]):
                seen = [part[..., : column + 1] for part in above]
                logits = self._along(k[:, row : row + 1, : column + 1], seen)[:, :, 0, column]
                edges = logits.softmax(1).cumsum(1)[:, :-1].contiguous()
                k[:, row, column] = torch.searchsorted(edges, u[:, row, column, None].contiguous(), right=True)[:, 0]
        return k

    def _above(self, k: Tensor) -> list[Tensor]:
        """What each layer of the horizontal stack is told of the rows above each position."""
        v, told = F.pad(self._embed(k), (0, 0, 1, -1)), []
        for conv, link in zip(self.vertical, self.link, strict=True):
            both = conv(F.pad(v, (1, 1, 1, 0)))
            told.append(link(both))
            v = v + _gate(both)
        return told

    def _along(self, k: Tensor, above: list[Tensor]) -> Tensor:
        """Logits, from what stands left of each position in its row and from `above`."""
        h = F.pad(self._embed(k), (1, -1))
        for conv, out, told in zip(self.horizontal, self.out, above, strict=True):
            h = h + out(_gate(conv(F.pad(h, (1, 0))) + told))
        logits: Tensor = self.head(h)
        return logits

    def _embed(self, k: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(k).permute(0, 3, 1, 2)
        return embedded


def _gate(both: Tensor) -> Tensor:
    a, b = both.chunk(2, 1)
    return a.tanh() * b.sigmoid()
