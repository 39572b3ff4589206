"""Reading yaml within limits, and validating it against a model. Errors are one line that says where the problem is.

The language is YAML 1.2: `on` is a string, 1e-3 a number, and a duplicate key an error.
"""

from __future__ import annotations

import math
from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from aegen_bench.errors import UserError, unknown
from aegen_bench.files import read_bytes

__all__ = ["DEEPEST", "Strict", "parse_yaml", "read_yaml", "storable", "validated"]

LARGEST = 2**20  # bytes of a file; the shipped benchmarks.yaml has 10,000
VALUES = 20_000  # keys and values, counting aliases at each use; the shipped benchmarks.yaml has 1,600
DEEPEST = 50
PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}


class Strict(BaseModel):
    """A section of a yaml file. An unknown key is an error that suggests the closest valid one."""

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


def read_yaml(path: Path) -> Any:
    """Return the content of a yaml file as plain data; None for an empty one. UserError with the path and the line."""
    try:
        text = read_bytes(path, LARGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {_reason(error)}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return the content of a yaml text as plain data; UserError that starts with `where` and names the line."""
    from ruamel.yaml.error import YAMLError

    try:
        return deepcopy(_loaded(text))
    except (YAMLError, RecursionError) as error:
        raise UserError(f"{where}: {_reason(error)}") from error


@lru_cache(maxsize=16)
def _loaded(text: str) -> Any:
    """What a text holds. In a notebook every call reads the study, which takes a tenth of a second the first time."""
    return _loader().load(text)


def validated(kind: type[Any], content: Any, where: str) -> Any:
    """Return `content` as a model of `kind`; UserError that names the place of the first problem, after `where`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "list_type" and isinstance(first["input"], str):
            message = f"expected a list: write [{first['input'][:60]}]"
        elif first["type"] != "value_error" and not isinstance(first["input"], (dict, list)):
            message += f", not {first['input']!r:.60}"
        raise UserError(": ".join([where, *([place] if place else []), message])) from error


def storable(value: Any) -> bool:
    """Whether a value survives being written to JSON: text, finite 64-bit numbers, booleans, None, lists and dicts of
    these.
    """
    match value:
        case None | bool():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case str():
            return not any("\ud800" <= c <= "\udfff" for c in value)
        case list() | tuple():
            return all(map(storable, value))
        case dict():
            return all(isinstance(key, str) and storable(key) and storable(part) for key, part in value.items())
    return False


def _reason(error: Exception) -> str:
    """Return a reading error on one line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if problem:
        return " ".join(f"line {mark.line + 1}: {problem}".split()) if mark else str(problem)
    return " ".join(str(error).split())


def _loader() -> Any:
    """Return a new loader of ruamel.yaml, with limits on what a few bytes can expand to."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Constructor = _limited()
    return yaml


@cache
def _limited() -> tuple[type[Any], type[Any]]:
    """Return the two classes of a loader that enforce limits, created when needed, as ruamel.yaml imports in 20 ms."""
    from ruamel.yaml.composer import Composer, ComposerError
    from ruamel.yaml.constructor import ConstructorError, SafeConstructor
    from ruamel.yaml.error import YAMLError

    class LimitedComposer(Composer):
        """Rejects deep nesting, aliases that expand to too much, and tags other than the plain ones."""

        def __init__(self, loader: Any = None) -> None:
            super().__init__(loader)
            self._values, self._level, self._sizes = 0, 0, dict[int, int]()
            self.warn_double_anchors = False

        def compose_node(self, parent: Any, index: Any) -> Any:
            mark, before = self.parser.peek_event().start_mark, self._values
            self._level += 1
            self._count(1, mark)
            if self._level > DEEPEST:
                raise ComposerError(None, None, f"nested more than {DEEPEST} deep", mark)
            node = super().compose_node(parent, index)
            self._level -= 1
            if id(node) in self._sizes:  # an alias: everything it refers to counts again
                self._count(self._sizes[id(node)], mark)
            elif node.start_mark is not mark and node.end_mark is None:
                raise ComposerError(None, None, "an alias inside what it refers to", mark)
            else:
                self._sizes[id(node)] = self._values - before
            if str(node.tag) not in PLAIN_TAGS:
                kind = str(node.tag).rpartition(":")[2]
                raise ComposerError(
                    None, None, f"expected a plain value, found a {kind}: if it is text, quote it", mark
                )
            return node

        def _count(self, more: int, mark: Any) -> None:
            self._values += more
            if self._values > VALUES:
                raise ComposerError(None, None, f"more than {VALUES:,} values, including those of aliases", mark)

    class LimitedConstructor(SafeConstructor):
        """Reports the line of invalid values and of duplicate keys."""

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except YAMLError:
                raise
            except Exception as error:  # int("_") and whatever else a conversion raises
                raise ConstructorError(None, None, f"cannot read this value: {error}", node.start_mark) from error

        def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
            if key in mapping:
                raise ConstructorError(None, None, f"duplicate key '{key}'", key_node.start_mark)
            return True

    return LimitedComposer, LimitedConstructor
