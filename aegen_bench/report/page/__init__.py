"""The page for the eyes: one HTML file without network, whose tables sort and filter and whose cells open.

What a cell opens is data in the page (`trials.py`), drawn by `page.js`; `page.html` is a jinja2 template that escapes
every name, and the script sets text, never markup: a row called `<script>` is text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from aegen_bench import __version__
from aegen_bench.files import write_bytes
from aegen_bench.report.cells import trial_counts
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.page.sections import said, shown
from aegen_bench.report.page.trials import Picture, columns, entries
from aegen_bench.report.table import Table

__all__ = ["INLINE_BYTES", "write"]

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
    claims = [table for table in tables if table.name == "claims"]
    # What claims show, their summary would say twice.
    shown_twice = {"claims", "verdicts"} if claims else set()
    text = environment.from_string((here / "page.html").read_text(encoding="utf-8")).render(
        profile=evidence.layout.profile,
        counts=trial_counts(evidence.frame),
        tables=[shown(table, evidence) for table in tables if table.name not in shown_twice],
        claims=[(table.title, table.notes, said(table)) for table in claims],
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
