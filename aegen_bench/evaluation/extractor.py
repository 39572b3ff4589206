"""What an extractor, a network that turns images into features, is: one file of `extractors/` each, found by its name.

A file declares as literals `WEIGHTS` (its name in `weights.FILES`; {dataset: name} where each dataset has a network of
its own; or None), `DIM` (features an image;
None where that depends on its size) and `RULE` (what is done to an image, and where features are taken; hashed
into the protocol id), `CALLED` where the id knows it by an older name, and defines `build(file) -> nn.Module`, which
maps uint8 [n, 1 or 3, h, w] to float32 [n, DIM], or [n, packets, values] where features come in packets, each of
which is compared with its like; `file` is where the weights lie, verified (None without any).
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aegen_bench import errors, weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Recipe", "build", "names", "recipe"]

FOLDER = Path(__file__).parent / "extractors"


class Recipe(NamedTuple):
    """What an extractor's file declares."""

    name: str
    weights: str | dict[str, str] | None
    dim: int | None
    rule: str
    called: str  # in the id of a protocol

    def applies(self, dataset: str) -> bool:
        """Return whether it can look at a dataset: one with a network for each has none for others."""
        return not isinstance(self.weights, dict) or dataset in self.weights

    def file(self, dataset: str) -> str | None:
        """Return the name in `weights.FILES` of what it needs for a dataset; UserError where it has none for it."""
        if not self.applies(dataset):
            known = ", ".join(sorted(self.weights or ()))
            raise errors.UserError(
                f"extractor '{self.name}' has weights for {known}, none for {dataset}: take another protocol"
            )
        return self.weights[dataset] if isinstance(self.weights, dict) else self.weights

    @property
    def sha256(self) -> str | dict[str, str] | None:
        """Return what stands for the weights in a protocol's id: of every dataset, so that all have one id."""
        if isinstance(self.weights, dict):
            return {dataset: weights.FILES[name].sha256 for dataset, name in self.weights.items()}
        return weights.FILES[self.weights].sha256 if self.weights else None


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
        if isinstance(target, ast.Name) and target.id in ("WEIGHTS", "DIM", "RULE", "CALLED")
    }
    called = declared.get("CALLED", name)
    return Recipe(name, weights=declared["WEIGHTS"], dim=declared["DIM"], rule=declared["RULE"], called=called)


def build(name: str, folder: Path, dataset: str) -> nn.Module:
    """Return the extractor `name` for a dataset, on the CPU; `folder` is the data folder, where weights are fetched to.

    MissingError where they are not there, UserError where they are others or there are none for the dataset.
    """
    needed = recipe(name).file(dataset)
    file = weights.path(needed, folder) if needed else None
    import torch

    with torch.random.fork_rng(devices=[]):  # the throw-away first weights must not move anybody's random stream
        network: nn.Module = import_module(f"{__package__}.extractors.{name}").build(file)
    return network.eval().requires_grad_(False)
