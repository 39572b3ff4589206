"""Source code as data: parsing a method's file, and hashing its code for keys.

Nothing here runs the code, and only regular files of a reasonable size are opened.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from aegen_bench.errors import UserError
from aegen_bench.files import read_bytes

__all__ = ["digest", "helpers", "parse", "read"]

LARGEST = 2**20  # bytes of a source file; the longest shipped method has 5,000


def read(path: Path) -> bytes:
    """Return the content of a source file; UserError if it cannot be read."""
    try:
        return read_bytes(path, LARGEST)
    except OSError as error:
        raise UserError(error.strerror or str(error)) from error


def parse(content: bytes) -> ast.Module:
    """Return the syntax tree of the content of a source file; UserError if it cannot be parsed.

    The encoding is determined as by Python: a byte order mark or a coding cookie is respected.
    """
    try:
        return ast.parse(content)
    except (RecursionError, MemoryError):
        raise UserError("its expressions are nested too deeply") from None
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        raise UserError(str(error)) from error


def digest(path: Path, content: bytes) -> str:
    """Return a hash, 16 hex digits, of a method's code and of the helper files in its folder that it imports.

    Comments, docstrings and formatting do not matter, and the hash is the same under every version of Python. Nor does
    the hook `log_prior` matter, unless the method itself calls it: it is called only when codes are scored, so a method
    can add it without being trained again.
    """
    own, _ = _code(content)
    beside = {name: _code(helper)[0] for name, helper in helpers(path, content).items()}
    return _hash(own + "".join(f" {name} {code}" for name, code in sorted(beside.items()))) if beside else own


def helpers(path: Path, content: bytes) -> dict[str, bytes]:
    """Return the contents, by name, of the files in a method's folder that it imports, itself or through others."""
    found: dict[str, bytes] = {}
    waiting = list(_code(content)[1])
    while waiting:
        name = waiting.pop()
        place = path.parent / f"{name}.py"
        if name in found or name == path.stem or not place.exists():
            continue
        found[name] = read(place)
        waiting += _code(found[name])[1]
    return found


@functools.lru_cache(maxsize=512)
def _code(content: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the hash of one file's code, and the modules that it imports."""
    tree = parse(content)
    imported = tuple(_imported(tree))
    return _hash(_text(tree)), imported


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _text(tree: ast.Module) -> str:
    """Return the code as `ast.unparse` of Python 3.11 would write it, without the parts that `digest` ignores. The tree
    is modified.
    """
    called = any(isinstance(node, ast.Attribute) and node.attr == "log_prior" for node in ast.walk(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not called:
            node.body = [part for part in node.body if getattr(part, "name", "") != "log_prior"]
        body = getattr(node, "body", None)
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:]  # type: ignore[attr-defined]
    fstrings = any(isinstance(node, ast.JoinedStr) for node in ast.walk(tree))
    try:
        return ast.unparse(_Frozen().visit(tree) if fstrings else tree)
    except RecursionError:
        raise UserError("its expressions are nested too deeply") from None


# ---- f-strings as Python 3.11 writes them --------------------------------------------------------
# Since 3.12, `ast.unparse` quotes f-strings differently; a comparison over the standard library found no other change
# up to 3.13. So each f-string is replaced by a name with its text, which every version writes unchanged.

_ALL_QUOTES = ("'", '"', '"""', "'''")


class _Frozen(ast.NodeTransformer):
    """Replaces f-strings, and strings inside them, by what Python 3.11 writes for them."""

    def __init__(self, *, within: bool = False) -> None:
        self._within = within  # inside the braces of an f-string, where 3.11 allows no backslash

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if self._within and isinstance(node.value, str):
            prefix = "u" if node.kind == "u" else ""
            return ast.Name(prefix + _quoted(node.value))
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        if self._within:
            return ast.Name("f" + _quoted("".join(map(_part, node.values))))
        return ast.Name("f" + _joined([(_part(part), isinstance(part, ast.Constant)) for part in node.values]))


def _part(node: ast.expr) -> str:
    """One part of an f-string: literal text, or an expression in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value).replace("{", "{{").replace("}", "}}")
    if isinstance(node, ast.JoinedStr):  # a format
        return "".join(map(_part, node.values))
    assert isinstance(node, ast.FormattedValue), node
    # As the condition of `... if a else b` an expression gets the parentheses that it gets within braces.
    inner = ast.IfExp(test=ast.Name("a"), body=_Frozen(within=True).visit(node.value), orelse=ast.Name("b"))
    text = ast.unparse(inner).removesuffix(" if a else b")
    conversion = f"!{chr(node.conversion)}" if node.conversion != -1 else ""
    form = f":{_part(node.format_spec)}" if node.format_spec else ""
    return "{" + " " * text.startswith("{") + text + conversion + form + "}"


def _quoted(text: str) -> str:
    escaped, quotes = _literal(text, _ALL_QUOTES)
    return f"{quotes[0]}{escaped}{quotes[0]}"


def _joined(parts: Sequence[tuple[str, bool]]) -> str:
    """Literal parts (True) may contain escapes, expressions may not; all must fit into the same kind of quotes."""
    quotes, written = list(_ALL_QUOTES), list[str]()
    for text, literal in parts:
        escaped, possible = _literal(text, quotes, whitespace=literal)
        if set(possible).isdisjoint(quotes):
            written = [repr('"' + other)[2:-1] for other, _ in parts]
            return "'''" + "".join(written) + "'''"
        written.append(escaped)
        quotes = possible
    return quotes[0] + "".join(written) + quotes[0]


def _literal(text: str, quotes: Sequence[str], *, whitespace: bool = False) -> tuple[str, list[str]]:
    """Return the escaped text, and the kinds of quotes that can enclose it, best first."""

    def escape(c: str) -> str:
        if not whitespace and c in "\n\t":
            return c
        return c if c != "\\" and c.isprintable() else c.encode("unicode_escape").decode("ascii")

    escaped = "".join(map(escape, text))
    possible = [quote for quote in quotes if quote not in escaped and ("\n" not in escaped or len(quote) == 3)]
    if not possible:
        whole = repr(text)
        return whole[1:-1], [next((quote for quote in quotes if whole[0] in quote), whole[0])]
    if escaped:
        possible.sort(key=lambda quote: quote[0] == escaped[-1])
        if possible[0][0] == escaped[-1]:
            escaped = escaped[:-1] + "\\" + escaped[-1]
    return escaped, possible
