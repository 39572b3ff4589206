"""The grammar of benchmarks.yaml: its sections as pydantic models.

Every section is strict: an unknown key is an error that suggests the closest valid one, and every number has a range.
A layer of settings follows the same rules in the file, in a profile and after --set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from aegen_bench.data import Recipe
from aegen_bench.errors import UserError
from aegen_bench.evaluation.protocol import Protocol
from aegen_bench.files import is_name
from aegen_bench.results import NO_TRIALS, NOT_PROFILES
from aegen_bench.study.catalog import shipped
from aegen_bench.study.reading import DEEPEST, Strict, parse_yaml, read_yaml, storable, validated

__all__ = [
    "MOST_SEEDS",
    "Dataset",
    "File",
    "Layer",
    "Overlay",
    "Probe",
    "Profile",
    "Row",
    "expand",
    "is_fit",
    "load",
    "members",
    "with_settings",
]

MOST_SEEDS = 1_000
MOST_ROWS = 1_000  # of one sweep
RESERVED = {"all"}
FOLDERS = {*NO_TRIALS, *NOT_PROFILES}  # folders of a results folder that are not profiles


Precision = Literal["fp32", "tf32", "bf16"]


def is_fit(name: str) -> bool:
    """Whether this is a valid name in the study: names become folders and parts of comma-separated lists."""
    return is_name(name) and len(name) <= 100 and name[0] not in ".-" and not set(name) & set(",`")


def _name(text: str) -> str:
    if not is_fit(text):
        raise ValueError(
            f"{text[:40]!r} cannot be a name: use up to 100 letters, digits and underscores, and none of , ` / or a "
            "leading dot"
        )
    return text


def _free_name(text: str) -> str:
    if text in RESERVED:
        raise ValueError(f"'{text}' has a special meaning on the command line: use another name")
    return _name(text)


def _profile_name(text: str) -> str:
    if text in FOLDERS:
        raise ValueError(f"'{text}' is a reserved folder of results: use another name")
    if "+" in text:
        raise ValueError(f"'{text}': a + separates the settings of --set: use another name")
    return _name(text)


def _stored(values: dict[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        if not storable(value):
            raise ValueError(f"{name} cannot be {value!r:.60}: use finite numbers, text, lists and objects of these")
    return values


def _distinct(values: list[Any]) -> list[Any]:
    seen: list[tuple[Any, bool]] = []
    for value in values:
        if (value, value is True or value is False) in seen:  # 1 and 1.0 are equal, 1 and true are not
            raise ValueError(f"{value!r} is listed twice")
        seen.append((value, value is True or value is False))
    return values


Name = Annotated[str, AfterValidator(_name)]
FreeName = Annotated[str, AfterValidator(_free_name)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Draws = Annotated[int, Field(ge=1, le=1_000)]
Rate = Annotated[float, Field(gt=0, le=100)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Milestone = Annotated[float, Field(gt=0)]
Factor = Annotated[float, Field(gt=0)]
Arguments = Annotated[dict[str, Any], AfterValidator(_stored)]
Values = Annotated[list[Any], Field(min_length=1, max_length=MOST_ROWS), AfterValidator(_distinct)]
Names = Annotated[list[str], Field(min_length=1)]
Several = Annotated[list[str], Field(max_length=MOST_ROWS), AfterValidator(_distinct)]


class Section(Strict, BaseModel):
    """A section of benchmarks.yaml. Numbers must be finite; booleans and quoted text are not numbers."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


MEANS_DEFAULT = {"baseline", "trunk", "prior"}  # of a row, where null is the same as leaving it out
INSTEAD = {  # of null
    "train_images": "for all images, write a number that no dataset reaches, such as 1000000000",
    "probe": "for a probe only at the end of a stage, write {every: 1000000000}",
    "compile": "write false",
    "lr_at": "for a constant rate, write {}",
}


class Settings(Section):
    """Settings that win over those of lower layers. A null would not unset these, so it is an error."""

    @field_validator("*", mode="before")
    @classmethod
    def _not_null(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name not in MEANS_DEFAULT:
            instead = INSTEAD.get(str(info.field_name), "leave the setting out, or write a value")
            raise ValueError(f"null unsets nothing: {instead}")
        return value


class _Recipe(Section, Recipe):
    """A recipe in the yaml."""


class _Protocol(Section, Protocol):
    """A protocol in the yaml."""

    metrics: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = ("fd", "prd", "reconstruction")


class _Optimizer(Settings):
    lr: Rate | None = None
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None


class _Stage(Settings):
    epochs: Count | None = None
    steps: Count | None = None
    batch: Annotated[Count, Field(ge=2)] | None = None
    lr: Rate | None = None
    lr_at: dict[Milestone, Factor] | None = None
    optimizers: dict[str, _Optimizer] = {}

    @model_validator(mode="after")
    def _one_budget(self) -> _Stage:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("a stage has epochs or steps, not both")
        return self


class Probe(Settings):
    """Measurements during training: every so many epochs, on so many images."""

    every: Count = 10
    images: Count = 10_000


class Layer(Settings):
    """The settings of every layer. `stages` is keyed by stage name; `*` means all stages."""

    recon: Literal["sse", "perceptual"] | None = None
    perceptual_net: Literal["vgg16", "efficientnet_lite0"] | None = None
    precision: Precision | None = None
    perceptual_precision: Precision | None = None
    compile: bool | None = None
    d: Count | None = None
    flow_width: Count | None = None
    train_images: Annotated[Count, Field(ge=2)] | None = None
    probe: Probe | None = None
    stages: dict[str, _Stage] = {}
    with_: Arguments = Field({}, alias="with")


class Dataset(Layer):
    """A dataset: its recipe, and settings for all rows trained on it."""

    recipe: _Recipe


class Row(Layer):
    """A baseline with the settings that differ from the defaults.

    `sweep` stands for one row per combination of values, named NAME_argumentVALUE. A row with `trunk` and `prior` is a
    pair: the prior on the codes of the row `trunk`. A row with `trunks` and `priors` stands for all of their pairs,
    named TRUNK+PRIOR.
    """

    baseline: str | None = None
    trunk: str | None = None
    prior: str | None = None
    trunks: Several = []
    priors: Several = []
    on: dict[str, Layer] = {}
    sweep: dict[str, Values] = {}
    by_name: bool = False

    @model_validator(mode="after")
    def _sweep_is_of_a_sensible_size(self) -> Row:
        if bool(self.trunk) != bool(self.prior) or bool(self.trunks) != bool(self.priors):
            raise ValueError("a pair has a trunk and a prior, or trunks and priors")
        if pair := self.trunk or self.trunks:
            own = {"baseline", *Layer.model_fields} - {"stages", "with_", "probe"}
            if self.trunk and self.trunks:
                raise ValueError("a pair has trunk and prior, or trunks and priors, not both")
            if foreign := sorted(own & self.model_fields_set) + ["probe"] * (self.probe is not None):
                raise ValueError(f"{foreign[0]} belongs to the trunk: set it in the row {pair}")
            if self.trunks and (self.sweep or self.with_ or self.stages or self.on):
                raise ValueError("pairs of trunks and priors take no settings: write a row of one trunk and one prior")
        if (rows := prod(len(values) for values in self.sweep.values())) > MOST_ROWS:
            raise ValueError(f"its sweep has {rows:,} rows, more than {MOST_ROWS:,}")
        return self


class Overlay(Layer):
    """A layer for all rows, and layers for single rows or groups: the settings of a profile and of --set."""

    rows: dict[str, Layer] = {}


class Scoring(Settings):
    """How some rows are scored instead: on another number of draws, or by only these of the protocols' metrics."""

    draws: Draws | None = None
    metrics: Names | None = None


class Profile(Overlay):
    """A named choice of rows, datasets, seeds and budget.

    `scale_epochs` multiplies the number of epochs of every stage and moves milestones proportionally. `scoring` is
    keyed by rows and groups; of several entries for a row, the last one wins, setting by setting.
    """

    models: Names
    datasets: Names
    seeds: int = Field(ge=1, le=MOST_SEEDS)
    draws: Draws = 1
    protocols: Names
    scoring: dict[str, Scoring] = {}
    scale_epochs: float = Field(1.0, gt=0, le=1_000)


class File(Section):
    """benchmarks.yaml: the shipped file with the local one merged into it."""

    defaults: list[Layer] = []  # the shipped ones, then the local ones, which win
    datasets: dict[FreeName, Dataset] = {}
    protocols: dict[Name, _Protocol] = {}
    rows: dict[FreeName, Row] = {}
    groups: dict[FreeName, Names] = {}
    profiles: dict[Annotated[str, AfterValidator(_profile_name)], Profile] = {}

    @model_validator(mode="after")
    def _a_name_means_one_thing(self) -> File:
        for name in self.groups:
            if name in self.rows:
                raise ValueError(f"'{name}' is a row and a group: use two names")
        return self


def load(local: Path) -> tuple[File, list[str]]:
    """Return the study's file, the local one merged into the shipped one, and the names that the local one replaces."""
    base = shipped() / "benchmarks.yaml"
    content, replaced = _read(base), list[str]()
    defaults = [content.pop("defaults", None) or {}]
    place = local / "benchmarks.yaml"
    if os.path.lexists(place) and os.path.realpath(place) != os.path.realpath(base):
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
    content = read_yaml(path) or {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected sections such as rows: and profiles:, found {type(content).__name__}")
    for section, names in content.items():
        if not isinstance(names, dict | None):
            raise UserError(f"{path}: {section}: expected names and their settings, found {type(names).__name__}")
    return content


def with_settings(profile: Profile, settings: Sequence[str]) -> tuple[Profile, Overlay]:
    """Parse texts `dotted.path=value`, the value as yaml. Return the profile with them, and the layer of --set."""
    content: dict[str, Any] = {}
    whole = profile.model_dump(exclude_unset=True, by_alias=True)
    layer = {f.alias or name for name, f in Overlay.model_fields.items()}
    for text in sorted(settings):  # their order must not matter, because the profile's name does not keep it
        path, equals, value = text.partition("=")
        said = "--set " + " ".join(text.split())
        said = said if len(said) < 80 else f"{said[:80]}..."
        if not equals or not path:
            raise UserError(f"{said}: expected dotted.path=value, such as train_images=4000")
        *parents, last = path.split(".")
        if len(parents) > DEEPEST:
            raise UserError(f"{said}: no setting has a path of {len(parents) + 1:,} names")
        place = content
        for part in parents:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UserError(f"{said}: '{part}' is a value, not a section")
        if last in place:
            raise UserError(f"{said}: {path} is set twice")
        place[last] = parse_yaml(value, said)
        if path.partition(".")[0] not in layer:
            whole = _replaced(whole, [*parents, last], place[last])
    on_all = {k: v for k, v in content.items() if k in layer}  # merged with the profile's layers by `settings.resolve`
    changed: Profile = validated(Profile, {**whole, **on_all}, "--set") if settings else profile
    overlay: Overlay = validated(Overlay, on_all, "--set")
    return changed, overlay


def _replaced(section: Any, path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return a section with one value, at a path of names, replaced or added."""
    first, *rest = path
    inside = section if isinstance(section, dict) else {}
    return {**inside, first: _replaced(inside.get(first), rest, value) if rest else value}


def expand(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Replace each row with a sweep by one row per combination of values, and each set of pairs by its pairs."""
    found: dict[str, Row] = {}
    for name, row in rows.items():
        if row.trunks:
            for trunk, prior in _pairs(row):
                pair = f"{trunk}+{prior}"
                if not is_fit(pair):
                    raise UserError(f"rows.{name}: a pair cannot be named {pair}")
                if pair not in rows:  # an explicit row takes precedence
                    found[pair] = Row(trunk=trunk, prior=prior, by_name=row.by_name)
            continue
        variants: dict[str, dict[str, Any]] = {name: {}}
        for argument, swept in row.sweep.items():
            variants = {f"{n}_{argument}{v}": {**w, argument: v} for n, w in variants.items() for v in swept}
        for variant, values in variants.items():
            merged = {
                "baseline": row.baseline or (None if row.trunk else name),
                "with_": {**row.with_, **values},
                "sweep": {},
            }
            if variant in found or (row.sweep and variant in rows):
                raise UserError(f"rows.{name}: its sweep has a row '{variant}', but another row has that name")
            if not is_fit(variant):
                raise UserError(f"rows.{name}: its sweep has a row '{variant[:60]}', which is not a valid name")
            found[variant] = row.model_copy(update=merged) if row.sweep else row
    return found


def _pairs(row: Row) -> list[tuple[str, str]]:
    return [(trunk, prior) for trunk in row.trunks for prior in row.priors]


def members(rows: Mapping[str, Row]) -> dict[str, list[str]]:
    """Return the rows that each sweep, or set of pairs, stands for."""
    return {
        name: [f"{trunk}+{prior}" for trunk, prior in _pairs(row)] if row.trunks else list(expand({name: row}))
        for name, row in rows.items()
        if row.sweep or row.trunks
    }
