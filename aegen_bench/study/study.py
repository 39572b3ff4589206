"""benchmarks.yaml -> a validated Study -> the requested Trials. Does not import torch.

Settings come in layers with the same grammar (`grammar.Layer`), and later layers win: defaults, dataset, row, row on
dataset, profile, profile's row, --set. The local yaml is merged into the shipped one, name by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from aegen_bench import results
from aegen_bench.data import discover
from aegen_bench.errors import UserError, unknown
from aegen_bench.evaluation import extractors
from aegen_bench.evaluation.protocol import Protocol
from aegen_bench.files import is_name
from aegen_bench.study import catalog
from aegen_bench.study.grammar import Dataset, Layer, Overlay, Probe, Row, expand, is_fit, load, members, with_settings
from aegen_bench.study.settings import resolve

__all__ = ["NUMERICS", "Study", "Trial"]

NUMERICS = 1
"""Part of every trial's key. Increase it when a change to the harness (nets, loop, seeding) changes trained models."""


@dataclass(frozen=True)
class Trial:
    """One row trained on one dataset with one seed, and everything that determines its numbers.

    For a pair, `trunk` is the trial that trains its auto-encoder.
    """

    profile: str
    dataset: str
    row: str
    seed: int
    config: Mapping[str, Any]
    trunk: Trial | None = None

    NOT_TRAINING: ClassVar = (*results.NOT_TRAINING, "numerics")

    @cached_property
    def key(self) -> str:
        """A hash, 16 hex digits, of what determines training: code, settings, data, subset, seed, NUMERICS."""
        training = {k: v for k, v in self.config.items() if k not in self.NOT_TRAINING}
        if "trunk" in training:  # a pair's key includes that of its trunk
            below = dict(training["trunk"])
            training["trunk"] = Trial(self.profile, self.dataset, str(below.pop("row", "")), self.seed, below).key
        text = json.dumps([NUMERICS, self.dataset, self.seed, training], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def folder(self, root: Path) -> Path:
        """Return the folder of the trial's record and its other files."""
        return results.trial_folder(root, self.profile, self.dataset, self.row, self.seed)

    @property
    def label(self) -> str:
        """The trial's name in messages: 'glf on fashion, seed 0'."""
        return f"{self.row} on {self.dataset}, seed {self.seed}"


class Study:
    """The study as defined by yaml files and baselines.

    Args:
        profile: Name of a profile.
        local: The working directory, whose `benchmarks.yaml` and `baselines/` add to and replace the shipped ones.
        data: The data folder. Its undeclared npz files and image folders are datasets, too.
        settings: Texts for `--set`, such as "train_images=4000".

    Raises:
        UserError: The yaml is invalid, or a name is unknown.
    """

    def __init__(self, profile: str, *, local: Path, data: Path, settings: Sequence[str] = ()) -> None:
        self.entries, self.priors = catalog.find(local), catalog.find_priors(local)
        file, self.shadowed = load(local)
        found = {name: recipe for name, recipe in discover(data).items() if is_fit(name) and name != "all"}
        undeclared = {name: recipe for name, recipe in found.items() if name not in file.datasets}
        self.datasets = file.datasets | {
            name: Dataset.model_validate({"recipe": recipe.model_dump()}) for name, recipe in undeclared.items()
        }
        self.protocols = {name: p.model_copy(update={"name": name}) for name, p in file.protocols.items()}
        self.profiles = file.profiles
        self._defaults = file.defaults
        self._sweeps, declared = members(file.rows), expand(file.rows)
        trunks = {row.trunk for row in declared.values()}
        plain = [name for name in self.entries if name not in self._sweeps or name in trunks]
        self.rows = {name: Row() for name in plain} | declared
        sets = (pair for name, row in file.rows.items() if row.trunks for pair in self._sweeps[name])
        self.listed_pairs = set(sets) - file.rows.keys()
        """Rows that come from a set of trunks and priors and have no entry of their own."""
        self._groups = file.groups
        self._resolved: dict[tuple[str, str], dict[str, Any]] = {}
        if profile not in self.profiles:
            raise unknown("profile", profile, self.profiles)
        self.profile_name = "+".join([profile, *(quote(s, safe="=.,*:[]") for s in sorted(settings))])
        self.profile, self._set = with_settings(self.profiles[profile], settings)
        if not is_name(self.profile_name):
            raise UserError("these --set are too long for the name of a folder: declare a profile in benchmarks.yaml")
        self._named = self.profiles[profile]
        self._check_names()

    # ---- names ----------------------------------------------------------------------------------

    @property
    def groups(self) -> dict[str, list[str]]:
        """All groups of rows by name. `all` contains every row that is not in a sweep and not `by_name`."""
        swept = {name for group, names in self._sweeps.items() for name in (group, *names)}
        rest = [name for name, row in self.rows.items() if name not in swept and not row.by_name]
        named = {g: [r for n in names for r in self._sweeps.get(n, [n])] for g, names in self._groups.items()}
        return {"all": rest, **self._sweeps, **named}

    @property
    def unlisted(self) -> set[str]:
        """Rows that are neither in `all` nor among the profile's models, so that they are only trained by name or as
        the trunk of a pair.
        """
        return self.rows.keys() - self.groups["all"] - set(self.models(self.profile.models))

    def crossed(self, rows: Iterable[str]) -> set[str]:
        """Return the pairs among these rows that have no entry of their own, if they are a matrix: two trunks and two
        priors, or more.
        """
        pairs = self.listed_pairs & set(rows)
        trunks, priors = ({getattr(self.rows[pair], part) for pair in pairs} for part in ("trunk", "prior"))
        return pairs if len(trunks) > 1 and len(priors) > 1 else set()

    def models(self, names: Sequence[str]) -> list[str]:
        """Expand names of rows and groups into rows, without duplicates, in the given order."""
        groups, rows = self.groups, []
        for name in names:
            if name not in groups and name not in self.rows:
                raise unknown("model", name, [*self.rows, *groups])
            rows += groups.get(name, [name])
        return list(dict.fromkeys(rows))

    def dataset_names(self, names: Sequence[str]) -> list[str]:
        """Expand `all` into the profile's datasets and check the other names."""
        chosen = [d for name in names for d in (self.profile.datasets if name == "all" else [name])]
        for name in chosen:
            if name not in self.datasets:
                raise unknown("dataset", name, self.datasets)
        return list(dict.fromkeys(chosen))

    def chosen_protocols(self, dataset: str) -> list[Protocol]:
        """Return the profile's protocols whose extractors have weights for the dataset; UserError if there is none."""
        named: list[Protocol] = [self.protocols[name] for name in self.profile.protocols]
        chosen = [p for p in named if extractors.recipe(p.extractor).applies(dataset)]
        if not chosen:
            raise UserError(
                f"profile {self.profile_name} cannot score {dataset}: "
                f"no extractor of its protocols ({', '.join(self.profile.protocols)}) has weights for it"
            )
        return chosen

    @property
    def described(self) -> dict[str, str]:
        """The descriptions of all protocols by id."""
        return {protocol.id: protocol.describe() for protocol in self.protocols.values()}

    def scoring(self, row: str, dataset: str) -> tuple[list[Protocol], int]:
        """Return the protocols of a row on a dataset, with the metrics that the profile wants of it, and its draws."""
        usual = self.chosen_protocols(dataset)
        protocols, draws = usual, self.profile.draws
        for name, own in self.profile.scoring.items():
            if row == name or row in self.groups.get(name, []):
                draws = own.draws or draws
                if own.metrics:
                    kept = [(p, tuple(m for m in p.metrics if m in own.metrics)) for p in usual]
                    protocols = [p.model_copy(update={"metrics": metrics}) for p, metrics in kept if metrics]
        return protocols, draws

    def _check_names(self) -> None:
        """Check that every name that one section uses for an entry of another exists."""
        stages = {stage for entry in (*self.entries.values(), *self.priors.values()) for stage in entry.stages}
        layers: list[tuple[str, Layer, Collection[str]]] = [("defaults", layer, stages) for layer in self._defaults]
        layers += [(f"datasets.{name}", dataset, stages) for name, dataset in self.datasets.items()]
        for name, row in self.rows.items():
            if row.trunk and row.prior:
                _require(f"trunk of rows.{name}", [row.trunk], self.rows)
                _require(f"prior of rows.{name}", [row.prior], self.priors)
                if self.rows[row.trunk].trunk:
                    raise UserError(
                        f"rows.{name}: its trunk {row.trunk} is a pair itself, and a trunk is an auto-encoder"
                    )
            else:
                _require(f"baseline of rows.{name}", [row.baseline or name], self.entries)
            _require(f"dataset of rows.{name}.on", row.on, self.datasets)
            own = self._stages(name)
            layers += [(f"rows.{name}", row, own), *((f"rows.{name}.on.{d}", on, own) for d, on in row.on.items())]
        for name, rows in self._groups.items():
            if name in self.rows:
                raise UserError(f"groups.{name}: '{name}' is a row, too: use another name")
            _require(f"row of groups.{name}", rows, [*self.rows, *self._sweeps])
        for name, profile in {**self.profiles, self.profile_name: self.profile}.items():
            _require(f"model of profiles.{name}", [*profile.models, *profile.rows], [*self.rows, *self.groups])
            _require(f"dataset of profiles.{name}", profile.datasets, self.datasets)
            _require(f"protocol of profiles.{name}", profile.protocols, self.protocols)
            _require(f"row of profiles.{name}.scoring", profile.scoring, [*self.rows, *self.groups])
            measured = {metric for protocol in profile.protocols for metric in self.protocols[protocol].metrics}
            for scored, scoring in profile.scoring.items():
                _require(f"metric of profiles.{name}.scoring.{scored}", scoring.metrics or [], measured)
            layers += [(f"profiles.{name}", profile, stages)]
            for named, layer in profile.rows.items():
                layers += [(f"profiles.{name}.rows.{named}", layer, self._stages(r)) for r in self.models([named])]
        for where, layer, legal in layers:
            _require(f"stage of {where}", layer.stages, [*legal, "*"])

    def _stages(self, row: str) -> Collection[str]:
        """Return the stages that a row may set; for a broken baseline, whatever it sets."""
        entry, settings = self.entry(row), self.rows[row]
        return [s for layer in (settings, *settings.on.values()) for s in layer.stages] if entry.error else entry.stages

    # ---- trials ---------------------------------------------------------------------------------

    def trials(self, models: Sequence[str], datasets: Sequence[str], seeds: Sequence[int]) -> list[Trial]:
        """Return all combinations, ordered by dataset, seed, model. Broken baselines are left out, see `broken`."""
        rows = [m for m in models if not self.entry(m).error]
        configs = {(m, d): self.config(m, d) for m in rows for d in datasets}
        return [self._trial(m, d, s, configs[m, d]) for d in datasets for s in seeds for m in rows]

    def _trial(self, row: str, dataset: str, seed: int, config: Mapping[str, Any]) -> Trial:
        """Return a trial; for a pair, with the trial of its trunk."""
        trunk = self.rows[row].trunk
        below = self._trial(trunk, dataset, seed, self.config(trunk, dataset)) if trunk else None
        return Trial(self.profile_name, dataset, row, seed, config, below)

    def aliases(self, trial: Trial) -> list[Trial]:
        """Return the same trial under the names of other rows, which pair the same trunk and prior."""
        row = self.rows[trial.row]
        names = [
            n for n, other in self.rows.items() if row.trunk and (other.trunk, other.prior) == (row.trunk, row.prior)
        ]
        others = self.trials([n for n in names if n != trial.row], [trial.dataset], [trial.seed])
        return [other for other in others if other.key == trial.key]

    def broken(self, models: Sequence[str]) -> dict[str, str]:
        """Return the rows whose baseline cannot be read, with the reason."""
        return {m: self.entry(m).error for m in models if self.entry(m).error}

    def entry(self, row: str) -> catalog.Method:
        """Return the method of a row; for a pair its prior, with the method of its trunk."""
        settings = self.rows[row]
        if settings.trunk and settings.prior:
            trunk, prior = self.entry(settings.trunk), self.priors[settings.prior]
            lacking = [hook for hook in ("encode", "decode") if hook not in trunk.hooks and not trunk.error]
            if lacking:
                error = f"its trunk {settings.trunk} has no {lacking[0]}r, and a pair needs its codes"
                return replace(prior, trunk=trunk, error=error)
            return replace(prior, trunk=trunk, error=prior.error or trunk.error)
        name = settings.baseline or row
        if name not in self.entries:
            raise unknown(f"baseline of row {row}", name, self.entries)
        return self.entries[name]

    def config(self, row: str, dataset: str) -> dict[str, Any]:
        """Return the resolved settings of a row on a dataset under this profile."""
        if (row, dataset) not in self._resolved:
            self._resolved[row, dataset] = self._config(row, dataset)
        return dict(self._resolved[row, dataset])

    def _config(self, row: str, dataset: str) -> dict[str, Any]:
        entry, settings = self.entry(row), self.rows[row]
        if settings.trunk:
            return self._pair(row, dataset, settings.trunk)
        resolved = self._layered(row, dataset, entry.stages)
        if entry.likelihood and resolved["recon"] != "sse":
            raise UserError(
                f"row {row}: {entry.name} needs a likelihood, so its recon must be 'sse', not '{resolved['recon']}'"
            )
        if entry.optimizers:
            for stage, plan in resolved["stages"].items():
                _require(f"optimizer of {entry.name}, stage {stage},", plan["optimizers"], entry.optimizers)
        if "probe" in resolved:
            resolved["probe"] = Probe(**resolved["probe"]).model_dump()
        return {
            **resolved,
            "dagger": [resolved["perceptual_net"]] if resolved["recon"] == "perceptual" else [],
            "baseline": entry.name,
            "code": entry.code,
            "numerics": NUMERICS,  # part of the key anyway; here so that records state it
            "with": entry.check(resolved["with"]),
            "recipe": self.datasets[dataset].recipe.model_dump(exclude_defaults=True),
            "shadows": str(entry.shadows or ""),
        }

    def _pair(self, row: str, dataset: str, trunk: str) -> dict[str, Any]:
        """Return the settings of a pair: those of its trunk, with the stages and arguments of the prior."""
        below, prior = self.config(trunk, dataset), self.entry(row)
        resolved = self._layered(row, dataset, prior.stages)
        for stage, plan in resolved["stages"].items():
            _require(f"optimizer of {prior.name}, stage {stage},", plan["optimizers"], prior.optimizers)
        shadows = [str(path) for path in (prior.shadows, below["shadows"]) if path]
        return {
            **{name: value for name, value in below.items() if name != "probe"},
            "stages": resolved["stages"],
            "overrides": list(dict.fromkeys([*below["overrides"], *resolved["overrides"]])),
            "prior": prior.name,
            "code": prior.code,
            "with": prior.check(resolved["with"]),
            "trunk": {"row": trunk, **{k: v for k, v in below.items() if k not in results.NOT_TRAINING}},
            "shadows": ", ".join(shadows),
        }

    def _layered(self, row: str, dataset: str, stages: Sequence[str]) -> dict[str, Any]:
        """Return all layers that apply to a row on a dataset, resolved for these stages."""
        settings = self.rows[row]
        own = [*self._defaults, self.datasets[dataset], settings, settings.on.get(dataset, Layer())]
        profile = [layer for p in (self._named, self._set) for layer in self._overlaid(p, row)]
        of_row, of_profile = [_plain(layer) for layer in own], [_plain(layer) for layer in profile]
        return resolve(of_row, of_profile, stages, self.profile.scale_epochs)

    def _overlaid(self, overlay: Overlay, row: str) -> list[Layer]:
        """Return the layers of an overlay that apply to a row: for all rows, for its groups, for the row itself."""
        groups = [layer for name, layer in overlay.rows.items() if row in self.groups.get(name, [])]
        return [overlay, *groups, overlay.rows.get(row, Layer())]


def _require(kind: str, names: Iterable[str], legal: Collection[str]) -> None:
    for name in names:
        if name not in legal:
            raise unknown(kind, name, legal)


def _plain(layer: Layer) -> dict[str, Any]:
    """Return the explicit settings of a layer, without fields that only its kind of section has."""
    return layer.model_dump(include=set(Layer.model_fields), exclude_unset=True, exclude_none=True, by_alias=True)
