"""The shared networks (paper, Table 2 and Appendix A) and the factory that sizes them for a dataset.

All convolutions are 4x4 with stride 2 and padding 1, so a side S becomes S/2 and then M = S/4. Every layer has a bias,
and batch normalisation has torch's defaults (eps 1e-5, momentum 0.1); the paper states neither.

At 256 px, the first linear layer of Table 2 alone would have 537 million weights. The paper's auto-encoder is "based on
DCGAN" there (Appendix B.1): six convolutions down to 512x4x4 and one linear layer, mirrored in the decoder.
Deviation: the paper does not list its layers. Widths (doubled up to 512) and batch normalisation are DCGAN's (Radford
et al. 2016, arXiv:1511.06434), activations are those of Table 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from torch import Tensor, nn

from aegen_bench.blocks.execution import autocast, compiled
from aegen_bench.blocks.flows import CouplingFlow
from aegen_bench.blocks.losses import half_sse
from aegen_bench.blocks.pixelcnn import GatedPixelCNN
from aegen_bench.numerics.tuning import quickened

__all__ = ["Critic", "Decoder", "Encoder", "Nets", "describe"]

HIDDEN = 1024
DCGAN_SIDE, DCGAN_WIDTHS = 256, (64, 128, 256, 512, 512, 512)
M = TypeVar("M", bound=nn.Module)


def _down(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel_size=4, stride=2, padding=1)


def _up(c_in: int, c_out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(c_in, c_out, kernel_size=4, stride=2, padding=1)


def _first_convolutions(channels: int) -> list[nn.Module]:
    return [_down(channels, 64), nn.ReLU(), _down(64, 128), nn.BatchNorm2d(128), nn.ReLU()]


def _last_convolutions(channels: int) -> list[nn.Module]:
    return [_up(128, 64), nn.BatchNorm2d(64), nn.ReLU(), _up(64, channels), nn.Sigmoid()]


# Weights are drawn when a layer is created, so the order in which layers are created must not change.


def _infogan_encoder(channels: int, side: int) -> list[nn.Module]:
    return [
        *_first_convolutions(channels),
        nn.Flatten(),
        nn.Linear(128 * (side // 4) ** 2, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.ReLU(),
    ]


def _infogan_decoder(channels: int, side: int, d_in: int) -> list[nn.Module]:
    m = side // 4
    return [
        nn.Linear(d_in, HIDDEN),
        nn.BatchNorm1d(HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 128 * m * m),
        nn.BatchNorm1d(128 * m * m),
        nn.ReLU(),
        nn.Unflatten(1, (128, m, m)),
        *_last_convolutions(channels),
    ]


def _dcgan_encoder(channels: int) -> list[nn.Module]:
    layers = [_down(channels, DCGAN_WIDTHS[0]), nn.ReLU()]
    for c_in, c_out in pairwise(DCGAN_WIDTHS):
        layers += [_down(c_in, c_out), nn.BatchNorm2d(c_out), nn.ReLU()]
    return [*layers, nn.Flatten()]


def _dcgan_decoder(channels: int, d_in: int) -> list[nn.Module]:
    first, *_ = widths = DCGAN_WIDTHS[::-1]
    layers = [nn.Linear(d_in, first * 4 * 4), nn.Unflatten(1, (first, 4, 4)), nn.BatchNorm2d(first), nn.ReLU()]
    for c_in, c_out in pairwise(widths):
        layers += [_up(c_in, c_out), nn.BatchNorm2d(c_out), nn.ReLU()]
    return [*layers, _up(widths[-1], channels), nn.Sigmoid()]


class Encoder(nn.Module):
    """Maps images [n, C, S, S] in [0, 1] to [n, out]; InfoGAN-style, at 256 px DCGAN-style."""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int, side: int, out: int) -> None:
        super().__init__()
        dcgan = side == DCGAN_SIDE
        self.body = nn.Sequential(*(_dcgan_encoder(channels) if dcgan else _infogan_encoder(channels, side)))
        self.head = nn.Linear(DCGAN_WIDTHS[-1] * 4 * 4 if dcgan else HIDDEN, out)

    def features(self, x: Tensor) -> Tensor:
        """Return the activations before the head: [n, 1024], at 256 px [n, 8192] (`head.in_features`)."""
        return self.body(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, out] for images [n, C, S, S]."""
        return self.head(self.body(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Maps codes [n, d_in] to images [n, C, S, S] in (0, 1); InfoGAN-style, at 256 px DCGAN-style.

    Deviation: Table 2 has "4x4 Deconv128, Sigmoid" as the last layer, but an image needs C channels.
    """

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int, side: int, d_in: int) -> None:
        super().__init__()
        dcgan = side == DCGAN_SIDE
        self.body = nn.Sequential(
            *(_dcgan_decoder(channels, d_in) if dcgan else _infogan_decoder(channels, side, d_in))
        )

    def forward(self, z: Tensor) -> Tensor:
        """Return images [n, C, S, S] in (0, 1) for codes [n, d_in]."""
        return self.body(z)  # type: ignore[no-any-return]


class Critic(nn.Sequential):
    """An adversary that maps codes [n, d] to logits [n, 1]: four ReLU layers of 512 units (paper, Appendix B.3)."""

    def __init__(self, d: int) -> None:
        hidden = [layer for _ in range(3) for layer in (nn.Linear(512, 512), nn.ReLU())]
        super().__init__(nn.Linear(d, 512), nn.ReLU(), *hidden, nn.Linear(512, 1))


@dataclass(frozen=True)
class Nets:
    """Makes networks of the shared architecture, sized for one dataset.

    Attributes:
        shape: (C, S, S) of an image.
        d: Number of latent dimensions.
        flow_width: Hidden units of the paper's flow.
        n_train: Number of training images.
        recon: Maps (x_hat, x), images [n, C, S, S], to the row's reconstruction loss per sample, [n].
        precision: Arithmetic of training steps: "fp32", "tf32" or "bf16".
        compile: Whether training steps run compiled.
    """

    shape: tuple[int, int, int]
    d: int
    flow_width: int
    n_train: int
    recon: Callable[[Tensor, Tensor], Tensor] = half_sse
    precision: str = "fp32"
    compile: bool = False

    @property
    def pixels(self) -> int:
        """Number of values of an image, D = C * S * S."""
        c, h, w = self.shape
        return c * h * w

    def encoder(self, out: int | None = None) -> Encoder:
        """Return a new encoder from images to [n, out]. Default of `out`: d; use 2 d for a Gaussian posterior."""
        return self.mixed(Encoder(self.shape[0], self.shape[1], self.d if out is None else out))

    def decoder(self, d_in: int | None = None) -> Decoder:
        """Return a new decoder from codes [n, d_in] to images in (0, 1). Default of `d_in`: d."""
        return self.mixed(Decoder(self.shape[0], self.shape[1], self.d if d_in is None else d_in))

    def grid_encoder(self, channels: int) -> nn.Sequential:
        """Return the convolutions of a new encoder with a 1x1 head: from images to a grid [n, channels, S/4, S/4]."""
        layers = *_first_convolutions(self.shape[0]), nn.Conv2d(128, channels, kernel_size=1)
        return self.mixed(nn.Sequential(*layers))

    def grid_decoder(self, channels: int) -> nn.Sequential:
        """Return a 1x1 convolution and the deconvolutions of a new decoder: from such a grid to images in (0, 1)."""
        layers = nn.Conv2d(channels, 128, kernel_size=1), *_last_convolutions(self.shape[0])
        return self.mixed(nn.Sequential(*layers))

    def critic(self, d: int | None = None) -> Critic:
        """Return a new adversary from codes [n, d] to logits [n, 1]."""
        return self.mixed(Critic(self.d if d is None else d))

    def flow(self, d: int | None = None, context: int = 0) -> CouplingFlow:
        """Return a new flow of the paper on codes [n, d].

        It runs in fp32 whatever the precision, so that its inverse is accurate to 1e-3.
        """
        flow = quickened(CouplingFlow(self.d if d is None else d, self.flow_width, context=context))
        return compiled(flow) if self.compile else flow

    def mixed(self, module: M) -> M:
        """Return `module`, set up for the row's precision (with float32 outputs) and compiled if the row says so.

        Use it for networks that a method makes itself.
        """
        quickened(module)
        if self.compile:
            compiled(module)
        return autocast(module) if self.precision == "bf16" else module


def describe(module: nn.Module) -> str:
    """Return one line that lists the layers of a network in order, as in the paper's Table 2."""
    if isinstance(module, (CouplingFlow, GatedPixelCNN)):
        return module.summary
    return ", ".join(filter(None, map(_layer, module.modules())))


def _layer(layer: nn.Module) -> str:
    match layer:
        case nn.Conv2d():
            return f"{layer.kernel_size[0]}x{layer.kernel_size[1]} Conv{layer.out_channels}"
        case nn.ConvTranspose2d():
            return f"{layer.kernel_size[0]}x{layer.kernel_size[1]} Deconv{layer.out_channels}"
        case nn.Linear():
            return f"FC{layer.out_features}"
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return "BN"
        case nn.ReLU() | nn.LeakyReLU() | nn.SiLU() | nn.Sigmoid() | nn.Tanh():
            return type(layer).__name__
    return ""
