"""DINOv2 ViT-S/14 (Oquab et al. 2023), not trained on labels: the kind of network whose distances agree best with
people in Stein et al. 2023, "Exposing flaws of generative model evaluation metrics".

Deviation: they take ViT-L/14; this is the small one, 22 of its 304 million parameters, so that it runs on a CPU. The
network is written after the official code, against which it was tested with equal random weights; unverified with the
real weights.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DIM", "RULE", "WEIGHTS", "VisionTransformer", "build"]

WEIGHTS = "dinov2"
DIM = 384
RULE = (
    "grey repeated to 3 channels; bicubic to 224 px, antialiased, rounded as Pillow does; "
    "ImageNet mean and deviation; class token after the last norm"
)
PATCH, HEADS, DEPTH = 14, 6, 12
GRID = 518 // PATCH  # the side of the position embeddings: the last of the training was at 518 px


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, DIM // HEADS)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """A pre-norm transformer block with a learned scale on each of its two branches (Touvron et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM, eps=1e-6), nn.LayerNorm(DIM, eps=1e-6)
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": torch.ones(DIM)}) for _ in range(2))
        self.attn = Attention()
        layers = OrderedDict(fc1=nn.Linear(DIM, 4 * DIM), gelu=nn.GELU(), fc2=nn.Linear(4 * DIM, DIM))
        self.mlp = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1["gamma"] * self.attn(self.norm1(x))
        x = x + self.ls2["gamma"] * self.mlp(self.norm2(x))
        return x


class VisionTransformer(nn.Module):
    """Normalised float images [n, 3, 224, 224] -> class tokens [n, DIM]; parameters named as in the official file."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID**2, DIM))
        self.mask_token = nn.Parameter(torch.zeros(1, DIM))  # of the training only
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, DIM, PATCH, PATCH)})
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(DIM, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed["proj"](images)
        class_position, positions = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = positions.transpose(1, 2).reshape(1, DIM, GRID, GRID)
        # The official code asks for a tenth of a patch too much, and its features depend on it.
        scale = [(side + 0.1) / GRID for side in patches.shape[2:]]
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False, antialias=False)
        tokens = (patches + grid).flatten(2).transpose(1, 2)
        first = (self.cls_token + class_position).expand(len(images), -1, -1)
        tokens = self.blocks(torch.cat([first, tokens], dim=1))
        features: Tensor = self.norm(tokens[:, 0])
        return features


class DINOv2(nn.Module):
    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network((resized(images) / 255 - self.mean) / self.deviation)
        return features


def resized(images: Tensor) -> Tensor:
    """Return uint8 images [n, 1 or 3, h, w] as whole numbers [n, 3, 224, 224], as Pillow's bicubic filter has them."""
    x = images.float()
    for size in ((x.shape[2], 224), (224, 224)):  # Pillow rounds and cuts after each of its two passes
        x = F.interpolate(x, size=size, mode="bicubic", align_corners=False, antialias=True).round().clamp(0, 255)
    return x.expand(-1, 3, -1, -1)


def build(file: Path) -> nn.Module:
    network = VisionTransformer()
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return DINOv2(network)
