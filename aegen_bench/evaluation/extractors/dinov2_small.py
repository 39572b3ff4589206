"""DINOv2 ViT-S/14 (Oquab et al. 2023): 22 million parameters, against 304 of `dinov2`, so that a CPU can run it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from aegen_bench.evaluation.vision_transformer import read

__all__ = ["DIM", "RULE", "WEIGHTS", "build"]

WEIGHTS = "dinov2_small"
DIM = 384
CALLED = "dinov2"  # in the protocol's id, which is older than the large network here
RULE = (
    "grey repeated to 3 channels; bicubic to 224 px, antialiased, rounded as Pillow does; "
    "ImageNet mean and deviation; class token after the last norm"
)
PROSE = (
    "grey images are repeated to 3 channels; images are resized to 224 px (bicubic, antialiased, rounded as in Pillow) "
    "and normalised by ImageNet's mean and standard deviation; the features are the class token after the last norm"
)


def build(file: Path) -> nn.Module:
    """Return the network with the weights of `file`."""
    return read(file, dim=DIM, heads=6, depth=12)
