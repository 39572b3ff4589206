"""The recipe of a dataset, which determines its pixels."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

__all__ = ["Recipe", "Source", "Split"]

Source = Literal["digits", "mnist", "fashion", "cifar10", "celeba", "npz", "folder"]
Split = Literal["train", "test"]


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """Everything that determines the uint8 array of a dataset; part of each trial's key.

    `crop` is the side in pixels of the centre crop before resizing (CelebA: 160 in the paper, 128 in Two-Stage VAE, 140
    in WAE and RAE), and `size` the side after it. Sources that are arrays are used unchanged; for them `size` is only
    checked.
    """

    source: Source
    size: Annotated[int, Field(ge=4, multiple_of=4)] | None = None
    crop: Annotated[int, Field(ge=4)] | None = None
    resize: Literal["pil_bilinear", "tf1_bilinear"] = "pil_bilinear"

    @model_validator(mode="after")
    def _only_image_files_are_processed(self) -> Recipe:
        processed = self.crop is not None or self.resize != "pil_bilinear"
        if processed and self.source not in ("celeba", "folder"):
            raise ValueError(f"crop and resize apply to celeba and folders of images, not to {self.source}")
        return self

    @property
    def digest(self) -> str:
        """A hash of the recipe, 12 hexadecimal digits."""
        # Defaults are left out, so that adding a field does not change the digests of existing recipes.
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:12]
