"""The networks that turn images into features: one file each, found by file name.

A file declares as literals `WEIGHTS` (its name in `weights.FILES`, or None), `DIM` (features an image) and
`RULE` (what is done to an image, and where features are taken; hashed into the protocol id), and defines
`build(folder) -> nn.Module`, which maps uint8 [n, 1 or 3, h, w] to float32 [n, DIM].
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aegen_bench import errors

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Recipe", "build", "names", "recipe"]

FOLDER = Path(__file__).parent


class Recipe(NamedTuple):
    """What an extractor's file declares."""

    weights: str | None
    dim: int
    rule: str


def names() -> list[str]:
    """Return the extractors there are."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__")


@cache
def recipe(name: str) -> Recipe:
    """Return what the extractor declares: read from its source, so that a protocol's id needs no torch."""
    if name not in names():
        raise errors.unknown("extractor", name, names())
    declared = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("WEIGHTS", "DIM", "RULE")
    }
    return Recipe(weights=declared["WEIGHTS"], dim=declared["DIM"], rule=declared["RULE"])


def build(name: str, folder: Path) -> nn.Module:
    """Return the extractor `name` on the CPU, with its weights taken from the data folder and verified."""
    if name not in names():
        raise errors.unknown("extractor", name, names())
    import torch

    with torch.random.fork_rng(devices=[]):  # the throw-away first weights must not move anybody's random stream
        network: nn.Module = import_module(f"{__name__}.{name}").build(folder)
    return network.eval().requires_grad_(False)
