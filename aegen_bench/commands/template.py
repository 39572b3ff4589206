"""What `aegen-bench new` writes: a baseline that works as it stands, and its row."""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from aegen_bench import data
from aegen_bench.errors import UserError
from aegen_bench.files import write_bytes
from aegen_bench.study import Study

__all__ = ["new"]

BASELINE = '''\
from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class {cls}(Baseline):
    """An auto-encoder whose codes are drawn towards N(0, I) (this line is what `aegen-bench list` shows).

    Loss: 0.5 SSE + beta/2 ||z||^2 with z = E(x). Sample: z ~ N(0, I), then D(z).
    """

    def __init__(self, nets: Nets, *, beta: float = 1.0) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.beta = beta

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield (
            "model",
            {{
                "reconstruction": self.recon(self.decoder(z), x),
                "penalty": self.beta * 0.5 * z.square().sum(1).mean(),
            }},
        )

    def prior(self, e: Tensor) -> Tensor:
        return e  # noise -> codes. `noise` draws N(0, I); a density that is fitted after training goes into `fit`

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
'''

ROW = """\
{name}:  # what differs from the defaults of baselines/{name}.py and from the schedule that its dataset has
  with: {{beta: 1.0}}
  # stages: {{train: {{epochs: 200, lr_at: {{100: 0.5}}}}}}
  # on: {{digits: {{with: {{beta: 4.0}}}}}}
"""

HEAD = "# Laid over the benchmarks.yaml that comes with aegen-bench, name by name.\n"
IMPORTED = ("Baseline", "Nets", "Tensor", "Updates")


def new(name: str, local: Path, folder: Path | None = None) -> Iterator[str]:
    """Write baselines/NAME.py and its row in benchmarks.yaml, both in the folder `local`; yield what to say of it.

    `folder` is the data folder, whose datasets an existing benchmarks.yaml may name. UserError, and nothing written,
    for a name that is taken or cannot be one, or a benchmarks.yaml that cannot be added to.
    """
    cls = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    if (
        not name.isidentifier()
        or not name.isascii()
        or name.startswith("_")
        or keyword.iskeyword(name)
        or keyword.iskeyword(cls)
    ):
        raise UserError(f"'{name}' cannot name a baseline: use letters, digits and underscores, a letter first")
    if cls in IMPORTED:
        raise UserError(f"'{name}' cannot name a baseline: its class {cls} would hide the one that it needs")
    study = Study("paper", local=local, data=folder or data.default_folder())
    if name in study.entries:
        raise UserError(f"'{name}' is taken: {study.entries[name].path} is a baseline of this name")
    if name in study.rows or name in study.groups:
        raise UserError(f"'{name}' is taken: it is a {'row' if name in study.rows else 'group'} of benchmarks.yaml")
    source, place = local / "baselines" / f"{name}.py", local / "benchmarks.yaml"
    if source.exists():
        raise UserError(f"{source} exists already")
    before = place.read_bytes().decode("utf-8") if place.exists() else HEAD
    after = with_row(before, name, place)
    # The baseline first: it is a row without its row in the yaml, but not the other way round.
    write_bytes(source, BASELINE.format(cls=cls).encode())
    write_bytes(place, after.encode())
    yield f"{source.relative_to(local)}: a method that works as it stands, for you to change"
    yield f"{place.relative_to(local)}: its row"
    yield f"next: aegen-bench check {name}; aegen-bench run --profile smoke --models {name}"


def with_row(text: str, name: str, place: Path) -> str:
    """Return the yaml with the row added as the last of its section `rows`, every other byte as it was."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += newline
    at, indent = _end_of_rows(text, lines)
    head = [] if at is not None else [*([newline] if lines else []), f"rows:{newline}"]
    row = [f"{' ' * indent}{line}{newline}" for line in ROW.format(name=name).splitlines()]
    at = len(lines) if at is None else at
    added = "".join([*lines[:at], *head, *row, *lines[at:]])
    wanted = yaml.safe_load(text) or {}
    wanted["rows"] = {**(wanted.get("rows") or {}), **yaml.safe_load(ROW.format(name=name))}
    if _loaded(added) != wanted:
        told = "cannot be added to line by line (is `rows:` in braces?): write the row yourself"
        raise UserError(f"{place}: {told}: {name}: {{with: {{beta: 1.0}}}}")
    return added


def _end_of_rows(text: str, lines: list[str]) -> tuple[int | None, int]:
    """The line behind the last row and what stands below it, and the column of rows; no line without a section."""
    root = yaml.compose(text, yaml.SafeLoader)
    sections = {key.value: (key, value) for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    if "rows" not in sections:
        return None, 2
    key, rows = sections["rows"]
    if not isinstance(rows, yaml.MappingNode) or not rows.value:
        return key.end_mark.line + 1, 2
    indent = rows.value[0][0].start_mark.column
    at = _last_line(rows) + 1
    while at < len(lines) and _is_deeper_comment(lines[at], indent):
        at += 1
    return at, indent


def _last_line(node: yaml.Node) -> int:
    """The last line that a node writes on. The end of a block is where the next token is, so its leaves are asked."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return max(_last_line(part) for pair in node.value for part in pair)
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return max(map(_last_line, node.value))
    end: yaml.Mark = node.end_mark
    return end.line - (end.column == 0 and end.line > node.start_mark.line)


def _is_deeper_comment(line: str, indent: int) -> bool:
    body = line.lstrip(" ")
    return body.startswith("#") and len(line) - len(body) > indent


def _loaded(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None
