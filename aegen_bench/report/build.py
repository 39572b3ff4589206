"""Builds the report: turns records into the paper's tables and figures, one set per profile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

import pandas as pd

from aegen_bench import results
from aegen_bench.errors import UserError, unknown
from aegen_bench.files import fitting, inside, write_text
from aegen_bench.report import published as printed
from aegen_bench.report.cells import Entry, Spread, Table
from aegen_bench.report.claims import Finding, claims, evaluate, verdicts
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.render import latex, machine, markdown, page
from aegen_bench.report.summary import plan
from aegen_bench.report.tables import TABLES, build
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
Unasked = Callable[[pd.DataFrame], Collection[tuple[str, str]]]


@dataclass(frozen=True)
class Only:
    """A selection of results: {name as given by the user: rows it stands for}, and datasets. Empty selects all."""

    rows: Mapping[str, Collection[str]] = field(default_factory=dict)
    datasets: Collection[str] = ()

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the selected lines of a table of results; UserError for a name without results."""
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
    """The report of one profile: its tables, the evidence behind them, and a sentence on each file that could not be
    used.
    """

    evidence: Evidence
    tables: list[Table]
    findings: list[Finding]
    skipped: list[str]

    @property
    def profile(self) -> str:
        """The name of the profile."""
        return self.evidence.layout.profile

    @property
    def remarks(self) -> list[str]:
        """What stands below all tables: the files that were skipped."""
        return [f"Skipped: {said}\n" for said in self.skipped]

    def shown(self, name: str) -> list[Table]:
        """Return the tables that a format includes. CSV has those with numbers; LaTeX omits `claims`, which fill many
        pages, in favour of their summary, `verdicts`.
        """
        if name == "csv":
            return [table for table in self.tables if any(machine.records(table))]
        return [table for table in self.tables if (name, table.name) != ("latex", "claims")]

    def write(self, name: str, out: Path) -> Iterator[Path]:
        """Write the tables in a format to OUT/PROFILE, each in its own file and all in one, and yield the paths."""
        if name == "html":
            path = inside(out, self.profile, "report.html")
            yield from page.write(self.evidence, self.tables, self.findings, self.skipped, path)
            return
        suffix, render = FORMATS[name]
        shown = self.shown(name)
        files = {table.name: render(table) for table in shown}
        files["tables"] = "\n".join([render(*shown), *(self.remarks if name == "markdown" else [])])
        if name == "latex" and shown:
            files["main"] = latex.document(*shown)
        for stem, content in files.items():
            path = inside(out, self.profile, fitting(stem, suffix))
            write_text(path, content)
            yield path


@dataclass(frozen=True)
class Report:
    """The chapters of all profiles, to be printed or written."""

    chapters: list[Chapter]

    def text(self, name: str = "markdown") -> str:
        """Return all tables as one text, in a format of FORMATS."""
        if name == "markdown":
            return "\n".join("\n".join([markdown.render(*one.tables), *one.remarks]) for one in self.chapters)
        return FORMATS[name][1](*(table for one in self.chapters for table in one.shown(name)))

    def write(self, out: Path, formats: Sequence[str] = ("markdown", "latex")) -> list[Path]:
        """Write OUT/PROFILE/tableN.md etc., and tables.md with all of them, or the page report.html; return the paths.

        UserError for an unknown format.
        """
        require_formats(formats)
        return [path for one in self.chapters for name in formats for path in one.write(name, out)]


def require_formats(names: Sequence[str]) -> None:
    """Raise UserError if one of the names is not a format."""
    for name in names:
        if name not in (*FORMATS, "html"):
            raise unknown("format", name, (*FORMATS, "html"))


def make(
    root: Path,
    tables: Sequence[str] = TABLES,
    *,
    profile: str | None = None,
    protocol: str | None = None,
    planned: Sequence[Entry] = (),
    no_data: Collection[str] = (),
    stale: Stale | None = None,
    spread: str = "seeds",
    only: Only | None = None,
    unasked: Unasked | None = None,
    described: Mapping[str, str] | None = None,
) -> Report:
    """Return the report of the results under `root`, or of those that `only` selects.

    Without `profile`, it has a chapter for each profile with results; `protocol` is a name or id. `planned`, entries
    (dataset, row), and `no_data`, datasets without images, come from a run of the given profile. `stale` maps a table
    of results to the entries (profile, dataset, row) that would be trained differently today, and `unasked` to the
    (profile, row) that only the tables of the matrix show: unless `only` names rows, and pairs only beside others.
    `described` has descriptions of protocols by id, which are printed instead of those in the records. UserError if
    there are no results or a name is unknown.
    """
    numbers = printed.load(printed.default())
    if spread not in (known := [name for name in get_args(Spread) if name]):
        raise unknown("spread", spread, known)
    frame, aside = _frames(root, profile, only, unasked)
    old = {entry for one in (frame, aside) for entry in stale(one)} if stale else set()
    others = [results.load(root, profile=name) for name in results.NO_TRIALS if (root / name).is_dir()]
    listed = {path for path, _ in frame.attrs["corrupt"]}
    frame.attrs["corrupt"] += [one for other in others for one in other.attrs["corrupt"] if one[0] not in listed]
    joint = pd.concat(others, ignore_index=True) if others else None
    if joint is not None:
        joint.attrs = {"notes": {entry: said for one in others for entry, said in one.attrs["notes"].items()}}
    parts = {name: part for name, part in frame.groupby("profile") if name != results.ANCHORS}
    if not parts:
        raise UserError(f"only anchors have been scored under {root}; {_some(root)}")
    asked = {name: _protocol(part, protocol) for name, part in parts.items()} if protocol else dict.fromkeys(parts)
    if protocol and not any(asked.values()):
        raise unknown("protocol with results", protocol, [*_protocols(frame), *_protocols(frame).values()])
    chapters = []
    for name in (name for name, one in asked.items() if one or not protocol):
        shown = [table for table in tables if name != results.EXTERNAL or table not in ("2", "5", "6", *CLAIMS)]
        marked = [(dataset, row) for where, dataset, row in old if where == name]
        behind = cast("Spread", spread)
        layout = plan(parts[name], numbers, planned=planned, no_data=no_data, stale=marked, spread=behind)
        beside = aside[aside["profile"] == name]
        evidence = Evidence(root, parts[name], layout, joint, asked[name], beside, described or {})
        findings = list(evaluate(evidence)) if set(shown) & set(CLAIMS) else []
        built = list(build(evidence, [table for table in shown if table not in CLAIMS]))
        built += [CLAIMS[table](evidence, findings) for table in shown if table in CLAIMS]
        # Files outside the profiles that have a chapter (anchors, unreadable folders) are reported in every chapter.
        skipped = [(path.relative_to(root).parts[0], error) for path, error in frame.attrs["corrupt"]]
        said = [str(error) for where, error in skipped if where == name or where not in parts]
        said += evidence.unreadable  # by the tables; the page may find more, and adds it
        chapters.append(Chapter(evidence, built, findings, said))
    return Report(chapters)


def _protocols(frame: pd.DataFrame) -> dict[str, str]:
    """Return {id: name} of the protocols with results."""
    about = frame.attrs["protocols"]
    return {one: about.get(one, {}).get("name", one) for one in frame["protocol"].unique() if one}


def _protocol(frame: pd.DataFrame, asked: str) -> str | None:
    """Return the id for a name or id, None if there is none; UserError if the name has several ids."""
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
    row that is compared with). The columns hold numbers at full precision, `value`, `std`, `low` and `high` (95%
    interval over seeds), the number `n` of trials, and how these ended.

    `table("results", "1", profile="lite", protocol="lite").loc["fashion", "glf", "fd"]` is a cell of Table 1. UserError
    if there are several profiles, protocols or devices, whose numbers are not comparable, and none is chosen.

    `protocol` is a name or id; `device` is that of timing runs, and may be followed by their id: "H200, timing 12fd4e".
    """
    from aegen_bench.study.staleness import Present

    made = make(Path(root), [name], profile=profile, protocol=protocol, unasked=Present().unasked)
    every = [one for chapter in made.chapters for one in chapter.tables]
    tables = [one for one in every if device is None or f"{one.device},".startswith(f"{device},")]
    kinds = {(one.profile, one.protocol, one.device): one.protocol_name for one in tables}
    if len(kinds) != 1:
        named = [(profile, name and f"{name} ({id})", device) for (profile, id, device), name in sorted(kinds.items())]
        which = "; ".join(", ".join(filter(None, kind)) for kind in named) or "none"
        raise UserError(f"table {name}: choose a profile, and a protocol or device; there are: {which}")
    return pd.concat([machine.frame(one) for one in tables])


def draw(
    root: Path,
    out: Path,
    figures: Sequence[str],
    *,
    profile: str | None = None,
    only: Only | None = None,
    unasked: Unasked | None = None,
) -> Iterator[str]:
    """Write OUT/PROFILE/figureNAME.png and .pdf, and yield a line per figure; `all` stands for all figures.

    Only trials selected by `only`, and those of `unasked` for the matrix (see `make`), are used. UserError if there are
    no results or a name is unknown.
    """
    from aegen_bench.report.figures import write

    numbers, (frame, aside) = printed.load(printed.default()), _frames(root, profile, only, unasked)
    parts = [part for name, part in frame.groupby("profile") if name not in results.NO_TRIALS]
    if not parts:
        raise UserError(f"figures are drawn of trials, and there is none under {root}; {_some(root)}")
    for part in parts:
        beside = aside[aside["profile"].isin(part["profile"].unique())]
        yield from write(Evidence(root, part, plan(part, numbers), aside=beside), figures, out)


def _frames(
    root: Path, profile: str | None, only: Only | None, unasked: Unasked | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the results that are rows of the tables, and those that only the tables of the matrix show."""
    frame = results.load(root, profile=profile)
    if frame.empty:
        skipped = "".join(f"; {error}" for _, error in frame.attrs["corrupt"])
        raise UserError(f"no trial has ended under {root}; {_some(root)}{skipped}")
    asked = only.of(frame) if only else frame
    entries, pairs = set(_entries(asked)), frame.attrs["pairs"]
    aside = set(unasked(asked)) if unasked and not (only and only.rows) else set()
    whole = {profile for profile, _ in entries} - {profile for profile, _ in entries - aside}
    aside -= {entry for entry in aside if entry[0] in whole and entry in pairs}
    trunks = {(entry[0], pairs[entry][0]) for entry in entries if entry in pairs} - entries
    beside = _entries(frame).isin(aside | trunks) & frame["dataset"].isin(asked["dataset"].unique())
    return asked[~_entries(asked).isin(aside)], frame[beside]


def _entries(frame: pd.DataFrame) -> pd.MultiIndex:
    """Return the (profile, row) of each line of results."""
    return pd.MultiIndex.from_frame(frame[["profile", "row"]])


def _some(root: Path) -> str:
    return f"`{command('run', 'smoke', results=root)}` trains some in minutes"
