"""The available methods and their arguments, read from source code without running it.

A method is looked up by its file name, first in the local `baselines/`, then among the shipped ones, then among the
entry points of the group `aegen_bench.baselines`.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import importlib.util
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoints, PackageNotFoundError, entry_points, requires
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, Union

from aegen_bench.errors import UserError, contained, unknown
from aegen_bench.study import source
from aegen_bench.study.reading import storable

__all__ = ["Argument", "Method", "find", "find_priors", "import_class", "of_record", "read", "shipped"]

PATIENCE = 10.0  # seconds after which a slow import is reported


@dataclass(frozen=True)
class Argument:
    """A hyperparameter: its annotation as written and its default value."""

    annotation: str
    default: Any


@dataclass(frozen=True)
class Method:
    """A method or prior as described by its source. If the source cannot be read, `error` says why.

    Attributes:
        module: Its module in an installed package; empty for a file in a folder `baselines`.
        optimizers: The names of its optimizers; empty if they cannot be determined without running the code.
        hooks: The methods that its class defines.
        shadows: The shipped file that a local one replaces.
        trunk: For a prior, the method of the auto-encoder that it is paired with.
    """

    name: str
    path: Path
    doc: str = ""
    class_name: str = ""
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    stages: tuple[str, ...] = ("train",)
    optimizers: tuple[str, ...] = ("model",)
    likelihood: bool = False
    code: str = ""
    module: str = ""
    shadows: Path | None = None
    error: str = ""
    base: str = "Baseline"
    hooks: frozenset[str] = frozenset()
    trunk: Method | None = None

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments, with `values` in place of defaults. UserError for a wrong name or type."""
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
    """Return all methods by name, for a command that runs in the folder `local`."""
    return _find(local, "Baseline", "baselines")


def find_priors(local: Path) -> dict[str, Method]:
    """Return all priors by name, from `baselines/priors/` and the entry points `aegen_bench.priors`."""
    return _find(local, "Prior", "baselines/priors")


def of_record(config: Mapping[str, Any], local: Path) -> Method:
    """Return the method, or prior with trunk, that a record's config names; UserError if it does not exist."""
    methods, name = find(local), str(config.get("baseline"))
    if name not in methods:
        raise unknown("model", name, methods)
    if "prior" not in config:
        return methods[name]
    priors, prior = find_priors(local), str(config["prior"])
    if prior not in priors:
        raise unknown("prior", prior, priors)
    return replace(priors[prior], trunk=methods[name])


def _find(local: Path, base: str, place: str) -> dict[str, Method]:
    points = _installed(f"aegen_bench.{Path(place).name}", tuple(sys.path))
    entries = {e.name: e for e in (_from_entry_point(point, base) for point in points)}
    for folder in (shipped() / place, local / place):
        for path in sorted(folder.glob("*.py")):
            if path.stem.startswith("_"):
                continue
            entry, below = read(path.stem, path, base), entries.get(path.stem)
            if below is not None and below.code != entry.code:
                entry = replace(entry, shadows=below.path)
            entries[path.stem] = entry
    return entries


@functools.lru_cache(maxsize=2)
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Return the entry points of the packages in this `sys.path`. Reading them takes longer than reading the files."""
    return entry_points(group=group)


def read(name: str, path: Path, base: str = "Baseline") -> Method:
    """Read the source of one method, or of one prior with `base` "Prior"."""
    try:
        content = source.read(path)
        return replace(_read(name, path, base, content), code=source.digest(path, content))
    except UserError as error:
        return Method(name, path, error=f"{path}: {error}")


@functools.lru_cache(maxsize=512)
def _read(name: str, path: Path, base: str, content: bytes) -> Method:
    """Return the method that the content of a file describes, without `code`, which depends on other files as well."""
    if name == "all":
        raise UserError("'all' means every row: use another name")
    tree = source.parse(content)
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and _derives(node, base)]
    if len(found) != 1:
        raise UserError(f"needs one class that derives from {base}, has {len(found)}")
    cls = found[0]
    hooks = frozenset(node.name for node in cls.body if isinstance(node, ast.FunctionDef))
    trained: tuple[str, ...] = ("prior",) if "loss" in hooks else ()
    return Method(
        name=name,
        path=path,
        doc=(ast.get_docstring(cls) or "").partition("\n")[0],
        class_name=cls.name,
        arguments=_arguments(cls),
        stages=_stages(cls) if base == "Baseline" else trained,
        optimizers=_optimizers(cls) if base == "Baseline" else trained,
        likelihood=any(_assigns(node, "likelihood", True) for node in cls.body),
        base=base,
        hooks=hooks,
    )


# ---- importing ---------------------------------------------------------------------------------


def import_class(method: Method) -> type[Any]:
    """Import a method's file and return its class. UserError on one line for any problem."""
    if method.error:
        raise UserError(f"model '{method.name}' is broken: {method.error}")
    try:
        with _said_when_slow(method.path), contained():
            module = _module(method.name, method.path, method.code, method.module, method.base)
            return getattr(module, method.class_name)  # type: ignore[no-any-return]
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(f"model '{method.name}' needs {_where_to_get(error.name or str(error), method)}") from error
    except Exception as error:
        raise UserError(f"model '{method.name}' is broken: {method.path}: {_one_line(error)}") from error


@contextmanager
def _said_when_slow(path: Path) -> Iterator[None]:
    """Context that reports a slow import on standard error, at increasing intervals."""
    ended = threading.Event()

    def wait() -> None:
        seconds = PATIENCE
        while not ended.wait(seconds):
            seconds *= 2
            print(f"still importing {path}; Ctrl-C stops", file=sys.stderr, flush=True)

    threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _where_to_get(module: str, method: Method) -> str:
    """Return the missing module and, if it is one of our dependencies, how to install it."""
    top = module.partition(".")[0]
    try:
        known = {re.split(r"[^\w.-]", line)[0].lower() for line in requires("aegen-bench") or []}
    except PackageNotFoundError:
        known = set()
    if top.lower().replace("_", "-") in known:
        return f"{module}: pip install {top}"
    return f"the module {module}, which is neither installed nor a file {top}.py next to {method.path}"


_CODES: dict[str, str] = {}  # the hashes of the imported modules of installed packages


@functools.cache
def _module(name: str, path: Path, code: str, module: str, base: str) -> ModuleType:
    """Return a method's module, imported once per process. UserError if its code has changed since it was read, for
    example because the file was edited between planning and the first trial of a worker.
    """
    loaded = module in sys.modules
    if loaded and _CODES.setdefault(module, code) != code:
        raise UserError(f"{path} has changed since this process imported it: start a new one")
    imported = importlib.import_module(module) if module else _from_file(f"{base.lower()}s.{name}", path)
    now = read(name, path, base).code
    if module and not loaded:
        _CODES[module] = now
    if now != code:
        raise UserError(f"{path} has changed since this run was planned: run again")
    return imported


def _from_file(name: str, path: Path) -> ModuleType:
    """Run a method's file. It imports its helpers (`source.helpers`), as they are now, as modules of its own, since
    files of other folders, and later versions, can have the same names. Installed modules take precedence.
    """
    full_name, modules = f"aegen_bench_baselines.{name}", dict[str, ModuleType]()
    try:
        content = source.read(path)
        texts = source.helpers(path, content) | {path.stem: content}
    except UserError as error:
        raise ImportError(str(error)) from error

    def run(stem: str, full_name: str) -> ModuleType:
        file = path.with_name(f"{stem}.py")
        spec = importlib.util.spec_from_file_location(full_name, file)
        if spec is None:
            raise ImportError(f"{file} is not a Python file")
        module = modules[stem] = sys.modules[full_name] = importlib.util.module_from_spec(spec)
        if len(texts) > 1:
            vars(module)["__builtins__"] = {**vars(builtins), "__import__": imported}
        try:  # not by the spec's loader, which may take the cached bytecode of an older version
            exec(compile(texts[stem], file, "exec", dont_inherit=True), vars(module))
        except BaseException:
            del modules[stem], sys.modules[full_name]
            raise
        return module

    def imported(module: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        of_itself = module == path.stem and globals is vars(modules[module])  # then it wants an installed namesake
        if level or module not in texts or of_itself or _is_installed(module):
            return builtins.__import__(module, globals, locals, fromlist, level)
        return modules.get(module) or run(module, f"{full_name}.{module}")

    return run(path.stem, full_name)


def _is_installed(name: str) -> bool:
    """Whether a top-level module belongs to Python or to an installed package. It is not imported."""
    if name in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    return any({"site-packages", "dist-packages"} & {*Path(place).parts} for place in places)


def _from_entry_point(point: Any, base: str) -> Method:
    """Read the module that an entry point names, without importing even its package."""
    module = point.value.partition(":")[0]
    file = module.replace(".", "/")
    paths = [Path(str(point.dist.locate_file(f"{file}{end}"))) for end in (".py", "/__init__.py")]
    top, _, rest = module.partition(".")
    try:  # for editable installs; `find_spec` imports nothing for a name without a dot
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    for folder in spec.submodule_search_locations or () if spec else ():
        inner = Path(folder, *rest.split(".")) if rest else Path(folder)
        paths += [inner.with_name(inner.name + ".py"), inner / "__init__.py"]
    if spec and spec.origin and not rest:
        paths.append(Path(spec.origin))
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        return Method(point.name, paths[0], error=f"entry point {point.value}: no such module")
    return replace(read(point.name, path, base), module=module)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _derives(cls: ast.ClassDef, base: str) -> bool:
    return any((b.id if isinstance(b, ast.Name) else getattr(b, "attr", "")) == base for b in cls.bases)


# ---- what the syntax tree says -----------------------------------------------------------------


def _arguments(cls: ast.ClassDef) -> dict[str, Argument]:
    init = next((n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is None:
        return {}
    found = {}
    for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        if default is None:
            raise UserError(f"argument '{argument.arg}' has no default")
        try:
            annotation = ast.unparse(argument.annotation) if argument.annotation else "object"
            value = ast.literal_eval(default)
        except (RecursionError, MemoryError):
            raise UserError("its expressions are nested too deeply") from None
        except (ValueError, TypeError) as error:  # TypeError: {[]: 1}
            raise UserError(f"the default of argument '{argument.arg}' is not a literal") from error
        if not storable(value):
            told = f"the default of argument '{argument.arg}' is {value!r:.60}, which a record cannot store"
            raise UserError(f"{told}: use finite numbers, text, None, lists and dicts with text as keys")
        found[argument.arg] = Argument(annotation, value)
    return found


def _optimizers(cls: ast.ClassDef) -> tuple[str, ...]:
    """The keys of the dict that the method `optimizers` returns; none if they are not literals."""
    method = next((n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "optimizers"), None)
    if method is None:
        return ("model",)
    match [node.value for node in ast.walk(method) if isinstance(node, ast.Return)]:
        case [ast.Dict(keys=keys)]:
            names = [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
            return tuple(names) if len(names) == len(keys) else ()
    return ()


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


# ---- values of arguments -----------------------------------------------------------------------


def _typed(method: Method, name: str, value: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    annotation = method.arguments[name].annotation
    if not storable(value):
        raise UserError(f"{method.name}: {name} = {value!r:.60} cannot be kept in a record")
    try:
        return TypeAdapter(_type_of(ast.parse(annotation, mode="eval").body)).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{method.name}: {name} = {value!r:.60} is not {annotation}: {reason}") from error


def _type_of(node: ast.expr) -> Any:
    """Return the type that an annotation names; Any if it is not understood, so that the class must check the value.

    Understood are numbers, strings, lists, tuples, dicts, Literal, None, and unions of these.
    """
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str() as text):  # an annotation in quotes
            try:
                return _type_of(ast.parse(text, mode="eval").body)
            except (SyntaxError, ValueError):
                return Any
        case ast.Name(id=name) if name in _plain_types():
            return _plain_types()[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            one, other = _type_of(left), _type_of(right)
            return Any if Any in (one, other) else Union[one, other]  # noqa: UP007 - `None | None` is an error
        case ast.Subscript(value=ast.Name(id="Literal") | ast.Attribute(attr="Literal"), slice=inside):
            values = [part.value for part in _parts(inside) if isinstance(part, ast.Constant)]
            return Literal[tuple(values)] if len(values) == len(_parts(inside)) else Any
        case ast.Subscript(value=ast.Name(id="list"), slice=inside):
            return list[_type_of(inside)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, inside])):
            return dict[_type_of(key), _type_of(inside)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="tuple"), slice=inside):
            kinds = [... if ast.unparse(part) == "..." else _type_of(part) for part in _parts(inside)]
            return tuple[tuple(kinds)]  # type: ignore[misc]
    return Any


def _parts(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


@functools.cache
def _plain_types() -> dict[str, Any]:
    """The simple types by name. Numbers must be finite, and booleans are not numbers."""
    from pydantic import AllowInfNan, BeforeValidator

    def number(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("a number is expected")
        return value

    plain: dict[str, Any] = {kind.__name__: kind for kind in (bool, str, list, tuple, dict)}
    plain["int"] = Annotated[int, BeforeValidator(number)]
    plain["float"] = Annotated[float, BeforeValidator(number), AllowInfNan(False)]
    return plain
