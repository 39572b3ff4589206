"""Protocols, which fix how images become features. Each has a short id that is stored with every score."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from aegen_bench import errors
from aegen_bench.evaluation import extractors, metrics
from aegen_bench.evaluation.metric import Distance, distance_name

__all__ = ["SUBSET_SEED", "Protocol"]

SUBSET_SEED = 0  # the seed with which `count` real images are drawn from a larger split


class Protocol(BaseModel):
    """The settings of an evaluation. Scores are comparable only if their protocols have the same id.

    `count` generated images are compared with `count` real images of `split`. If the split is smaller, all of it is
    used, and as many images are generated. `name` and `metrics` are not part of the id, since neither changes a
    feature.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    extractor: str
    split: Literal["test", "train"] = "test"
    count: int = Field(10_000, ge=2)
    batch: int = Field(50, ge=1)
    jpeg_roundtrip: bool = False  # for the real images; see `distortions`
    stretch: bool = False  # for each generated image; see `distortions`
    metrics: tuple[str, ...] = ("fd", "prd", "reconstruction")

    @field_validator("extractor")
    @classmethod
    def _extractor_exists(cls, name: str) -> str:
        extractors.recipe(name)
        return name

    @field_validator("metrics")
    @classmethod
    def _metrics_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = metrics.names()
        for name in names:
            if name not in known:
                raise errors.unknown("metric", name, known)
        return names

    @property
    def id(self) -> str:
        """12 hexadecimal digits: a hash of everything that changes the features or the choice of images."""
        recipe = extractors.recipe(self.extractor)
        content = {
            "extractor": recipe.called,
            "weights": recipe.sha256,
            "rule": recipe.rule,
            "split": self.split,
            "count": self.count,
            "subset_seed": SUBSET_SEED,
            "rounding": "round",
            "batch": self.batch,
            "dtype": "float32",
            "tf32": False,
        }
        content |= {name: True for name in ("jpeg_roundtrip", "stretch") if getattr(self, name)}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def distance_key(self) -> Distance:
        """The name of the Fréchet distance under this protocol."""
        return distance_name(self.extractor)

    def images(self, available: int) -> int:
        """Return the number of images on each side, generated and real, if `available` real ones exist."""
        return min(self.count, available)

    def describe(self) -> str:
        """Return the description of the protocol that is printed under a table."""
        recipe = extractors.recipe(self.extractor)
        if isinstance(recipe.sha256, dict):
            of_each = ", ".join(f"{sha256[:8]} on {dataset}" for dataset, sha256 in sorted(recipe.sha256.items()))
            digits = f", weights {of_each}"
        else:
            digits = f", weights {recipe.sha256[:8]}" if recipe.sha256 else ""
        real = " after a JPEG round trip" if self.jpeg_roundtrip else ""
        generated = " and stretched to the full range" if self.stretch else ""
        return (
            f"Protocol {self.id}: {self.count:,} generated images, rounded to uint8{generated}, are compared with "
            f"{self.count:,} images of the {self.split} split{real}; if the split is smaller, as many images as it has "
            f"are generated and all of it is used. Features: {self.extractor}{digits}; {recipe.prose}. Computed in "
            f"float32 without TF32, in batches of {self.batch}."
        )
