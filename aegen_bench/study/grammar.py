"""The grammar of benchmarks.yaml: its sections as checked models, and how the file is read.

Every section is strict: an unknown key is an error that names the nearest legal one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aegen_bench.data import Recipe
from aegen_bench.errors import UserError, unknown
from aegen_bench.evaluation.protocol import Protocol
from aegen_bench.study.catalog import shipped

__all__ = [
    "Dataset",
    "File",
    "Layer",
    "Overlay",
    "Probe",
    "Profile",
    "Row",
    "Strict",
    "expand",
    "load",
    "validated",
    "with_settings",
]


class Strict(BaseModel):
    """A section of the yaml: an unknown key is an error that names the nearest legal one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            legal = {f.alias or name for name, f in cls.model_fields.items()}
            for key in value:
                if key not in legal:
                    raise ValueError(str(unknown("key", str(key), legal)))
        return value


class _Recipe(Strict, Recipe):
    """A recipe as the yaml has it."""


class _Protocol(Strict, Protocol):
    """A protocol as the yaml has it."""


class _Optimizer(Strict):
    lr: float | None = None
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None


class _Stage(Strict):
    epochs: int | None = Field(None, ge=1)
    steps: int | None = Field(None, ge=1)
    batch: int | None = Field(None, ge=2)
    lr: float | None = Field(None, gt=0)
    lr_at: dict[float, float] | None = None
    optimizers: dict[str, _Optimizer] = {}

    @model_validator(mode="after")
    def _one_budget(self) -> _Stage:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("a stage has epochs or steps, not both")
        return self


class Probe(Strict):
    every: int = Field(10, ge=1)
    images: int = Field(10_000, ge=1)


class Layer(Strict):
    """What any layer may set. `stages` is by stage name; `*` stands for every stage."""

    recon: Literal["sse", "perceptual"] | None = None
    perceptual_net: Literal["vgg16", "efficientnet_lite0"] | None = None
    precision: Literal["fp32", "bf16"] | None = None
    compile: bool | None = None
    d: int | None = Field(None, ge=1)
    flow_width: int | None = Field(None, ge=1)
    train_images: int | None = Field(None, ge=2)
    probe: Probe | None = None
    stages: dict[str, _Stage] = {}
    with_: dict[str, Any] = Field({}, alias="with")


class Dataset(Layer):
    recipe: _Recipe


class Row(Layer):
    """A baseline and what differs from its defaults. `sweep` stands for one row a combination, named
    NAME_argumentVALUE.
    """

    baseline: str | None = None
    on: dict[str, Layer] = {}
    sweep: dict[str, list[Any]] = {}
    by_name: bool = False


class Overlay(Layer):
    """A layer, and one a row or group: what --set may set beside the fields of a profile."""

    rows: dict[str, Layer] = {}


class Profile(Overlay):
    """A named budget. `scale_epochs` multiplies every epoch budget and keeps milestones at the same fraction of the
    stage.
    """

    models: list[str]
    datasets: list[str]
    seeds: int = Field(ge=1)
    draws: int = Field(1, ge=1)
    protocols: list[str]
    scale_epochs: float = Field(1.0, gt=0)


class File(Strict):
    defaults: list[Layer] = []  # the shipped ones and over them the local ones
    datasets: dict[str, Dataset] = {}
    protocols: dict[str, _Protocol] = {}
    rows: dict[str, Row] = {}
    groups: dict[str, list[str]] = {}
    profiles: dict[str, Profile] = {}


def load(local: Path) -> tuple[File, list[str]]:
    """Return the study's file, local over shipped, and the names that the local one replaces."""
    base = shipped() / "benchmarks.yaml"
    content, replaced = _read(base), list[str]()
    defaults = [content.pop("defaults", None) or {}]
    place = local / "benchmarks.yaml"
    if place.is_file() and place.resolve() != base.resolve():
        mine = _read(place)
        defaults.append(mine.pop("defaults", None) or {})
        for section, own in mine.items():
            below = content.setdefault(section, {}) or {}
            replaced += [f"{section}.{n}" for n in own or {} if n in below and below[n] != (own or {})[n]]
            content[section] = {**below, **(own or {})}
    else:
        place = base
    return validated(File, content | {"defaults": defaults}, str(place)), replaced


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected sections such as rows: and profiles:, found {type(content).__name__}")
    for section, names in content.items():
        if not isinstance(names, dict | None):
            raise UserError(f"{path}: {section}: expected names and their settings, found {type(names).__name__}")
    return content


def validated(kind: type[Any], content: Any, where: str) -> Any:
    """Return `content` as a model of `kind`; UserError that names the place of its first fault, after `where`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        told = [where, *([place] if place else []), first["msg"].removeprefix("Value error, ")]
        raise UserError(": ".join(told)) from error


def with_settings(profile: Profile, settings: Sequence[str]) -> tuple[Profile, Overlay]:
    """Read `dotted.path=value` texts, the value as yaml; return the profile with them, and the last layer they make."""
    content: dict[str, Any] = {}
    for text in sorted(settings):  # the profile's name does not hold the order they are given in
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise UserError(f"--set {text}: expected dotted.path=value, such as train_images=4000")
        *parents, last = path.split(".")
        place = content
        for part in parents:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UserError(f"--set {text}: '{part}' holds a value, not settings")
        if last in place:
            raise UserError(f"--set {text}: {path} is set twice")
        try:
            place[last] = yaml.load(value, _Loader)
        except yaml.YAMLError as error:
            raise UserError(f"--set {text}: {' '.join(str(error).split())}") from error
    below = profile.model_dump(exclude_unset=True, by_alias=True)
    changed: Profile = validated(Profile, {**below, **content}, "--set") if settings else profile
    own = {f.alias or name for name, f in Overlay.model_fields.items()}
    overlay: Overlay = validated(Overlay, {k: v for k, v in content.items() if k in own}, "--set")
    return changed, overlay


def expand(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Replace each row that has a sweep by one row a combination of values."""
    found: dict[str, Row] = {}
    for name, row in rows.items():
        variants: dict[str, dict[str, Any]] = {name: {}}
        for argument, swept in row.sweep.items():
            variants = {f"{n}_{argument}{v}": {**w, argument: v} for n, w in variants.items() for v in swept}
        for variant, values in variants.items():
            merged = {"baseline": row.baseline or name, "with_": {**row.with_, **values}, "sweep": {}}
            found[variant] = row.model_copy(update=merged) if row.sweep else row
    return found


class _Loader(yaml.SafeLoader):
    """Safe YAML as its version 1.2 reads it: `on` is a word, 1e-3 a number; and a key that stands twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in found if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")
    ]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$", re.I), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$", re.I),
    list("-+0123456789."),
)
