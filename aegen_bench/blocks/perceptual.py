"""The perceptual reconstruction loss: the distance of two images in a network trained on ImageNet (paper, 4.3).

A row selects it with `recon: perceptual`. Like the paper, it uses the distance of Hoshen et al. (NAM and GLANN,
arXiv:1811.08342, 1812.08985): mean |a - b| over the input pixels of the network, plus the same mean over its
activations at a few layers, all with weight 1.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aegen_bench.blocks.execution import compile_for, in_bf16, tf32

__all__ = ["NETWORKS", "PerceptualLoss"]

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Network:
    """A sequence of layers, whose input is gain * x + shift for an image x in [0, 1].

    `taps` maps a number of levels to the positions of the layers whose outputs are compared. `scales` maps the side of
    an image to the pairs (pooling, number of levels) whose distances are summed.
    """

    layers: Callable[[State], list[nn.Module]]
    taps: Mapping[int, tuple[int, ...]]
    scales: Callable[[int], list[tuple[int, int]]]
    gain: float
    shift: float


def _vgg16(state: State) -> list[nn.Module]:
    from torchvision.models import vgg16

    with torch.device("meta"):  # so that no weights are initialised only to be replaced
        features = vgg16(weights=None).features
    prefix = "features."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    features.load_state_dict(own, assign=True)
    return [nn.ReLU() if isinstance(layer, nn.ReLU) else layer for layer in features]  # torchvision's are in-place


def _efficientnet_lite0(state: State) -> list[nn.Module]:
    from efficientnet_lite_pytorch import EfficientNet

    with torch.device("meta"):
        network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state, assign=True)
    return [nn.Sequential(network._conv_stem, network._bn0, network._swish), *network._blocks]


NETWORKS = {
    # Hoshen et al. read torchvision's layers 2, 7, 12, 21, 30, whose outputs, except for the last one in use, have been
    # overwritten by in-place ReLUs: relu1_2, relu2_2, conv3_2; or relu1_2, relu2_2, relu3_2, conv4_3; or, with relu4_3,
    # the last pooling. As in their code, inputs are in [-1, 1], without the mean and deviation of ImageNet.
    "vgg16": Network(
        layers=_vgg16,
        taps={3: (3, 8, 12), 4: (3, 8, 13, 21), 5: (3, 8, 13, 22, 30)},
        scales=lambda side: [(1, 3)] if side <= 32 else [(1, 4)] if side <= 64 else [(1, 5), (4, 4)],
        gain=2.0,
        shift=-1.0,
    ),
    # The last block at each of the strides 2, 4, 8 and 16. Our choice, because its weights can be installed with pip.
    "efficientnet_lite0": Network(
        layers=_efficientnet_lite0,
        taps={3: (1, 3, 5), 4: (1, 3, 5, 11)},
        scales=lambda side: [(1, 3)] if side < 64 else [(1, 4)],
        gain=255 / 128,
        shift=-127 / 128,
    ),
}


class PerceptualLoss:
    """Maps (x_hat, x), images [n, 1 or 3, S, S] in [0, 1], to distances [n]. Gradients flow through x_hat only.

    It is not a module, so its weights do not become part of the model that uses it. They are loaded by `state()` when
    the loss is first computed on a device, and stay there. Grey images are repeated to 3 channels. Images are first
    padded with zeros to a multiple of 8 (28 to 32 px), as in GLANN; the border is included in the means.

    The network runs in `precision` (fp32, tf32 or bf16), whatever the precision `around` it, which is that of the
    training step; distances are float32. With `compile` it is compiled for training steps.
    """

    def __init__(
        self,
        network: str,
        side: int,
        state: Callable[[], State],
        *,
        precision: str = "fp32",
        around: str = "fp32",
        compile: bool = False,
    ) -> None:
        self._network, self._state = NETWORKS[network], state
        self._scales = self._network.scales(side)
        self._on: dict[torch.device, nn.ModuleList] = {}
        self._precision, self._compile = precision, compile
        self._apart = precision != "bf16" and (precision == "tf32") is not (around == "tf32")
        self._fast = functools.cache(functools.partial(compile_for, _activations))

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        if self._apart:
            distance: Tensor = _Apart.apply(x_hat, x, self._distance, self._precision == "tf32")
            return distance
        return self._distance(x_hat, x)

    def _distance(self, x_hat: Tensor, x: Tensor) -> Tensor:
        total, step = x_hat.new_zeros(len(x_hat)), x_hat.requires_grad and torch.is_grad_enabled()
        for pooling, levels in self._scales:
            with torch.no_grad():
                targets = self.maps(x, pooling, levels, step)
            for a, b in zip(self.maps(x_hat, pooling, levels, step), targets, strict=True):
                total = total + (a.float() - b.float()).abs().flatten(1).mean(1)
        return total

    def maps(self, x: Tensor, pooling: int, levels: int, step: bool = False) -> list[Tensor]:
        """Return what is compared: the input of the network and its activations. `step`: within a training step."""
        missing = -x.shape[-1] % 8
        x = F.pad(x, [missing // 2, missing - missing // 2] * 2).expand(-1, 3, -1, -1)
        x = F.avg_pool2d(self._network.gain * x + self._network.shift, pooling)
        run = self._fast(x.device.type) if step and self._compile else _activations
        with in_bf16(x.device.type) if self._precision == "bf16" else contextlib.nullcontext():
            return [x, *run(self._layers(x.device), x, self._network.taps[levels])]

    def _layers(self, device: torch.device) -> nn.ModuleList:
        if device not in self._on:
            last = max(self._network.taps[levels][-1] for _, levels in self._scales)
            layers = nn.ModuleList(self._network.layers(self._state())[: last + 1])
            self._on[device] = layers.eval().requires_grad_(False).to(device)
        return self._on[device]


def _activations(layers: nn.ModuleList, x: Tensor, taps: Sequence[int]) -> list[Tensor]:
    """Return the outputs of the layers at the positions `taps`."""
    found = []
    for position, layer in enumerate(layers[: taps[-1] + 1]):
        x = layer(x)
        if position in taps:
            found.append(x)
    return found


class _Apart(torch.autograd.Function):
    """`distance(x_hat, x)`, [n], with a different TF32 setting than the rest of the step.

    The setting applies to a backward pass as a whole, so the gradient is computed here, together with the distance.
    This is possible because each distance depends on one image only: the gradient of the sum has all gradients.
    """

    @staticmethod
    def forward(ctx: Any, x_hat: Tensor, x: Tensor, distance: Callable[[Tensor, Tensor], Tensor], on: bool) -> Tensor:
        needed = ctx.needs_input_grad[0]
        with tf32(on), torch.set_grad_enabled(needed):
            inner = x_hat.detach().requires_grad_(needed)
            found = distance(inner, x)
            if needed:
                ctx.save_for_backward(*torch.autograd.grad(found.sum(), inner))
        return found.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (own,) = ctx.saved_tensors
        return gradients[0].view(-1, 1, 1, 1) * own, None, None, None
