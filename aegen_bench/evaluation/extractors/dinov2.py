"""DINOv2 ViT-L/14 (Oquab et al. 2023), trained without labels: the network whose Fréchet distances agree best with
human judgement in Stein et al. 2023, "Exposing flaws of generative model evaluation metrics", called FD-DINOv2 there.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from aegen_bench.evaluation.vision_transformer import read

__all__ = ["DIM", "RULE", "WEIGHTS", "build"]

WEIGHTS = "dinov2"
DIM = 1024
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
    return read(file, dim=DIM, heads=16, depth=24)
