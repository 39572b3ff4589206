"""The generator of codes on the unit sphere that GLO and GLANN share."""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["SphereGenerator"]


class SphereGenerator(nn.Module):
    """Maps codes [n, d], scaled to length 1, to images [n, C, S, S] in (0, 1): Hoshen et al. 2019 (arXiv:1812.08985).

    Their network is shaped like InfoGAN's, with no biases in the fully connected layers, LeakyReLU(0.2), and batch
    normalisation (which they turn off on CIFAR-10) only after the second and third layer. No gradient flows through
    the length.
    """

    def __init__(self, shape: tuple[int, int, int], d: int, *, batch_norm: bool) -> None:
        super().__init__()
        channels, m = shape[0], shape[1] // 4
        self.body = nn.Sequential(
            nn.Linear(d, 1024, bias=False),
            nn.LeakyReLU(0.2),
            nn.Linear(1024, 128 * m * m, bias=False),
            *([nn.BatchNorm1d(128 * m * m)] if batch_norm else []),
            nn.LeakyReLU(0.2),
            nn.Unflatten(1, (128, m, m)),
            nn.ConvTranspose2d(128, 64, kernel_size=4, stride=2, padding=1),
            *([nn.BatchNorm2d(64)] if batch_norm else []),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(64, channels, kernel_size=4, stride=2, padding=1),
            nn.Sigmoid(),
        )
        for layer in self.body:
            if isinstance(layer, (nn.Linear, nn.ConvTranspose2d)):
                nn.init.xavier_normal_(layer.weight, gain=math.sqrt(2))

    def forward(self, z: Tensor) -> Tensor:
        """Return images [n, C, S, S] in (0, 1) for codes [n, d] of any length."""
        images: Tensor = self.body(z / z.norm(dim=1, keepdim=True).detach())
        return images
