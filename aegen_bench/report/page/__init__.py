"""The page for the eyes: one HTML file without network, whose tables sort and filter and whose cells open.

What a cell opens is data in the page (`trials.py`), drawn by `page.js`; `page.html` is a jinja2 template that escapes
every name, and the script sets text, never markup: a row called `<script>` is text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aegen_bench import __version__
from aegen_bench.files import write_bytes
from aegen_bench.report.cells import trial_counts
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.markdown import LONG
from aegen_bench.report.page.trials import Picture, columns, entries
from aegen_bench.report.table import Number, Table

__all__ = ["INLINE_BYTES", "write"]

STATES = ("diverged", "failed", "collapsed", "mixed", "no data", "not reproduced", "not tested", "reproduced")

INLINE_BYTES = 2_500_000
"""Sample grids up to this many bytes are inside the page, more of them lie in a folder beside it."""


def write(evidence: Evidence, tables: Sequence[Table], skipped: Sequence[str], path: Path) -> list[Path]:
    """Write the page, and its sample grids beside it where they are too large to be inside; return the paths."""
    import jinja2

    found = list(entries(evidence))
    paths = [path, *_place([picture for _, pictures in found for picture in pictures], path)]
    here = files(__name__)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    attrs = evidence.frame.attrs
    # The page has the evidence on claims, so their summary would say it twice.
    summed = any(table.name == "claims" for table in tables)
    text = environment.from_string((here / "page.html").read_text(encoding="utf-8")).render(
        profile=evidence.layout.profile,
        counts=trial_counts(evidence.frame),
        tables=[_shown(table, evidence) for table in tables if not (summed and table.name == "verdicts")],
        data={"names": _names(evidence), "columns": columns(evidence), "entries": [entry for entry, _ in found]},
        protocols={part.protocol: attrs["protocols"][part.protocol].get("describe", "") for part in evidence.parts()},
        environments=attrs["environments"].get(evidence.layout.profile, Counter()).most_common(),
        skipped=[*(text.strip() for text in skipped), *evidence.unreadable],
        version=__version__,
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
    )
    write_bytes(path, text.encode())
    return paths


def _place(pictures: Sequence[Picture], path: Path) -> Iterator[Path]:
    """Put the pictures into the page's data, or write them beside it and yield where."""
    if sum(len(picture.packed) for picture in pictures) <= INLINE_BYTES:
        for picture in pictures:
            picture.data["grid"] = picture.inlined()
        return
    beside = path.with_name(f"{path.stem}-grids")
    for picture in pictures:
        write_bytes(beside / picture.name, picture.packed)
        picture.data["grid"] = quote(f"{beside.name}/{picture.name}")
        yield beside / picture.name


def _names(evidence: Evidence) -> dict[str, str]:
    return {key: evidence.name(key) for key in (*evidence.layout.rows, *evidence.layout.datasets)}


def _shown(table: Table, evidence: Evidence) -> dict[str, Any]:
    """A table for the template: its lines in groups that sort as one, each cell with what it sorts by and opens."""
    rows = {evidence.name(row) for row in evidence.layout.rows}
    datasets = {evidence.name(dataset) for dataset in evidence.layout.datasets}
    titled = [name for name in evidence.layout.datasets if table.name.startswith(f"scores-{name}")]
    prose = [max(map(len, texts), default=0) > LONG for texts in zip(table.columns, *table.rows, strict=True)]
    groups: list[list[list[dict[str, Any]]]] = []
    for line in table.rows:
        row = next((name for text in line if (name := text.removesuffix(" †")) in rows), "")
        fixed = evidence.name(titled[0]) if titled else next((text for text in line if text in datasets), "")
        cells = [
            {"text": text, "parts": [], "value": None, "kind": "prose", "opens": []}
            if long
            else _cell(text, row, column if column in datasets else fixed, named=text.removesuffix(" †") == row)
            for column, text, long in zip(table.columns, line, prose, strict=True)
        ]
        if groups and not line[0]:
            groups[-1].append(cells)  # another stage of the trial, or another dataset of the claim above
        else:
            groups.append([cells])
    heads = [{"text": text, "prose": long} for text, long in zip(table.columns, prose, strict=True)]
    brief = table.title.partition(". ")[0]
    known = {"name": table.name, "title": table.title, "notes": table.notes, "heads": heads, "groups": groups}
    protocol = table.about.get("protocol", "")
    return known | {"brief": brief, "about": evidence.protocol_name(protocol)}


def _cell(text: str, row: str, dataset: str, *, named: bool) -> dict[str, Any]:
    """A cell of a row and a dataset opens its trials there; a row's name opens those on every dataset."""
    number = re.match(r"[+-]?\d[\d,]*(\.\d+)?", text)
    state = next((state for state in STATES if state in text), "")
    kind = state.replace(" ", "-") or ("missing" if text == "—" else "")
    shown = row and (dataset or named) and text not in ("—", "no data", "")
    opens = [row, dataset] if shown else []
    value = float(number[0].replace(",", "")) if number else None
    return {"text": text, "parts": _parts(text), "value": value, "kind": kind, "opens": opens}


def _parts(text: str) -> list[tuple[str, bool]]:
    """The pieces of a cell, each with whether it is bold; none where nothing is."""
    if not isinstance(text, Number) or not text.bold:
        return []
    pieces = [(f"{', ' if i else ''}{number}", i in text.bold) for i, number in enumerate(text.numbers)]
    return [*pieces, (f" {text.behind}", False)]
