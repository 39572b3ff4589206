"""Which baselines exist and what arguments they take, read from their source without importing them.

A baseline is found by its file name: in the local `baselines/`, else in what the package ships, else among the entry
points of the group `aegen_bench.baselines`. The first place that has a name wins.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from aegen_bench.errors import UserError, unknown

__all__ = ["Argument", "Method", "find", "import_class", "read", "shipped"]


@dataclass(frozen=True)
class Argument:
    """A hyperparameter: its annotation as written and its default value."""

    annotation: str
    default: Any


@dataclass(frozen=True)
class Method:
    """What a baseline's source says of it. `error` is set, and the rest may be empty, when the source cannot be
    read. `module` is where an installed package has it, and empty for a file in a folder `baselines`.
    """

    name: str
    path: Path
    doc: str = ""
    class_name: str = ""
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    stages: tuple[str, ...] = ("train",)
    likelihood: bool = False
    code: str = ""
    module: str = ""
    shadows: Path | None = None
    error: str = ""

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments, `values` over the defaults. A wrong name or type is a UserError that names the legal
        ones.
        """
        for name in values:
            if name not in self.arguments:
                raise unknown(f"argument of {self.name}", name, self.arguments)
        return {name: _typed(self, name, values.get(name, a.default)) for name, a in self.arguments.items()}


def shipped() -> Path:
    """Return the folder with the `benchmarks.yaml` and `baselines/` that belong to this version of the package."""
    package = Path(__file__).parent.parent
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent


def find(local: Path) -> dict[str, Method]:
    """Return every baseline by name, for a command that runs in the folder `local`."""
    entries = {e.name: e for e in map(_from_entry_point, entry_points(group="aegen_bench.baselines"))}
    for folder in (shipped() / "baselines", local / "baselines"):
        for path in sorted(folder.glob("*.py")):
            if path.stem.startswith("_"):
                continue
            entry, below = read(path.stem, path), entries.get(path.stem)
            if below is not None and below.code != entry.code:
                entry = replace(entry, shadows=below.path)
            entries[path.stem] = entry
    return entries


def read(name: str, path: Path) -> Method:
    """Read one baseline's source."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = [node for node in tree.body if isinstance(node, ast.ClassDef) and _is_baseline(node)]
        if len(found) != 1:
            raise UserError(f"needs one class that derives from Baseline, has {len(found)}")
        arguments, stages = _arguments(found[0]), _stages(found[0])
    except (OSError, SyntaxError, UnicodeDecodeError, UserError, ValueError) as error:
        return Method(name, path, error=f"{path}: {error}")
    cls = found[0]
    return Method(
        name=name,
        path=path,
        doc=(ast.get_docstring(cls) or "").partition("\n")[0],
        class_name=cls.name,
        arguments=arguments,
        stages=stages,
        likelihood=any(_assigns(node, "likelihood", True) for node in cls.body),
        code=_digest(tree),
    )


def import_class(entry: Method) -> type[Any]:
    """Import a baseline's file and return its class. Whatever is wrong in it is one UserError line."""
    if entry.error:
        raise UserError(f"model '{entry.name}' is broken: {entry.error}")
    try:
        return getattr(_module(entry.name, entry.path, entry.code, entry.module), entry.class_name)  # type: ignore[no-any-return]
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(f"model '{entry.name}' needs {error.name}: pip install {error.name}") from error
    except Exception as error:
        raise UserError(f"model '{entry.name}' is broken: {entry.path}: {_one_line(error)}") from error


@functools.cache
def _module(name: str, path: Path, code: str, module: str) -> ModuleType:
    """A baseline's module, imported once a process; UserError if its code is another by now, as where the file was
    edited between the plan of a run and the first trial of a worker.
    """
    imported = importlib.import_module(module) if module else _from_file(name, path)
    if read(name, path).code != code:
        raise UserError(f"{path} has changed since this run was planned: run again")
    return imported


def _from_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"aegen_bench_baselines.{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _from_entry_point(point: Any) -> Method:
    module = point.value.partition(":")[0]
    file = module.replace(".", "/")
    paths = [Path(str(point.dist.locate_file(f"{file}{end}"))) for end in (".py", "/__init__.py")]
    path = next((p for p in paths if p.is_file()), None)
    if path is None:  # an editable install: ask the import system, which imports parent packages but not the module
        try:
            spec = importlib.util.find_spec(module)
        except Exception as error:  # a parent package that is gone, or that fails on import
            return Method(point.name, paths[0], error=f"entry point {point.value}: {_one_line(error)}")
        path = Path(spec.origin) if spec and spec.origin else paths[0]
    return replace(read(point.name, path), module=module)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _is_baseline(cls: ast.ClassDef) -> bool:
    return any((b.id if isinstance(b, ast.Name) else getattr(b, "attr", "")) == "Baseline" for b in cls.bases)


def _arguments(cls: ast.ClassDef) -> dict[str, Argument]:
    init = next((n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is None:
        return {}
    found = {}
    for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        if default is None:
            raise UserError(f"argument '{argument.arg}' has no default")
        annotation = ast.unparse(argument.annotation) if argument.annotation else "object"
        try:
            found[argument.arg] = Argument(annotation, ast.literal_eval(default))
        except ValueError as error:
            raise UserError(f"the default of argument '{argument.arg}' is not a literal") from error
    return found


def _stages(cls: ast.ClassDef) -> tuple[str, ...]:
    """The first argument, or `name=`, of each `Stage(...)` in the method `stages`."""
    method = next((n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "stages"), None)
    if method is None:
        return ("train",)
    calls = [n for n in ast.walk(method) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "Stage"]
    values = [next(iter(c.args), None) or next((k.value for k in c.keywords if k.arg == "name"), None) for c in calls]
    names = tuple(v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str))
    if not names or len(names) != len(calls):
        raise UserError(
            "stages() must name each Stage with a plain string, so that schedules can be checked without importing it"
        )
    return names


def _assigns(node: ast.stmt, name: str, value: object) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    named = any(isinstance(t, ast.Name) and t.id == name for t in targets)
    return named and isinstance(getattr(node, "value", None), ast.Constant) and node.value.value == value  # type: ignore[attr-defined]


def _digest(tree: ast.Module) -> str:
    """A hash of the code that no comment, docstring or layout changes."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]  # ast.dump changes with Python's version


_PLAIN_TYPES = {t.__name__: t for t in (bool, int, float, str, list, tuple, dict)} | {"Literal": Literal}


def _typed(entry: Method, name: str, value: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    annotation = entry.arguments[name].annotation
    try:
        kind = eval(annotation, {"__builtins__": {}}, _PLAIN_TYPES)
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{entry.name}: {name} = {value!r} is not {annotation}: {error.errors()[0]['msg']}") from error
    except Exception:  # an annotation of other types: the class itself must check the value
        return value
