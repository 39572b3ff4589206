"""The page for the eyes: one HTML file without network, whose tables sort and filter and whose cells open.

What a cell opens is data in the page (`trials.py`), drawn by `page.js`; `page.html` is a jinja2 template that escapes
every name, and the script sets text, never markup: a row called `<script>` is text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aegen_bench import __version__
from aegen_bench.files import write_bytes
from aegen_bench.report.cells import trial_counts
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.page.trials import opened
from aegen_bench.report.table import Table
from aegen_bench.results import records

__all__ = ["INLINE_BYTES", "write"]

INLINE_BYTES = 2_500_000
"""Sample grids up to this many bytes are inside the page, more of them lie in a folder beside it."""


def write(evidence: Evidence, tables: Sequence[Table], skipped: Sequence[str], path: Path) -> list[Path]:
    """Write the page, and its sample grids beside it where they are too large to be inside; return the paths."""
    import jinja2

    read = [record for _, record in records(evidence.root, profile=evidence.layout.profile)]
    found = [opened(evidence, record) for record in read]
    inline = sum(len(one.picture) for one in found) <= INLINE_BYTES
    beside = path.with_name(f"{path.stem}-grids")
    paths = [path]
    for one in found:
        if one.picture and not inline:
            name = "-".join((one.data["dataset"], one.data["row"], f"seed-{one.data['seed']}.webp"))
            write_bytes(beside / name, one.picture)
            paths.append(beside / name)
            one.data["grid"] = quote(f"{beside.name}/{name}")
        elif one.picture:
            one.data["grid"] = one.inlined()
    here = files(__name__)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # numbers and curves as the record has them
    text = environment.from_string((here / "page.html").read_text(encoding="utf-8")).render(
        profile=evidence.layout.profile,
        counts=trial_counts(evidence.frame),
        tables=[_shown(table, evidence) for table in tables],
        data={"names": _names(evidence), "trials": [one.data for one in found]},
        protocols={name: about.get("describe", name) for name, about in evidence.frame.attrs["protocols"].items()},
        environments=_environments(read),
        skipped=[*(text.strip() for text in skipped), *evidence.unreadable],
        version=__version__,
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
    )
    write_bytes(path, text.encode())
    return paths


def _names(evidence: Evidence) -> dict[str, str]:
    return {key: evidence.name(key) for key in (*evidence.layout.rows, *evidence.layout.datasets)}


def _shown(table: Table, evidence: Evidence) -> dict[str, Any]:
    """A table for the template: its lines in groups that sort as one, each cell with what it sorts by and opens."""
    rows = {evidence.name(row) for row in evidence.layout.rows}
    datasets = {evidence.name(dataset) for dataset in evidence.layout.datasets}
    titled = [name for name in evidence.layout.datasets if table.name.startswith(f"scores-{name}")]
    groups: list[list[list[dict[str, Any]]]] = []
    for line in table.rows:
        row = next((name for text in line if (name := text.removesuffix(" †")) in rows), "")
        fixed = evidence.name(titled[0]) if titled else next((text for text in line if text in datasets), "")
        cells = [
            _cell(text, row, column if column in datasets else fixed, named=text.removesuffix(" †") == row)
            for column, text in zip(table.columns, line, strict=True)
        ]
        if groups and not line[0]:
            groups[-1].append(cells)  # another stage of the trial above
        else:
            groups.append([cells])
    return {"name": table.name, "title": table.title, "columns": table.columns, "groups": groups, "notes": table.notes}


def _cell(text: str, row: str, dataset: str, *, named: bool) -> dict[str, Any]:
    """A cell of a row and a dataset opens its trials there; a row's name opens those on every dataset."""
    number = re.match(r"[+-]?\d[\d,]*(\.\d+)?", text)
    state = next((state for state in ("diverged", "failed", "collapsed", "mixed", "no data") if state in text), "")
    kind = state.replace(" ", "-") or ("missing" if text == "—" else "")
    shown = row and (dataset or named) and text not in ("—", "no data", "")
    opens = [row, dataset] if shown else []
    value = float(number[0].replace(",", "")) if number else None
    return {"text": text, "value": value, "kind": kind, "opens": opens}


def _environments(read: Iterable[dict[str, Any]]) -> list[tuple[str, int]]:
    """One sentence for each kind of machine and commit that trained, and how many trials it trained."""
    said: Counter[str] = Counter()
    for record in read:
        about = record["environment"]
        git, versions = about.get("git", {}), about.get("versions", {})
        commit = git.get("commit", "")[:12] + (" with changes" if git.get("dirty") else "")
        parts = [about.get("device", "device unknown"), f"commit {commit}" if commit else "commit unknown"]
        parts += [f"Python {about['python']}"] if about.get("python") else []
        said[", ".join([*parts, *(f"{name} {number}" for name, number in versions.items())])] += 1
    return sorted(said.items(), key=lambda item: (-item[1], item[0]))
