"""The command `list`: models, datasets, profiles, groups, and the state of every trial of a profile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aegen_bench import results, runner
from aegen_bench.commands.request import Request
from aegen_bench.commands.terminal import Grid, grid, spoken
from aegen_bench.data import fetch_command, missing, to_fetch
from aegen_bench.errors import UserError, unknown
from aegen_bench.evaluation.metric import described
from aegen_bench.progress import facts, terminal_width, wrapped
from aegen_bench.results.locks import describe
from aegen_bench.study import command

__all__ = ["lines", "why"]


def lines(asked: Request, what: str, *, long: bool = False) -> Iterator[str | Grid]:
    """Yield one section, or all in short form. `long` shows the arguments of rows and the seeds of trials."""
    sections: dict[str, Callable[[Request, bool], Iterator[str | Grid]]] = {
        "models": _models,
        "priors": _priors,
        "datasets": _datasets,
        "profiles": _profiles,
        "groups": _groups,
        "metrics": _metrics,
        "trials": _states,
    }
    if what not in {*sections, "all"}:
        raise unknown("list", what, [*sections, "all"])
    for name, section in sections.items():
        if what == name or (what == "all" and long):
            if name != "metrics":  # a table for a page
                yield f"{name}:"
            yield from section(asked, long)
    if what == "all" and not long:
        yield from _overview(asked)


def _overview(asked: Request) -> Iterator[str | Grid]:
    """Yield a summary that fits on one screen."""
    sections = _sections(asked)
    sweeps = {name: len(rows) for name, rows in asked.study.groups.items() if name not in ("all", "table1")}
    sections["other groups"] = [f"{name} ({n} rows)" for name, n in sweeps.items()]
    yield "models (`aegen-bench list models` describes them, `aegen-bench list models --long` shows their arguments):"
    yield from _wrapped({kind: ", ".join(names) for kind, names in sections.items() if names})
    yield from (f"  BROKEN: {row}: {why}" for row, why in asked.study.broken(list(asked.study.rows)).items())
    yield "priors:"
    sound = [name for name, prior in asked.study.priors.items() if not prior.error]
    yield from _wrapped({"on any trunk": ", ".join(sound)})
    yield from (f"  BROKEN: {name}: {prior.error}" for name, prior in asked.study.priors.items() if prior.error)
    yield "datasets:"
    yield from _datasets(asked, False)
    yield "profiles:"
    yield from _profiles(asked, False)
    yield "trials:"
    yield from _states(asked, False, joined=True)


def _sections(asked: Request) -> dict[str, list[str]]:
    """Return the rows by section. Rows of sweeps and pairs are listed as groups instead."""
    groups = dict(asked.study.groups)
    everything, table1 = groups.pop("all"), groups.pop("table1", [])
    grouped = {row for rows in (everything, table1, *groups.values()) for row in rows}
    return {
        "table1": table1,
        "also in all": [row for row in everything if row not in table1],
        "by name only": [row for row in asked.study.rows if row not in grouped],
    }


def _wrapped(parts: Mapping[str, str], width: int = 100) -> Iterator[str]:
    """Yield `  name   text` with the text wrapped, to the width or that of the terminal, and indented."""
    left = max(map(len, parts))
    for name, text in parts.items():
        yield wrapped(f"  {name:<{left}}  {text}", min(width, terminal_width(sys.stdout) or width))


def _models(asked: Request, long: bool) -> Iterator[str]:
    """Yield one line per row, in sections, and one per sweep; if `long`, every row with its arguments instead."""
    if long:
        pairs = asked.study.listed_pairs  # they are listed as one group
        yield from (_model(asked, row, long=True) for row in asked.study.rows if row not in pairs)
        return
    sections = {kind: rows for kind, rows in _sections(asked).items() if rows}
    width = max(len(row) for rows in sections.values() for row in rows)
    for kind, rows in sections.items():
        yield f" {kind}:"
        yield from (_model(asked, row, width=width) for row in rows)
    others = {name: rows for name, rows in asked.study.groups.items() if name not in ("all", "table1")}
    yield " other groups, row by row in `aegen-bench list groups`:"
    width = max(map(len, others), default=0)
    for name, rows in others.items():
        several = f"{rows[0]}, ..., {rows[-1]}" if len(rows) > 2 else ", ".join(rows)
        yield f"  {name:<{width}}  {len(rows)} rows: {several}"


def _model(asked: Request, row: str, *, long: bool = False, width: int = 0) -> str:
    settings, entry = asked.study.rows[row], asked.study.entry(row)
    try:
        values = {} if entry.error else entry.check(settings.with_)
    except UserError as error:
        entry = replace(entry, error=str(error))
    if entry.error:
        return f"  {row:<{width}}  BROKEN: {entry.error}"
    same = "" if entry.name == row else f"  (baseline {entry.name})"
    if settings.trunk:
        same = f"  (prior {settings.prior} on {settings.trunk})"
    arguments = f"  [{', '.join(f'{name}={value}' for name, value in values.items())}]" if long else ""
    return f"  {row:<{width}}  {entry.doc}{same}{arguments}"


def _priors(asked: Request, long: bool) -> Iterator[str]:
    for name, prior in asked.study.priors.items():
        if prior.error:
            yield f"  {name}  BROKEN: {prior.error}"
            continue
        arguments = ", ".join(f"{argument}={a.default}" for argument, a in prior.arguments.items())
        yield f"  {name}  {prior.doc}" + (f"  [{arguments}]" if long else "")


def _datasets(asked: Request, long: bool) -> Iterator[str]:
    hints = {name: missing(name, dataset.recipe, asked.data) for name, dataset in asked.study.datasets.items()}
    fetched = to_fetch(hints)
    if ready := [name for name, hint in hints.items() if not hint]:
        yield f"  ready: {', '.join(ready)}"
    if fetched and not long:
        yield f"  missing: {', '.join(fetched)}: `{fetch_command(fetched, asked.data)}`"
    for name, hint in hints.items():
        if hint and (long or name not in fetched):
            yield f"  {name}  {hint.removeprefix(f'{name}: ')}"


def _profiles(asked: Request, long: bool) -> Iterator[str]:
    for name, p in asked.study.profiles.items():
        draws = f", {p.draws} draws" if p.draws > 1 else ""
        scope = f"{', '.join(p.models)} on {', '.join(p.datasets)}; {p.seeds} seeds{draws}"
        yield f"  {name}  {scope}; scored by {', '.join(p.protocols)}"


def _groups(asked: Request, long: bool) -> Iterator[str]:
    for name, rows in asked.study.groups.items():
        yield f"  {name}  {', '.join(rows)}"


def _metrics(asked: Request, long: bool) -> Iterator[str]:
    yield from described()


def _states(asked: Request, long: bool, *, joined: bool = False) -> Iterator[str | Grid]:
    yield f"  profile {asked.study.profile_name}, results in {asked.results}"
    for label, note in runner.running(asked.results):
        yield f"  running: {label}: {facts(note)}, {describe(note)}"
    skipped: list[str] = []
    planned = asked.plan(also=_recorded(asked, skipped))
    if long:
        cells: dict[tuple[str, str], dict[str, list[str]]] = {}
        for item in planned:
            states = cells.setdefault((item.trial.dataset, item.trial.row), {})
            states.setdefault(item.state, []).append(str(item.trial.seed))
        for (dataset, row), states in cells.items():
            told = "; ".join(f"{spoken(state)}: seed {', '.join(seeds)}" for state, seeds in states.items())
            yield f"  {row} on {dataset}  {told}"
    else:
        trials = [(item.trial.row, item.trial.dataset, item.state) for item in planned]
        yield from grid(trials, joined=joined)
    for name in results.profiles(asked.results):
        count = sum(1 for folder in results.trial_folders(asked.results, profile=name) if _has_record(folder))
        if count and name not in (asked.study.profile_name, *results.NO_TRIALS):
            told = command("list trials", name, results=asked.results, data=asked.data)
            yield f"  also in results: {name}, {count} trials: `{told}`"
    yield from (f"  {line}" for line in skipped)


def _recorded(asked: Request, skipped: list[str]) -> list[tuple[str, str, int]]:
    """Return the dataset, row and seed of every trial of the profile that has a record, even an unreadable one. Folders
    that cannot be listed, and rows and datasets that are not in the study, are appended to `skipped`.
    """

    def skip(path: Path, error: UserError) -> None:
        skipped.append(f"skipped: {error}")

    found, unknown_cells = [], set()
    for folder in results.trial_folders(asked.results, profile=asked.study.profile_name, skip=skip):
        dataset, row, seed = folder.parts[-3:]
        if dataset not in asked.study.datasets or row not in asked.study.rows:
            unknown_cells.add(f"{row} on {dataset}  is in the results but not in this study")
        elif _has_record(folder):
            found.append((dataset, row, int(seed.removeprefix("seed-"))))
    skipped += sorted(unknown_cells)
    return found


def _has_record(folder: Path) -> bool:
    return (folder / "record.json").is_file()


def why(asked: Request, row: str) -> Iterator[str]:
    """Yield, for each stale trial of a row, the settings that have changed since it was trained."""
    stale, rows = 0, asked.study.models([row])
    everywhere = replace(asked, skipped={})  # keys are compared whether or not the images are here
    for item in everywhere.plan(also=_recorded(asked, [])):
        if item.trial.row in rows and item.state == "stale":
            stale += 1
            record = results.read_record(item.trial.folder(asked.results) / "record.json")
            was, now = (_leaves(c) for c in (record.config, item.trial.config))
            names = sorted({name for name in {**was, **now} if name not in results.RECORDED_AFTER_PLANNING})
            changed = [name for name in names if was.get(name) != now.get(name) and _trains(name)]
            yield f"{item.trial.label}: key {record.key} is now {item.trial.key}"
            for name in changed:
                yield f"  {name}: {was.get(name, 'absent')} -> {now.get(name, 'absent')}"
            if not changed:
                yield "  no setting in the record has changed: the training images or the harness's NUMERICS have"
    if not stale:
        yield f"no trial of {row} is stale in profile {asked.study.profile_name}"


def _trains(name: str) -> bool:
    return name.partition(".")[0] not in results.NOT_TRAINING


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Flatten nested settings: {'with': {'beta': 1}} becomes {'with.beta': 1}."""
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    return {k: v for key, part in value.items() for k, v in _leaves(part, f"{name}.{key}" if name else key).items()}
