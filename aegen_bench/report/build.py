"""Records in, tables and figures out: those of the paper from whatever results there are, one set a profile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

import pandas as pd

from aegen_bench import results
from aegen_bench.errors import UserError, unknown
from aegen_bench.files import fitting, inside, write_text
from aegen_bench.report import notes
from aegen_bench.report import published as printed
from aegen_bench.report.cells import Entry, Spread, Table
from aegen_bench.report.claims import Finding, claims, evaluate, verdicts
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.render import latex, machine, markdown, page
from aegen_bench.report.summary import plan
from aegen_bench.report.tables import SUMMARY, TABLES, build
from aegen_bench.study.command import command

__all__ = [
    "CLAIMS",
    "FORMATS",
    "Chapter",
    "Only",
    "Report",
    "draw",
    "make",
    "require_formats",
    "table",
    "text",
    "write",
]

CLAIMS = {"verdicts": verdicts, "claims": claims}
"""The tables of what the paper says, by name."""
FORMATS: dict[str, tuple[str, Callable[..., str]]] = {
    "markdown": (".md", markdown.render),
    "latex": (".tex", latex.render),
    "csv": (".csv", machine.csv),
    "json": (".json", machine.json),
}
Stale = Callable[[pd.DataFrame], Collection[tuple[str, str, str]]]


@dataclass(frozen=True)
class Only:
    """A choice of the results: by each name that was asked for the rows it stands for, and datasets; empty is all."""

    rows: Mapping[str, Collection[str]] = field(default_factory=dict)
    datasets: Collection[str] = ()

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return their part of a table of results; UserError for a name of which there are none."""
        asked = {"row": ("model", self.rows), "dataset": ("dataset", {name: [name] for name in self.datasets})}
        for column, (kind, names) in asked.items():
            known = set(frame[column].unique())
            for name, members in names.items():
                if known.isdisjoint(members):
                    raise unknown(f"{kind} with results", name, known)
            if names:
                frame = frame[frame[column].isin({member for members in names.values() for member in members})]
        return frame


@dataclass(frozen=True)
class Chapter:
    """What is said of one profile: its tables, what they are made of, and a sentence on each record that was not
    read.
    """

    evidence: Evidence
    tables: list[Table]
    findings: list[Finding]
    skipped: list[str]

    @property
    def profile(self) -> str:
        return self.evidence.layout.profile

    def shown(self, name: str) -> list[Table]:
        """Return the tables that a format shows: CSV has those of numbers; LaTeX lacks `claims`, sentences over many
        pages, of which an article gets the summary, `verdicts`.
        """
        if name == "csv":
            return [table for table in self.tables if any(machine.records(table))]
        return [table for table in self.tables if (name, table.name) != ("latex", "claims")]

    def write(self, name: str, out: Path) -> Iterator[Path]:
        """Write every table in a format, each and all together, to OUT/PROFILE and yield the paths."""
        if name == "html":
            path = inside(out, self.profile, "report.html")
            yield from page.write(self.evidence, self.tables, self.findings, self.skipped, path)
            return
        suffix, render = FORMATS[name]
        shown = self.shown(name)
        files = {table.name: render(table) for table in shown}
        files["tables"] = "\n".join([render(*shown), *(self.skipped if name == "markdown" else [])])
        if name == "latex" and shown:
            files["main"] = latex.document(*shown)
        for stem, content in files.items():
            path = inside(out, self.profile, fitting(stem, suffix))
            write_text(path, content)
            yield path


@dataclass(frozen=True)
class Report:
    """The tables of each profile, to be printed or written."""

    chapters: list[Chapter]

    def text(self, name: str = "markdown") -> str:
        """Return them as one text in a format of FORMATS."""
        if name == "markdown":
            return "\n".join("\n".join([markdown.render(*one.tables), *one.skipped]) for one in self.chapters)
        return FORMATS[name][1](*(table for one in self.chapters for table in one.shown(name)))

    def summary(self, out: Path) -> str:
        """Return the first table of each profile without its notes, where the others were written, and what was not
        read.
        """
        parts = []
        for one in self.chapters:
            more, said = len(one.tables) - 1, [notes.trials(one.evidence.frame)]
            if more > 0:
                names = "table" if more == 1 else "tables"
                said.append(f"{more} more {names}, and the notes to all of them: {out / one.profile}")
            first = [replace(table, notes=said) for table in one.tables[:1]]
            parts.append("\n".join([markdown.render(*first), *one.skipped]))
        return "\n".join(parts)

    def write(self, out: Path, formats: Sequence[str] = ("markdown", "latex")) -> list[Path]:
        """Write OUT/PROFILE/tableN.md and so on, and all of them in tables.md, or as the page report.html; return the
        paths. UserError for an unknown format.
        """
        require_formats(formats)
        return [path for one in self.chapters for name in formats for path in one.write(name, out)]


def require_formats(names: Sequence[str]) -> None:
    """UserError when one of the names is no format."""
    for name in names:
        if name not in (*FORMATS, "html"):
            raise unknown("format", name, (*FORMATS, "html"))


def make(
    root: Path,
    published: Path,
    tables: Sequence[str] = TABLES,
    *,
    profile: str | None = None,
    protocol: str | None = None,
    planned: Sequence[Entry] = (),
    no_data: Collection[str] = (),
    stale: Stale | None = None,
    spread: str = "seeds",
    only: Only | None = None,
) -> Report:
    """Return the report of the results under `root`, or `only` of some of them.

    Without `profile`, one set of tables for each profile with results; `protocol` is a name or id. `planned`, (dataset,
    row), and `no_data`, datasets, are what a run of the profile named asked for. `stale` says of a table of results
    which (profile, dataset, row) of it would be trained otherwise today. UserError when there are no results or a name
    is unknown.
    """
    numbers = printed.load(published)
    if spread not in (known := [name for name in get_args(Spread) if name]):
        raise unknown("spread", spread, known)
    frame = _frame(root, profile, only)
    old = set(stale(frame)) if stale else set()
    others = [results.load(root, profile=name) for name in results.NO_TRIALS if (root / name).is_dir()]
    joint = pd.concat(others, ignore_index=True) if others else None
    if joint is not None:
        joint.attrs = {"notes": {entry: said for one in others for entry, said in one.attrs["notes"].items()}}
    parts = {name: part for name, part in frame.groupby("profile") if name != results.ANCHORS}
    asked = {name: _protocol(part, protocol) for name, part in parts.items()} if protocol else dict.fromkeys(parts)
    if protocol and not any(asked.values()):
        raise unknown("protocol with results", protocol, [*_protocols(frame), *_protocols(frame).values()])
    chapters = []
    for name in (name for name, one in asked.items() if one or not protocol):
        shown = [table for table in tables if name != results.EXTERNAL or table not in ("2", "5", "6", *CLAIMS)]
        marked = [(dataset, row) for where, dataset, row in old if where == name]
        behind = cast("Spread", spread)
        layout = plan(parts[name], numbers, planned=planned, no_data=no_data, stale=marked, spread=behind)
        evidence = Evidence(root, parts[name], layout, joint, asked[name])
        findings = list(evaluate(evidence)) if set(shown) & set(CLAIMS) else []
        built = list(build(evidence, [table for table in shown if table not in CLAIMS]))
        built += [CLAIMS[table](evidence, findings) for table in shown if table in CLAIMS]
        # What lies in no profile that has a chapter is said in each: anchors, or folders that cannot be listed.
        skipped = [(path.relative_to(root).parts[0], error) for path, error in frame.attrs["corrupt"]]
        corrupt = [f"Skipped: {error}\n" for where, error in skipped if where == name or where not in parts]
        chapters.append(Chapter(evidence, built, findings, corrupt))
    return Report(chapters)


def _protocols(frame: pd.DataFrame) -> dict[str, str]:
    """The ids under which results are scored, with their names."""
    about = frame.attrs["protocols"]
    return {one: about.get(one, {}).get("name", one) for one in frame["protocol"].unique() if one}


def _protocol(frame: pd.DataFrame, asked: str) -> str | None:
    """The id that is meant by a name or id, None where there is none; UserError where a name stands for several."""
    found = [one for one, name in _protocols(frame).items() if asked in (one, name)]
    if len(found) > 1:
        raise UserError(f"protocol {asked} stands for the ids {' and '.join(found)}: choose one of them")
    return found[0] if found else None


def table(
    root: str | Path = "results",
    name: str = "1",
    *,
    profile: str | None = None,
    protocol: str | None = None,
    device: str | None = None,
) -> pd.DataFrame:
    """Return one table of a report as a pandas frame, indexed by dataset, row and quantity (and training stage, or the
    row that is compared with): the numbers at full precision in `value`, `std`, `low` and `high` (95% interval over
    seeds), of `n` trials each, and how these ended.

    `table("results", "1", profile="lite", protocol="lite").loc["fashion", "glf", "fd"]` is a cell of Table 1. UserError
    where there are several profiles, protocols or devices and none is chosen: their numbers do not compare.
    """
    made = make(Path(root), printed.default(), [name], profile=profile, protocol=protocol)
    tables = [one for chapter in made.chapters for one in chapter.tables if device in (None, one.device)]
    kinds = {(one.profile, one.protocol_name, one.device) for one in tables}
    if len(kinds) != 1:
        which = "; ".join(", ".join(filter(None, kind)) for kind in sorted(kinds)) or "none"
        raise UserError(f"table {name}: choose a profile, and a protocol or device; there are: {which}")
    return pd.concat([machine.frame(one) for one in tables])


def write(
    root: Path,
    published: Path,
    out: Path,
    formats: Sequence[str] = ("markdown", "latex"),
    tables: Sequence[str] = TABLES,
    **options: Any,
) -> list[Path]:
    """Make a report and write it; `options` are those of `make`."""
    return make(root, published, tables, **options).write(out, formats)


def text(root: Path, published: Path, tables: Sequence[str] = SUMMARY, **options: Any) -> str:
    """Make a report and return it as text; `options` are those of `make`."""
    return make(root, published, tables, **options).text()


def draw(
    root: Path,
    published: Path,
    out: Path,
    figures: Sequence[str],
    *,
    profile: str | None = None,
    only: Only | None = None,
) -> Iterator[str]:
    """Write OUT/PROFILE/figureNAME.png and .pdf and yield a line for each figure asked for; `all` is every one. Trials
    that are not among `only` are as if they were not there.

    UserError when there are no results or a name is unknown.
    """
    from aegen_bench.report.figures import write

    numbers, frame = printed.load(published), _frame(root, profile, only)
    parts = [part for name, part in frame.groupby("profile") if name not in results.NO_TRIALS]
    if not parts:
        raise UserError(f"figures are drawn of trials, and there is none under {root}; {_some(root)}")
    for part in parts:
        yield from write(Evidence(root, part, plan(part, numbers)), figures, out)


def _frame(root: Path, profile: str | None, only: Only | None = None) -> pd.DataFrame:
    frame = results.load(root, profile=profile)
    if frame.empty:
        skipped = "".join(f"; {error}" for _, error in frame.attrs["corrupt"])
        raise UserError(f"no trial has ended under {root}; {_some(root)}{skipped}")
    return only.of(frame) if only else frame


def _some(root: Path) -> str:
    return f"`{command('run', 'smoke', results=root)}` trains some in minutes"
