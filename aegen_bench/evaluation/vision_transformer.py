"""The vision transformer of DINOv2 (Oquab et al. 2023), in any size, for the extractors `dinov2` and `dinov2_small`.

Follows the official code, and was tested against it with the same random weights; not verified with the real weights.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DINOv2", "VisionTransformer", "read", "resized"]

PATCH = 14
GRID = 518 // PATCH  # side of the grid of position embeddings: training ended at 518 px


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [n, tokens, dim] to the same shape."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """A pre-norm transformer block with layer scale on both branches (Touvron et al. 2021)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": torch.ones(dim)}) for _ in range(2))
        self.attn = Attention(dim, heads)
        layers = OrderedDict(fc1=nn.Linear(dim, 4 * dim), gelu=nn.GELU(), fc2=nn.Linear(4 * dim, dim))
        self.mlp = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [n, tokens, dim] to the same shape."""
        x = x + self.ls1["gamma"] * self.attn(self.norm1(x))
        x = x + self.ls2["gamma"] * self.mlp(self.norm2(x))
        return x


class VisionTransformer(nn.Module):
    """Normalised float images [n, 3, 224, 224] -> class tokens [n, dim]. Parameters have the official file's names."""

    def __init__(self, dim: int, heads: int, depth: int) -> None:
        super().__init__()
        self.dim = dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID**2, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # used in training only
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, PATCH, PATCH)})
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Return the class tokens after the last norm, [n, dim]."""
        patches = self.patch_embed["proj"](images)
        class_position, positions = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = positions.transpose(1, 2).reshape(1, self.dim, GRID, GRID)
        # The official code adds a tenth of a patch to the size, and its features depend on it.
        scale = [(side + 0.1) / GRID for side in patches.shape[2:]]
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False, antialias=False)
        tokens = (patches + grid).flatten(2).transpose(1, 2)
        first = (self.cls_token + class_position).expand(len(images), -1, -1)
        tokens = self.blocks(torch.cat([first, tokens], dim=1))
        features: Tensor = self.norm(tokens[:, 0])
        return features


class DINOv2(nn.Module):
    """uint8 images [n, 1 or 3, h, w] -> features [n, dim]: resizes and normalises them for `network`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, float32 [n, dim]."""
        features: Tensor = self.network((resized(images) / 255 - self.mean) / self.deviation)
        return features


def resized(images: Tensor) -> Tensor:
    """Return uint8 images [n, 1 or 3, h, w] resized to [n, 3, 224, 224], rounded like Pillow's bicubic filter."""
    x = images.float()
    for size in ((x.shape[2], 224), (224, 224)):  # Pillow rounds and clips after each of its two passes
        x = F.interpolate(x, size=size, mode="bicubic", align_corners=False, antialias=True).round().clamp(0, 255)
    return x.expand(-1, 3, -1, -1)


def read(file: Path, *, dim: int, heads: int, depth: int) -> nn.Module:
    """Return DINOv2 of this size, with the weights of the official file."""
    network = VisionTransformer(dim, heads, depth)
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return DINOv2(network)
