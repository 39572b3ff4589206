"""Records in, tables and figures out: those of the paper from whatever results there are, one set a profile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd

from aegen_bench import results
from aegen_bench.errors import UserError, unknown
from aegen_bench.files import write_bytes
from aegen_bench.report import latex, markdown, page
from aegen_bench.report import published as printed
from aegen_bench.report.claims import tabulate
from aegen_bench.report.epochs import convergence
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.table import Table
from aegen_bench.report.tables import SUMMARY, TABLES, build, layout

__all__ = ["CLAIMS", "FORMATS", "TABLES", "draw", "text", "write"]

CLAIMS = tuple(tabulate.TABLES)
FORMATS: dict[str, tuple[str, Callable[..., str]]] = {
    "markdown": (".md", markdown.render),
    "latex": (".tex", latex.render),
}
_Page = tuple[str, list[Table], list[str]]  # profile, its tables, what was skipped


def write(
    root: Path,
    published: Path,
    out: Path,
    formats: Sequence[str] = ("markdown", "latex"),
    tables: Sequence[str] = TABLES,
    *,
    profile: str | None = None,
    protocol: str | None = None,
    planned: Sequence[tuple[str, str]] = (),
    no_data: Collection[str] = (),
) -> list[Path]:
    """Write OUT/PROFILE/tableN.md and .tex, and all of them in tables.md and tables.tex, or as the page report.html;
    return the paths.

    Without `profile`, one set for each profile with results. `planned`, (dataset, row), and `no_data`, datasets, are
    what a run of the profile named asked for. UserError when there are no results or a name is unknown.
    """
    for name in formats:
        if name not in (*FORMATS, "html"):
            raise unknown("format", name, (*FORMATS, "html"))
    paths = []
    for folder, built, skipped in _pages(root, published, tables, profile, protocol, planned, no_data):
        for name in formats:
            if name == "html":
                part = _frame(root, folder)
                evidence = Evidence(root, part, layout(part, printed.load(published), planned=planned, no_data=no_data))
                paths += page.write(evidence, built, skipped, out / folder / "report.html")
                continue
            suffix, render = FORMATS[name]
            # The evidence on claims is sentences over many pages; an article gets its summary, `verdicts`.
            files = {table.name: render(table) for table in built if (name, table.name) != ("latex", "claims")}
            together = list(files.values()) + (skipped if name == "markdown" else [])
            for stem, content in {**files, "tables": "\n".join(together)}.items():
                path = out / folder / f"{stem}{suffix}"
                write_bytes(path, content.encode())
                paths.append(path)
    return paths


def text(
    root: Path,
    published: Path,
    tables: Sequence[str] = SUMMARY,
    *,
    profile: str | None = None,
    protocol: str | None = None,
    planned: Sequence[tuple[str, str]] = (),
    no_data: Collection[str] = (),
) -> str:
    """Return the same tables as Markdown for the terminal."""
    pages = _pages(root, published, tables, profile, protocol, planned, no_data)
    return "\n".join("\n".join([*map(markdown.render, built), *skipped]) for _, built, skipped in pages)


def draw(
    root: Path, published: Path, out: Path, figures: Sequence[str], *, profile: str | None = None
) -> Iterator[str]:
    """Write OUT/PROFILE/figureNAME.png and .pdf and yield a line for each figure asked for; `all` is every one.

    UserError when there are no results or a name is unknown.
    """
    from aegen_bench.report.figures import write

    numbers = printed.load(published)
    frame = _frame(root, profile)
    profiles = sorted(set(frame["profile"]) - set(results.NO_TRIALS))
    if not profiles:
        raise UserError(f"figures are drawn of trials, and there is none under {root}: `aegen-bench run` trains some")
    for name in profiles:
        part = frame[frame["profile"] == name]
        yield from write(Evidence(root, part, layout(part, numbers)), figures, out / name)


def _frame(root: Path, profile: str | None) -> pd.DataFrame:
    frame = results.load(root, profile=profile)
    if frame.empty:
        skipped = "".join(f"; {error}" for _, error in frame.attrs["corrupt"])
        raise UserError(f"no trial has ended under {root}: `aegen-bench run` trains some{skipped}")
    return frame


def _pages(
    root: Path,
    published: Path,
    tables: Sequence[str],
    profile: str | None,
    protocol: str | None,
    planned: Sequence[tuple[str, str]],
    no_data: Collection[str],
) -> list[_Page]:
    numbers = printed.load(published)
    frame = _frame(root, profile)
    others = [results.load(root, profile=name) for name in results.NO_TRIALS if (root / name).is_dir()]
    joint = pd.concat(others, ignore_index=True) if others else None
    pages = []
    for name in sorted(set(frame["profile"]) - {results.ANCHORS}):
        part = frame[frame["profile"] == name]
        shown = [table for table in tables if name != results.EXTERNAL or table not in ("5", "6", *CLAIMS)]
        if profile is None and protocol in set(frame["protocol"]) - set(part["protocol"]):
            continue  # asked for by its id, and another profile has it
        measured = [table for table in shown if table not in CLAIMS]
        evidence = Evidence(root, part, layout(part, numbers, planned=planned, no_data=no_data))
        near = convergence(evidence) if "5" in shown else {}
        built = build(
            part, numbers, measured, others=joint, planned=planned, no_data=no_data, protocol=protocol, near=near
        )
        built += [tabulate.TABLES[table](evidence, protocol) for table in shown if table in CLAIMS]
        corrupt = [error for path, error in frame.attrs["corrupt"] if path.parts[-5] == name]
        pages.append((name, built, [f"Skipped: {error}\n" for error in corrupt]))
    return pages
