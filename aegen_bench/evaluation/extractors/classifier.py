"""A small residual network (He et al. 2016), trained on the labels of the dataset itself.

An in-domain alternative to ImageNet networks. `aegen_bench.evaluation.train_classifier` trains it, on training images
only, and wrote the files in `aegen_bench/evaluation/classifiers`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

__all__ = ["DIM", "RULE", "WEIGHTS", "Classifier", "build"]

WEIGHTS = {
    "cifar10": "classifier_cifar10",
    "fashion": "classifier_fashion",
    "mnist": "classifier_mnist",
}
DIM = 128
RULE = "grey repeated to 3 channels; 2x/255 - 1; last maps after ReLU, mean over positions"
PROSE = (
    "grey images are repeated to 3 channels; pixels are mapped to [-1, 1]; the features are the last feature maps "
    "after ReLU, averaged over positions"
)


class Residual(nn.Module):
    """Two 3 x 3 convolutions with a shortcut: the identity, or a 1 x 1 convolution if the shape changes."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolution(channels, out, 3, stride), nn.ReLU(), *_convolution(out, out, 3))
        same = channels == out and stride == 1
        self.beside = nn.Identity() if same else nn.Sequential(*_convolution(channels, out, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [n, channels, h, w] to [n, out, h / stride, w / stride]."""
        return torch.relu(self.body(x) + self.beside(x))


class Classifier(nn.Module):
    """uint8 images [n, 1 or 3, h, w] -> logits [n, 10], computed from DIM features. 308,650 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            *_convolution(3, 32, 3, 2),
            nn.ReLU(),
            Residual(32, 32),
            Residual(32, 64, 2),
            Residual(64, DIM, 2),
        )
        self.head: nn.Module = nn.Linear(DIM, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits, or the features if `head` is the identity."""
        x = (images.float() / 127.5 - 1).expand(-1, 3, -1, -1)
        logits: torch.Tensor = self.head(self.maps(x).mean(dim=(2, 3)))
        return logits


def _convolution(channels: int, out: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)


def build(file: Path) -> nn.Module:
    """Return the network without its last layer, with the weights of `file`."""
    network = Classifier()
    network.load_state_dict(load_file(file))
    network.head = nn.Identity()  # the features are the inputs of the last layer
    return network
