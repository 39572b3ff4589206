"""The report as one HTML file that works offline. Its tables can be sorted and filtered, and its cells open details.

The details are data in the page (`opened.py`), drawn by `page.js`. The jinja2 template `page.html` escapes all names,
and the script sets text only, never markup, so that a row called `<script>` is harmless.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aegen_bench import __version__
from aegen_bench.files import inside, write_bytes, write_text
from aegen_bench.report import notes
from aegen_bench.report.cells import Cell, Printed, Table
from aegen_bench.report.claims import Finding, alike
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.render.markdown import LONG
from aegen_bench.report.render.opened import Picture, columns, costs, distance, entries, real

if TYPE_CHECKING:
    import jinja2

__all__ = ["INLINE_BYTES", "write"]

INLINE_BYTES = 2_500_000
"""Sample grids up to this number of bytes are embedded in the page; larger ones are written to a folder next to it."""


def write(
    evidence: Evidence, tables: Sequence[Table], findings: Sequence[Finding], skipped: Sequence[str], path: Path
) -> list[Path]:
    """Write the page, and its sample grids next to it if they are too large to be embedded; return the paths."""
    every = evidence.crossed
    found, originals = list(entries(every)), list(real(evidence))
    paths = [path, *_place([*originals, *(picture for _, pictures in found for picture in pictures)], path)]
    here, attrs = files(__package__), evidence.frame.attrs
    claims = [table for table in tables if table.name == "claims"]
    # The cards of the claims already show what the table `verdicts` summarises.
    shown_twice = {"claims", "verdicts"} if claims else set()
    text = _template().render(
        profile=evidence.layout.profile,
        scored=next((part.name for part in evidence.parts), ""),
        counts=notes.trials(evidence.frame),
        tables=[_shown(table, every) for table in tables if table.name not in shown_twice],
        claims=[(table.title, table.notes, list(_claims(evidence, findings))) for table in claims],
        data={
            "names": _names(every),
            "columns": columns(every),
            "costs": costs(every),
            "distance": distance(every),
            "entries": [entry for entry, _ in found],
            "real": [picture.data for picture in originals],
        },
        protocols={part.id: part.about.get("describe", "") for part in evidence.parts},
        environments=attrs["environments"].get(evidence.layout.profile, Counter()).most_common(),
        skipped=list(dict.fromkeys([*skipped, *evidence.unreadable])),
        version=__version__,
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
    )
    if not (path.is_file() and path.read_bytes() == text.encode()):  # a run that has nothing to do changes nothing
        write_text(path, text)
    return paths


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return environment.from_string((files(__package__) / "page.html").read_text(encoding="utf-8"))


def _place(pictures: Sequence[Picture], path: Path) -> Iterator[Path]:
    """Embed the pictures in the page's data, or write them next to it and yield their paths."""
    if sum(len(picture.packed) for picture in pictures) <= INLINE_BYTES:
        for picture in pictures:
            picture.data["grid"] = f"data:image/webp;base64,{b64encode(picture.packed).decode()}"
        return
    beside = path.with_name(f"{path.stem}-grids")
    for picture in pictures:
        write_bytes(where := inside(path.parent, beside.name, picture.name), picture.packed)
        picture.data["grid"] = quote(f"{beside.name}/{picture.name}")
        yield where


def _names(evidence: Evidence) -> dict[str, str]:
    named = {key: evidence.name(key) for key in (*evidence.layout.rows, *evidence.layout.datasets)}
    return named | {part.id: part.name for part in evidence.parts}


def _claims(evidence: Evidence, findings: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    """Yield each claim: statement and section, the verdicts other than "not tested", and the lines of evidence."""
    for claim, groups in alike(findings):
        lines = []
        for group in groups:
            datasets = ", ".join(dict.fromkeys(evidence.name(one.dataset) for one in group))
            places = "; ".join(dict.fromkeys(one.place for one in group))
            first = group[0]
            where = f"{datasets} ({places})" if places else datasets
            paper = f"; from the paper's numbers: {first.printed}" if first.printed else ""
            told = {"verdict": first.verdict, "numbers": first.numbers, "test": first.test + paper}
            lines.append({"where": where} | told)
        verdicts = [(line["where"], line["verdict"]) for line in lines if line["verdict"] != "not tested"]
        yield {"says": claim.says, "section": claim.section, "verdicts": verdicts, "lines": lines}


def _shown(table: Table, evidence: Evidence) -> dict[str, Any]:
    """Return a table for the template: lines in groups that are sorted together, and cells with sort keys and
    details.
    """
    printed = table.printed()
    prose = [max((len(str(line[i])) for line in printed), default=0) > LONG for i, _ in enumerate(table.columns)]
    kinds = ["prose" if long else "words" * column.words for column, long in zip(table.columns, prose, strict=True)]
    bars = [
        _bars([line[i] for line in table.lines]) if column.aligned else {} for i, column in enumerate(table.columns)
    ]
    groups: list[list[list[dict[str, Any]]]] = []
    for number, (line, texts) in enumerate(zip(table.lines, printed, strict=True)):
        cells = [_cell(*each, evidence) for each in zip(line, texts, kinds, strict=True)]
        for cell, of_column in zip(cells, bars, strict=True):
            cell["bar"] = of_column.get(number)
        if groups and not line[0].text:
            groups[-1].append(cells)  # another stage of the trial, or another dataset of the claim above
        else:
            groups.append([cells])
    heads = [
        {"text": column.head, "kind": kind, "tip": column.tip}
        for column, kind in zip(table.columns, kinds, strict=True)
    ]
    about = table.device or table.protocol_name
    known = {"name": table.name, "title": table.title, "notes": table.notes, "heads": heads, "groups": groups}
    return known | {"brief": table.label, "about": about}


def _bars(cells: Sequence[Cell]) -> dict[int, tuple[float, float, float]]:
    """Return the start and width of the interval of each line's number, and the position of the number, in percent of
    the column; on a log scale from the smallest to the largest number, beyond which intervals may extend.
    """
    ours = enumerate(cell if cell.source == "measured" else Cell() for cell in cells)
    known = {i: cell.numbers[0] for i, cell in ours if cell.n and len(cell.numbers) == 1}
    values = [number.value for number in known.values() if number.value is not None and number.value > 0]
    if len(values) < 3 or len(values) < len(known) or max(values) <= min(values):
        return {}
    least, room = log(min(values)), log(max(values) / min(values))

    def at(value: float | None) -> float:
        place = 5 + 90 * (log(value) - least) / room if value and value > 0 else 0.0
        return round(min(100.0, max(0.0, place)), 1)

    spans = {i: (at(number.low), at(number.high), at(number.value)) for i, number in known.items()}
    return {
        i: (low, round(high - low, 1), point) if known[i].low is not None else (point, 0.0, point)
        for i, (low, high, point) in spans.items()
    }


def _cell(cell: Cell, printed: Printed, column: str, evidence: Evidence) -> dict[str, Any]:
    """Return a cell for the template. A cell of a row and dataset opens its trials; the name of a row opens all of its
    trials.
    """
    collapsed = "collapsed" if cell.ended["collapsed"] and cell.n else ""
    flawed = next((name for name in ("diverged", "failed") if cell.ended[name] and cell.n), collapsed)
    state = cell.state.replace(" ", "-") if cell.state != "ok" else flawed
    opens = (
        cell.row in evidence.layout.rows  # not a trunk without a row of its own, nor a source of variance
        and cell.source == "measured"
        and (cell.n or cell.state not in ("ok", "missing", "no data") or cell.text)
    )
    where = [evidence.name(cell.row), evidence.name(cell.dataset) if cell.dataset else ""] if opens else []
    value = cell.numbers[0].value if cell.numbers and cell.state == "ok" else None
    pieces = list(printed.pieces()) if printed.bold else []
    kind = " ".join(filter(None, [state, column]))
    return {"text": str(printed), "parts": pieces, "value": value, "kind": kind, "opens": where}
