"""DINOv2 ViT-S/14 (Oquab et al. 2023): 22 of the 304 million parameters of `dinov2`, so that it runs on a CPU."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from aegen_bench.evaluation.vision_transformer import read

__all__ = ["DIM", "RULE", "WEIGHTS", "build"]

WEIGHTS = "dinov2_small"
DIM = 384
CALLED = "dinov2"  # in the id of a protocol, which it had before the large one
RULE = (
    "grey repeated to 3 channels; bicubic to 224 px, antialiased, rounded as Pillow does; "
    "ImageNet mean and deviation; class token after the last norm"
)


def build(file: Path) -> nn.Module:
    return read(file, dim=DIM, heads=6, depth=12)
