"""The interface of an extractor, a network that turns images into features. Each is one file of `extractors/`.

The file declares, as literals:

- `WEIGHTS`: the name of its weights in `weights.FILES`; {dataset: name} if each dataset has its own network; or None;
- `DIM`: the number of features of an image; None if that depends on the image size;
- `RULE`: the preprocessing, and the layer that the features are taken from. It is hashed into the protocol's id, so
  rewording it makes all scores incomparable with older ones;
- `PROSE`, optional: the same in words, printed under tables; by default, `RULE` is printed;
- `CALLED`: the name of the extractor in the protocol's id, if that is an older one.

It defines `build(file) -> nn.Module`, where `file` is the verified file of weights (None if there are none). The module
maps uint8 [n, 1 or 3, h, w] to float32 [n, DIM], or to [n, packets, values] if the features come in packets, which are
compared one by one.
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
    """The declarations of an extractor's file."""

    name: str
    weights: str | dict[str, str] | None
    dim: int | None
    rule: str
    called: str  # the name in the id of a protocol
    prose: str  # the rule in words

    def applies(self, dataset: str) -> bool:
        """Return whether the extractor can be used on a dataset; one with a network per dataset knows only those."""
        return not isinstance(self.weights, dict) or dataset in self.weights

    def file(self, dataset: str) -> str | None:
        """Return the name in `weights.FILES` of the weights for a dataset; UserError if there are none for it."""
        if not self.applies(dataset):
            known = ", ".join(sorted(self.weights or ()))
            raise errors.UserError(
                f"extractor '{self.name}' has weights for {known}, none for {dataset}: use another protocol"
            )
        return self.weights[dataset] if isinstance(self.weights, dict) else self.weights

    @property
    def sha256(self) -> str | dict[str, str] | None:
        """The sha256 of the weights, as hashed into a protocol's id: of all datasets, so that they share one id."""
        if isinstance(self.weights, dict):
            return {dataset: weights.FILES[name].sha256 for dataset, name in self.weights.items()}
        return weights.FILES[self.weights].sha256 if self.weights else None


def names() -> list[str]:
    """Return the names of all extractors."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__")


@cache
def recipe(name: str) -> Recipe:
    """Return the declarations of an extractor, read from its source so that a protocol's id needs no torch.

    UserError for an unknown name.
    """
    if name not in names():
        raise errors.unknown("extractor", name, names())
    declared = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("WEIGHTS", "DIM", "RULE", "CALLED", "PROSE")
    }
    weights, dim, rule = (declared[key] for key in ("WEIGHTS", "DIM", "RULE"))
    return Recipe(name, weights, dim, rule, declared.get("CALLED", name), declared.get("PROSE", rule))


def build(name: str, folder: Path, dataset: str) -> nn.Module:
    """Return the extractor `name` for a dataset, on the CPU; `folder` is the data folder, where weights are stored.

    MissingError if the weights are missing; UserError if their sha256 is wrong, or if there are none for the dataset.
    """
    needed = recipe(name).file(dataset)
    file = weights.path(needed, folder) if needed else None
    import torch

    with torch.random.fork_rng(devices=[]):  # initial weights, soon replaced, must not advance the caller's generator
        network: nn.Module = import_module(f"{__package__}.extractors.{name}").build(file)
    return network.eval().requires_grad_(False)
