"""Published numbers (published.yaml), looked up by table, row and dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aegen_bench.errors import UserError
from aegen_bench.study.catalog import shipped
from aegen_bench.study.reading import read_yaml, validated

__all__ = ["Published", "default", "load"]

# Table 1 and 4: lower is better; Table 3: higher is.
_HIGHER_IS_BETTER = ("f8", "f1_8")


@dataclass(frozen=True)
class Published:
    """The content of published.yaml. The numbers of a cell: {mean, std}, {f8, f1_8} or {first, second}."""

    path: Path
    content: dict[str, Any]

    @property
    def datasets(self) -> list[str]:
        """The datasets of the paper, in its order."""
        return list(self.content["meta"]["datasets"])

    def name(self, key: str) -> str:
        """Return the display name of a row or dataset: a pair by its trunk and prior; other unknown keys unchanged."""
        names = self.content["names"]
        parts = key.split("+")
        known = len(parts) == 2 and all(part in names for part in parts)
        return str(names.get(key, " + ".join(str(names[part]) for part in parts) if known else key))

    def rows(self, table: int) -> list[str]:
        """Return the rows of a table in the paper's order; empty for a table without numbers."""
        return list(self.content.get(f"table{table}", {}))

    def source(self, table: int, row: str) -> str:
        """Return the source of a row (a key of `sources`)."""
        return str(self.content[f"table{table}"][row].get("source", "rerun"))

    def value(self, table: int, row: str, dataset: str) -> dict[str, float]:
        """Return the published numbers of a cell; empty if there are none."""
        cells = self.content.get(f"table{table}", {}).get(row, {})
        shared = "mnist_fashion" if dataset in ("mnist", "fashion") else dataset
        cell = cells.get(dataset, cells.get(shared, {}))
        if isinstance(cell, list):
            return dict(zip(_HIGHER_IS_BETTER, cell, strict=True))
        return dict(cell) if isinstance(cell, dict) else {"first": cell}

    def rank(self, table: int, row: str, dataset: str, number: str = "mean") -> int | None:
        """Return the rank of a row among the published ones of a table and dataset; 1 is the best."""
        mine = self.value(table, row, dataset).get(number)
        if mine is None:
            return None
        sign = -1.0 if number in _HIGHER_IS_BETTER else 1.0
        others = [self.value(table, other, dataset).get(number) for other in self.rows(table)]
        return 1 + sum(sign * other < sign * mine for other in others if other is not None)


def default() -> Path:
    """Return the path of published.yaml: baselines/published.yaml in the working directory, or else the shipped one."""
    local = Path("baselines", "published.yaml")
    return local if local.is_file() else shipped() / "baselines" / "published.yaml"


def load(path: Path) -> Published:
    """Read published.yaml; UserError if it is missing or invalid."""
    if not path.exists():
        raise UserError(f"no published numbers at {path}: put back the file that comes with aegen-bench")
    content = read_yaml(path)
    if not isinstance(content, dict) or not {"meta", "sources", "names", "table1", "table3"} <= set(content):
        raise UserError(f"{path} lacks one of meta, sources, names, table1, table3: put back the one shipped")
    validated(_File, content, str(path))
    return Published(path, content)


Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
T = TypeVar("T")


class _Meta(BaseModel):
    paper: str
    datasets: list[str]
    fid_trials: Annotated[int, Field(strict=True, ge=1)] = 1


class _Row(BaseModel, Generic[T]):
    """The source of a row, and its cells by dataset."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, T] = Field(init=False)

    source: str = "rerun"


class _MeanStd(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mean: Finite
    std: Finite


class _Stages(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first: Finite
    second: Finite


class _File(BaseModel):
    """The schema of published.yaml, without `claims`, which are validated when they are evaluated."""

    meta: _Meta
    sources: dict[str, str]
    names: dict[str, str]
    table1: dict[str, _Row[_MeanStd]]
    table3: dict[str, _Row[tuple[Finite, Finite]]]
    table4: dict[str, _Row[_MeanStd]] = {}
    table5: dict[str, _Row[_Stages | Finite]] = {}
    table6: dict[str, _Row[_Stages | Finite]] = {}

    @model_validator(mode="after")
    def _sources_are_named(self) -> _File:
        for number in (1, 3, 4, 5, 6):
            for row, cells in getattr(self, f"table{number}").items():
                if cells.source not in self.sources:
                    raise ValueError(f"table{number}.{row}: '{cells.source}' is none of sources")
        return self
