"""The dependencies drawn in docs/architecture.md, checked against the imports in the source."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "aegen_bench"
HEAVY = {"torch", "torchvision", "pandas", "sklearn", "scipy", "matplotlib"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if "shipped" not in path.parts}
BASELINES = sorted((ROOT / "baselines").rglob("*.py"))


def statements(tree: ast.AST, *, top_level: bool) -> Iterator[ast.stmt]:
    """Yield the statements that run, hence none under `if TYPE_CHECKING`; `top_level` also skips function bodies."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if top_level and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.stmt):
            yield node
        yield from statements(node, top_level=top_level)


@cache
def imports(path: Path, top_level: bool = False) -> frozenset[str]:
    """Return the modules that a file imports; `from package import name` counts as package.name if that is a module."""
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")), top_level=top_level):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} contains a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if name in FILES} or {str(node.module)}
    return frozenset(found)


def ours(path: Path, top_level: bool = False) -> set[str]:
    return {name for name in imports(path, top_level) if name.partition(".")[0] == "aegen_bench"}


def under(name: str, *packages: str) -> bool:
    return any(f"{name}.".startswith(f"aegen_bench.{package}.") for package in packages)


def within(package: str) -> list[str]:
    found = [name for name in FILES if under(name, package)]
    assert found, f"there are no modules under aegen_bench.{package}"
    return found


def reached(name: str, *, top_level: bool) -> set[str]:
    """Return a module and all that it imports, directly or indirectly; a package's __init__ runs with its modules."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        here = waiting.pop()
        parts = here.split(".")
        waiting += [".".join(parts[:i]) for i in range(1, len(parts)) if ".".join(parts[:i]) not in seen]
        if here not in seen:
            seen.add(here)
            waiting += imports(FILES[here], top_level) if here in FILES else []
    return seen


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_a_baseline_imports_only_the_contracts_blocks_and_numerics_of_this_project(path: Path) -> None:
    assert [name for name in ours(path) if not under(name, "baseline", "prior", "blocks", "numerics")] == []


@pytest.mark.parametrize("package", ["evaluation", "report"])
def test_evaluation_and_report_know_nothing_of_models(package: str) -> None:
    models = ("baseline", "blocks", "training", "trial", "runner", "commands")
    for name in within(package):
        assert [other for other in ours(FILES[name]) if under(other, *models)] == [], name


def test_evaluation_imports_neither_report_nor_study() -> None:
    for name in within("evaluation"):
        records = () if name.rpartition(".")[2] in ("scorer", "imagesets") else ("results",)  # these two write records
        assert [other for other in ours(FILES[name]) if under(other, "report", "study", *records)] == [], name


@pytest.mark.slow
def test_matplotlib_is_imported_only_under_report_figures() -> None:
    users = {n for n, p in FILES.items() if any(m.partition(".")[0] == "matplotlib" for m in imports(p))}
    assert users and all(under(name, "report.figures") for name in users)


def test_report_needs_no_torch() -> None:
    for name in within("report"):
        heavy = {other.partition(".")[0] for other in imports(FILES[name])}
        assert not {"torch", "torchvision"} & heavy, name


@pytest.mark.parametrize("package", ["numerics", "inference"])
def test_numerics_and_inference_import_nothing_else_of_the_package(package: str) -> None:
    for name in within(package):
        assert [other for other in ours(FILES[name]) if not under(other, package)] == [], name


def test_blocks_import_only_blocks_numerics_errors_and_seeding() -> None:
    for name in within("blocks"):
        allowed = ("blocks", "numerics", "errors", "seeding")
        assert [other for other in ours(FILES[name]) if not under(other, *allowed)] == [], name


def test_the_contracts_depend_only_on_blocks() -> None:
    assert [name for name in ours(FILES["aegen_bench.baseline"]) if not under(name, "blocks")] == []
    assert [name for name in ours(FILES["aegen_bench.prior"]) if not under(name, "baseline", "blocks")] == []


def test_training_and_sampling_know_no_metric() -> None:
    for name in [*within("training"), "aegen_bench.trial.sampling"]:
        known = reached(name, top_level=False)
        assert [other for other in known if under(other, "evaluation", "report", "results", "study")] == [], name


FLOORS = [
    *(
        "errors",
        "numerics",
        "seeding",
        "aegen_bench",
        "inference",
        "files",
        "blocks",
        "environment",
        "data",
        "progress",
    ),
    *("weights", "baseline", "prior", "results", "training", "evaluation", "study", "report", "trial", "exchange"),
    *("api", "conformance", "runner", "cost", "commands", "cli", "__main__"),
]
"""The rooms of the package, from the bottom up. A room imports only from rooms below it."""


def room(name: str) -> str:
    return [*name.split("."), name][1]


def test_every_module_has_a_floor_and_imports_nothing_from_above_it() -> None:
    assert {room(name) for name in FILES} == set(FLOORS)
    for name, path in FILES.items():
        up = [other for other in ours(path) if FLOORS.index(room(other)) > FLOORS.index(room(name))]
        assert up == [], f"{name} is on the floor of {room(name)} and imports from above it: {up}"


def test_there_are_no_import_cycles() -> None:
    graph = {
        name: {other for other in imports(path) if other in FILES and other != name} for name, path in FILES.items()
    }
    assert list(graphlib.TopologicalSorter(graph).static_order()), "no modules found; CycleError names a cycle"


@pytest.mark.parametrize(
    "name",
    [
        "cli",
        "commands.request",
        "runner",
        "study",
        "study.grammar",
        "study.catalog",
        "data",
        "results",
        "weights",
        "commands.listing",
        "commands.doctor",
        "commands.template",
        "environment",
        "errors",
        "evaluation.protocol",
    ],
)
def test_modules_imported_at_start_up_import_nothing_heavy(name: str) -> None:
    heavy = {other.partition(".")[0] for other in reached(f"aegen_bench.{name}", top_level=True)} & HEAVY
    assert not heavy


# Calls that may create a random stream of their own, because its numbers must never change: they are part of the
# published protocol.
FROZEN = {
    ("data/sources.py", "RandomState"): "the split of the digits",
    ("evaluation/features.py", "default_rng"): "which real images a protocol takes where there are more than it counts",
    ("evaluation/extractors/random_conv.py", "manual_seed"): "the weights of the extractor for tests",
    ("inference/overall.py", "default_rng"): "what the bootstrap draws: one report of the same records",
    ("inference/variance.py", "default_rng"): "the same",
}
SEEDERS = {"manual_seed", "manual_seed_all", "default_rng", "RandomState", "seed", "set_state", "set_rng_state"}


def of_the_caller(call: ast.Call, path: Path) -> bool:
    """Whether a metric creates this stream from the `seed` that it is given, with a number for each stream if it needs
    several. That is allowed, because a metric is a function of arrays and of this seed.
    """
    given = [ast.unparse(argument) for argument in call.args]
    return (
        len(given) == 1
        and not call.keywords
        and re.fullmatch(r"seed|\[seed, \w+\]", given[0]) is not None
        and path.relative_to(ROOT).parts[1] in ("evaluation", "numerics")
    )


def test_only_seeding_py_creates_random_streams() -> None:
    found = set()
    for path in [*FILES.values(), *BASELINES]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if name in SEEDERS and path != PACKAGE / "seeding.py" and not of_the_caller(node, path):
                place = path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT)
                found.add((place.as_posix(), name))
    assert found == set(FROZEN), "draw from seeding.stream instead, or say in FROZEN why the numbers must never change"


def test_every_test_file_has_a_unique_name() -> None:
    """pytest imports test files by name alone, and fails at a second file with the same name."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
