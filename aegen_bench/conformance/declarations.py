"""Hyperparameters that the signature of `__init__` does not declare, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from aegen_bench.study import source
from aegen_bench.study.catalog import Method

__all__ = ["undeclared"]

THE_CONTRACTS = ("likelihood", "progress")
CURE = "make it an argument of __init__, after `nets, *`"


def undeclared(entry: Method) -> Iterator[str]:
    """Yield a finding for each number in a baseline's source that the yaml cannot set."""
    tree = source.parse(source.read(entry.path))
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == entry.class_name)
    for name, value in _assigned(cls.body):
        if name not in THE_CONTRACTS and _is_number(value):
            yield f"{name} = {ast.unparse(value)} of the class is a hyperparameter that the yaml cannot set: {CURE}"
    for init in cls.body:
        if isinstance(init, ast.FunctionDef) and init.name == "__init__":
            yield from _of_init(init)


def _of_init(init: ast.FunctionDef) -> Iterator[str]:
    for argument in [*init.args.posonlyargs, *init.args.args][2:]:
        yield f"__init__: the yaml cannot set {argument.arg}, because it comes before the `*`: {CURE}"
    for rest, stars in ((init.args.vararg, "*"), (init.args.kwarg, "**")):
        if rest:
            yield f"__init__ takes {stars}{rest.arg}, which the yaml cannot set: name each hyperparameter after `*`"
    for name, value in _assigned(init.body):
        if name.startswith("self.") and _is_number(value):
            yield f"__init__: {name} = {ast.unparse(value)} is a hyperparameter that the yaml cannot set: {CURE}"


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Yield (target, value) of each assignment; `a, b = 1, 2` counts as two."""
    own = [statement for statement in body if not isinstance(statement, (ast.FunctionDef, ast.ClassDef))]
    for node in (node for statement in own for node in ast.walk(statement)):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                yield from zip(map(ast.unparse, targets), values, strict=False)
            case ast.Assign(targets=targets, value=value):
                yield from ((ast.unparse(target), value) for target in targets)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield ast.unparse(target), value


def _is_number(value: ast.expr) -> bool:
    """Whether this is a literal number, or a tuple or list of numbers. True and False are flags, not numbers."""
    try:
        literal: Any = ast.literal_eval(value)
    except ValueError:
        return False
    numbers = literal if isinstance(literal, (tuple, list)) else [literal]
    return bool(numbers) and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers)
