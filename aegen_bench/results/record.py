"""The record of one trial, or of external images, as a typed model (docs/results-format.md describes the fields).

Records are untrusted. All of them are read by `Record.parse`, which guarantees the types, names and sizes that the rest
of the code relies on, and written by `Record.content`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from aegen_bench.errors import UserError
from aegen_bench.files import finite, is_name, require_plain_json

if TYPE_CHECKING:
    from aegen_bench.evaluation import Protocol, Scores

__all__ = [
    "ANCHORS",
    "EXTERNAL",
    "NEIGHBOURS",
    "NOT_PROFILES",
    "NOT_TRAINING",
    "NO_TRIALS",
    "RECORDED_AFTER_PLANNING",
    "SCHEMA",
    "CorruptRecord",
    "Evaluation",
    "Record",
    "Status",
    "evaluated",
    "stages_with_trunk",
]

SCHEMA = 1
EXTERNAL, ANCHORS = NO_TRIALS = "external", "anchors"  # profiles of image sets that no trial made
NOT_PROFILES = ("tables", "times")  # the other folders of a results folder
NOT_TRAINING = ("probe", "overrides", "shadows", "dagger", "source")
"""Parts of a record's `config` that do not affect training."""
NEIGHBOURS = ("history.json", "samples.png", "artefacts.npz")
"""The files next to a record.json that belong to it."""
RECORDED_AFTER_PLANNING = ("shape", "n_train", "data_sha256")
"""Parts of a record's `config` that are added during training."""

LARGEST_SIDE = 4096  # pixels


class CorruptRecord(UserError):
    """A record that cannot be read; the message names its path. Such files are skipped, never overwritten."""


# ---- types of fields --------------------------------------------------------------------------


def _folder_name(text: str) -> str:
    if not is_name(text):
        raise ValueError("it cannot be the name of a folder")
    return text


Name = Annotated[str, AfterValidator(_folder_name)]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
ProtocolId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""A name chosen by a method or a metric: the key of many objects."""
Number = int | float | None
Numbers = dict[Label, Number]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Length = Annotated[int, Field(ge=1)]
Status = Literal["ok", "diverged", "failed", "timeout"]


class Strict(BaseModel):
    """Strings are not converted to numbers, and unknown fields, of other versions, are kept."""

    model_config = ConfigDict(strict=True, extra="allow", populate_by_name=True)


class _Scored(Strict):
    """Details of an evaluation's protocol, for captions."""

    name: str = ""
    extractor: str = ""
    describe: str = ""
    real_sha256: str = ""


def accepted_by(model: type[Strict]) -> AfterValidator:
    """Validate a dictionary with a model, but keep it as it was written."""

    def check(value: dict[str, Any]) -> dict[str, Any]:
        model.model_validate(value)
        return value

    return AfterValidator(check)


class _Plan(Strict):
    """The plan of a stage. Absent entries are left out, never null."""

    epochs: Length = 1
    steps: Length = 1
    batch: Length = 1


class _Stage(_Plan):
    unscaled: Annotated[dict[str, Any], accepted_by(_Plan)] = {}


def _settings(value: dict[str, Any]) -> dict[str, Any]:
    _Config.model_validate(value)
    return value


class _Config(Strict):
    """The settings that the harness reads back. A method's own arguments are not checked here."""

    baseline: str = ""
    code: str = ""
    recon: str = ""
    perceptual_net: str = ""
    precision: str = ""
    compile: bool = False
    d: Annotated[int, Field(ge=1)] | None = None
    flow_width: Annotated[int, Field(ge=1)] | None = None
    shape: Annotated[list[Annotated[int, Field(ge=1, le=LARGEST_SIDE)]], Field(min_length=3, max_length=3)] | None = (
        None
    )
    n_train: Annotated[int, Field(ge=1)] | None = None
    train_images: Annotated[int, Field(ge=1)] | None = None
    data_sha256: str = ""
    stages: dict[Label, Annotated[dict[str, Any], accepted_by(_Stage)]] = {}
    with_: dict[str, Any] = Field({}, alias="with")
    recipe: dict[str, Any] = {}
    prior: str = ""
    trunk: Annotated[dict[str, Any], AfterValidator(_settings)] = {}  # of a pair, with the name of its row
    row: str = ""
    probe: dict[str, Any] | None = None
    overrides: list[str] = []
    dagger: list[str] = []


class _Git(Strict):
    commit: str = ""
    dirty: bool | None = None


class _Environment(Strict):
    device: str = ""
    products: str = ""
    python: str = ""
    aegen_bench: str = ""
    versions: dict[Label, str] = {}
    git: _Git = _Git()
    trials_at_once: Annotated[int, Field(ge=1)] = 1
    graphs: bool = True


def _metric_settings(value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    _Scored.model_validate(value.get("protocol", {}))
    return value


# ---- the record -------------------------------------------------------------------------------


class Evaluation(Strict):
    """The scores under one protocol id: numbers by draw and of the model, settings, and the reasons of failures."""

    draws: Annotated[list[Numbers], Field(max_length=10_000)]
    model: Numbers
    settings: Annotated[dict[Label, dict[str, Any]], AfterValidator(_metric_settings)]
    failed: dict[Label, str]

    @classmethod
    def nothing(cls) -> Evaluation:
        """Return an evaluation without any scores."""
        return cls(draws=[], model={}, settings={}, failed={})

    @property
    def about(self) -> dict[str, Any]:
        """Details of the protocol: name, extractor, description and the sha256 of the real images."""
        return self.settings.get("protocol", {})


class TrunkUsed(Strict):
    """The trained auto-encoder of a pair: the key of its trial and the sha256 of its weights."""

    key: Key
    weights_sha256: Sha256


T = TypeVar("T")


def stages_with_trunk(below: Mapping[str, T], own: Mapping[str, T]) -> dict[str, T]:
    """Return what is known of the stages of a pair: those of its trunk, `below`, then those of its prior."""
    return {f"trunk {name}" if name in own else name: value for name, value in below.items()} | dict(own)


class Record(Strict):
    """One trial, or one set of external images. Numbers that are NaN in memory are null in the file."""

    version: Annotated[Literal[1], Field(alias="schema")] = 1
    key: Key
    profile: Name
    dataset: Name
    row: Name
    seed: Seed
    status: Status = "ok"
    reason: str = ""
    metrics: dict[ProtocolId, Evaluation] = {}
    stages: dict[Label, Numbers] = {}
    seconds: Numbers = {}
    peak_memory: Number = None
    parameters: Numbers = {}
    layers: dict[Label, str] = {}
    facts: Numbers = {}
    config: Annotated[dict[str, Any], accepted_by(_Config)] = {}
    environment: Annotated[dict[str, Any], accepted_by(_Environment)] = {}
    collapsed: bool | None = False
    trunk: TrunkUsed | None = None  # only in the record of a pair
    weights_sha256: Sha256 | None = None  # absent if no weights were kept, and in older records

    @classmethod
    def parse(cls, content: object) -> Record:
        """Validate the content of a file (`files.read_json`); ValueError if it is not a record."""
        if not isinstance(content, dict):
            raise ValueError("not an object")
        if (schema := content.get("schema")) != SCHEMA or isinstance(schema, bool):
            newer = isinstance(schema, int) and schema > SCHEMA
            raise NewerSchema if newer else ValueError(f"its schema is {schema!r:.40}")
        if missing := [name for name in _REQUIRED if name not in content]:
            raise ValueError(f"'{missing[0]}' is missing")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ValueError(in_words(error)) from None

    def content(self) -> dict[str, Any]:
        """Return the content of its file; ValueError if that could not be read again."""
        content = finite(self.model_dump(by_alias=True))
        for name in _OPTIONAL:
            if content[name] is None:
                del content[name]
        require_plain_json(content)
        Record.parse(content)
        return content  # type: ignore[no-any-return]

    @property
    def place(self) -> tuple[str, str, str, str]:
        """The names of its folders: profile, dataset, row, seed-K."""
        return self.profile, self.dataset, self.row, f"seed-{self.seed}"

    @property
    def label(self) -> str:
        """The name in messages: 'lite/fashion/glf/seed-0'."""
        return "/".join(self.place)

    def lacking(self, protocol: str, metrics: Iterable[str]) -> set[str]:
        """Return those of a protocol's metrics that were not computed under the protocol's id, or failed."""
        entry = self.metrics.get(protocol) or Evaluation.nothing()
        return {name for name in metrics if name not in entry.settings or name in entry.failed}

    def stands_for(self, key: str, real: Mapping[str, str]) -> bool:
        """Whether it has this key and, as far as it states that, was compared with these real images ({protocol id:
        sha256}).
        """
        known = {protocol: entry.about.get("real_sha256") for protocol, entry in self.metrics.items()}
        return self.key == key and all((known.get(protocol) or sha256) == sha256 for protocol, sha256 in real.items())

    def weights_path(self, folder: Path) -> Path:
        """Return the path of its weights. The name contains the key and a hash of the content, since trials of other
        profiles or machines can have the same key. Older names contain only the key.
        """
        old = folder / f"{self.key}.safetensors"
        named = folder / f"{self.key}-{(self.weights_sha256 or '')[:8]}.safetensors"
        return named if self.weights_sha256 and (named.is_file() or not old.is_file()) else old

    def trunk_path(self, folder: Path) -> Path | None:
        """Return the path of the weights of a pair's trunk; None for a trial that is not a pair."""
        if self.trunk is None:
            return None
        return folder / f"{self.trunk.key}-{self.trunk.weights_sha256[:8]}.safetensors"

    def all_weights(self, folder: Path) -> list[Path]:
        """Return the files that are needed to restore its model: its own weights and, for a pair, its trunk's."""
        trunk = self.trunk_path(folder)
        return [self.weights_path(folder), *([trunk] if trunk else [])]

    def has_weights(self, folder: Path) -> bool:
        """Whether all weights of its model exist."""
        return all(path.is_file() for path in self.all_weights(folder))


class NewerSchema(ValueError):
    """A record written by a newer version."""


_OPTIONAL = ("trunk", "weights_sha256")
_REQUIRED = [field.alias or name for name, field in Record.model_fields.items() if name not in _OPTIONAL]


def in_words(error: ValidationError) -> str:
    """Return the first problem: where it is, the value, and what was expected."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part)[:60] for part in first["loc"] if part not in ("int", "float"))
    return f"'{where}' cannot be {first['input']!r:.40}: {first['msg'][:120]}"


def evaluated(protocol: Protocol, scores: Scores, real_sha256: str, environment: Mapping[str, Any]) -> Evaluation:
    """Return the evaluation for the protocol's id, in which each metric states the commit and device it was computed
    with.
    """
    about = {
        "name": protocol.name,
        "extractor": protocol.extractor,
        "describe": protocol.describe(),
        "real_sha256": real_sha256,
    }
    commit, version = environment["git"].get("commit", ""), environment["aegen_bench"]
    by = {"device": environment["device"], "commit": commit, "aegen_bench": version}
    settings = {name: {**of_metric, "by": by} for name, of_metric in scores.settings.items()}
    return Evaluation(**{**scores.entry(), "settings": {"protocol": about} | settings})
