"""An autoregressive model of a grid of codewords: the gated PixelCNN of van den Oord et al. 2016 (arXiv:1606.05328).

Shifts, not masks, make it causal: the input of the vertical stack is shifted down by one row, that of the horizontal
stack right by one column, and convolutions only look up and left. So there is no blind spot, and sampling needs the
vertical stack only once per row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GatedPixelCNN"]


class GatedPixelCNN(nn.Module):
    """Maps codeword indices k, int64 [n, M, M], to logits [n, codewords, M, M] that depend on earlier positions only.

    The order is row by row. Indices enter as learned embeddings of `channels` dimensions.
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
        """Return logits [n, codewords, M, M] for indices k [n, M, M]."""
        return self._along(k, self._above(k))

    def sample(self, u: Tensor) -> Tensor:
        """Map uniform u [n, M, M] in [0, 1) to samples, int64 [n, M, M], by the inverse CDF at each position."""
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
        """What each layer of the horizontal stack receives from the rows above each position."""
        v, told = F.pad(self._embed(k), (0, 0, 1, -1)), []
        for conv, link in zip(self.vertical, self.link, strict=True):
            both = conv(F.pad(v, (1, 1, 1, 0)))
            told.append(link(both))
            v = v + _gate(both)
        return told

    def _along(self, k: Tensor, above: list[Tensor]) -> Tensor:
        """Logits of each position, from the positions to its left in its row and from `above`."""
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
