"""The perceptual reconstruction loss: how far two images are apart for a network trained on ImageNet (paper, 4.3).

A row asks for it with `recon: perceptual`. The distance is that of Hoshen et al. (NAM and GLANN, arXiv:1811.08342,
1812.08985), from which the paper takes it: mean |a - b| over the pixels as the network gets them, plus the same mean
over its activations at a few layers, all with weight 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NETWORKS", "PerceptualLoss"]

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Network:
    """A chain of layers and how an image in [0, 1] is put in: gain * x + shift.

    `taps` has by a number of levels the positions of the layers whose outputs are compared; `scales` (side) the pairs
    of a pooling and a number of levels whose distances are summed.
    """

    layers: Callable[[State], list[nn.Module]]
    taps: Mapping[int, tuple[int, ...]]
    scales: Callable[[int], list[tuple[int, int]]]
    gain: float
    shift: float


def _vgg16(state: State) -> list[nn.Module]:
    from torchvision.models import vgg16

    with torch.device("meta"):  # no throw-away weights are drawn
        features = vgg16(weights=None).features
    prefix = "features."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    features.load_state_dict(own, assign=True)
    return [nn.ReLU() if isinstance(layer, nn.ReLU) else layer for layer in features]  # torchvision's are in place


def _efficientnet_lite0(state: State) -> list[nn.Module]:
    from efficientnet_lite_pytorch import EfficientNet

    with torch.device("meta"):
        network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state, assign=True)
    return [nn.Sequential(network._conv_stem, network._bn0, network._swish), *network._blocks]


NETWORKS = {
    # Hoshen et al. read torchvision's layers 2, 7, 12, 21, 30, whose in-place ReLUs have overwritten all but the last
    # of those in use: relu1_2, relu2_2, conv3_2; or relu1_2, relu2_2, relu3_2, conv4_3; or, with relu4_3, the last
    # pooling. Inputs lie in [-1, 1], without the mean and deviation of ImageNet, as theirs do.
    "vgg16": Network(
        layers=_vgg16,
        taps={3: (3, 8, 12), 4: (3, 8, 13, 21), 5: (3, 8, 13, 22, 30)},
        scales=lambda side: [(1, 3)] if side <= 32 else [(1, 4)] if side <= 64 else [(1, 5), (4, 4)],
        gain=2.0,
        shift=-1.0,
    ),
    # The last block at each of the strides 2, 4, 8 and 16. Ours: what works with no network but pip's.
    "efficientnet_lite0": Network(
        layers=_efficientnet_lite0,
        taps={3: (1, 3, 5), 4: (1, 3, 5, 11)},
        scales=lambda side: [(1, 3)] if side < 64 else [(1, 4)],
        gain=255 / 128,
        shift=-127 / 128,
    ),
}


class PerceptualLoss:
    """(x_hat, x), images [n, 1 or 3, S, S] in [0, 1] -> distance [n]; gradients flow through x_hat only.

    It is no module: what holds it has neither its weights nor its parameters. The weights come from `state()` when
    the loss is first computed on a device, and stay there. Grey images are repeated to 3 channels. Sides are padded
    with zeros to a multiple of 8 (28 to 32 px) before anything else, as GLANN does; the border counts in the means.
    """

    def __init__(self, network: str, side: int, state: Callable[[], State]) -> None:
        self._network, self._state = NETWORKS[network], state
        self._scales = self._network.scales(side)
        self._on: dict[torch.device, nn.ModuleList] = {}

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        total = x_hat.new_zeros(len(x_hat))
        for pooling, levels in self._scales:
            with torch.no_grad():
                targets = self.maps(x, pooling, levels)
            for a, b in zip(self.maps(x_hat, pooling, levels), targets, strict=True):
                total = total + (a - b).abs().flatten(1).mean(1)
        return total

    def maps(self, x: Tensor, pooling: int, levels: int) -> list[Tensor]:
        """What is compared: the input as the network gets it, and its activations."""
        missing = -x.shape[-1] % 8
        x = F.pad(x, [missing // 2, missing - missing // 2] * 2).expand(-1, 3, -1, -1)
        x = F.avg_pool2d(self._network.gain * x + self._network.shift, pooling)
        found, taps = [x], self._network.taps[levels]
        for position, layer in enumerate(self._layers(x.device)[: taps[-1] + 1]):
            x = layer(x)
            if position in taps:
                found.append(x)
        return found

    def _layers(self, device: torch.device) -> nn.ModuleList:
        if device not in self._on:
            last = max(self._network.taps[levels][-1] for _, levels in self._scales)
            layers = nn.ModuleList(self._network.layers(self._state())[: last + 1])
            self._on[device] = layers.eval().requires_grad_(False).to(device)
        return self._on[device]
