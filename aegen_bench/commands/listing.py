"""What `aegen-bench list` prints: models, datasets, profiles, groups, and the state of every trial of a profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aegen_bench import results, runner
from aegen_bench.commands.request import Request
from aegen_bench.data import missing
from aegen_bench.errors import UserError, unknown
from aegen_bench.progress import facts
from aegen_bench.results.locks import describe
from aegen_bench.study import command

__all__ = ["lines", "why"]


def lines(asked: Request, what: str) -> Iterator[str]:
    """Yield the lines of one section, or of all of them. Whole names and values always: nothing is cut to a width."""
    sections = {
        "models": _models,
        "datasets": _datasets,
        "profiles": _profiles,
        "groups": _groups,
        "trials": _trials,
    }
    if what not in {*sections, "all"}:
        raise unknown("list", what, [*sections, "all"])
    for name, section in sections.items():
        if what in (name, "all"):
            yield f"{name}:"
            yield from (f"  {line}" for line in section(asked))


def _models(asked: Request) -> Iterator[str]:
    for row, settings in asked.study.rows.items():
        entry = asked.study.entry(row)
        try:
            values = {} if entry.error else entry.check(settings.with_)
        except UserError as error:
            entry = replace(entry, error=str(error))
        if entry.error:
            yield f"{row}  BROKEN: {entry.error}"
            continue
        arguments = ", ".join(f"{name}={value}" for name, value in values.items())
        same = "" if entry.name == row else f"  (baseline {entry.name})"
        yield f"{row}  {entry.doc}{same}  [{arguments}]"


def _datasets(asked: Request) -> Iterator[str]:
    for name, dataset in asked.study.datasets.items():
        hint = missing(name, dataset.recipe, asked.data)
        yield f"{name}  {hint.removeprefix(f'{name}: ') if hint else 'ready'}"


def _profiles(asked: Request) -> Iterator[str]:
    for name, p in asked.study.profiles.items():
        yield (
            f"{name}  models {', '.join(p.models)}; datasets {', '.join(p.datasets)}; {p.seeds} seeds, "
            f"{p.draws} draws; protocols {', '.join(p.protocols)}"
        )


def _groups(asked: Request) -> Iterator[str]:
    for name, rows in asked.study.groups.items():
        yield f"{name}  {', '.join(rows)}"


def _trials(asked: Request) -> Iterator[str]:
    yield f"profile {asked.study.profile_name}, results in {asked.results}"
    for label, note in runner.running(asked.results):
        yield f"running: {label}: {facts(note)}, {describe(note)}"
    skipped: list[str] = []
    cells: dict[tuple[str, str], dict[str, list[str]]] = {}
    for item in asked.plan(also=_recorded(asked, skipped)):
        states = cells.setdefault((item.trial.dataset, item.trial.row), {})
        states.setdefault(item.state, []).append(str(item.trial.seed))
    for (dataset, row), states in cells.items():
        told = "; ".join(f"{state}: seed {', '.join(seeds)}" for state, seeds in states.items())
        yield f"{row} on {dataset}  {told}"
    for name in results.profiles(asked.results):
        count = sum(1 for folder in results.trial_folders(asked.results, profile=name) if _has_record(folder))
        if count and name not in (asked.study.profile_name, *results.NO_TRIALS):
            told = command("list", name, results=asked.results, data=asked.data)
            yield f"also in results: {name}, {count} trials: `{told}`"
    yield from skipped


def _recorded(asked: Request, skipped: list[str]) -> list[tuple[str, str, int]]:
    """The dataset, row and seed of every trial of the profile that has a record, read or not. What cannot be listed,
    and rows and datasets that the study does not have, are told to `skipped`.
    """

    def skip(path: Path, error: UserError) -> None:
        skipped.append(f"skipped: {error}")

    found, unknown_cells = [], set()
    for folder in results.trial_folders(asked.results, profile=asked.study.profile_name, skip=skip):
        dataset, row, seed = folder.parts[-3:]
        if dataset not in asked.study.datasets or row not in asked.study.rows:
            unknown_cells.add(f"{row} on {dataset}  is in the results, and not in this study")
        elif _has_record(folder):
            found.append((dataset, row, int(seed.removeprefix("seed-"))))
    skipped += sorted(unknown_cells)
    return found


def _has_record(folder: Path) -> bool:
    return (folder / "record.json").is_file()


def why(asked: Request, row: str) -> Iterator[str]:
    """Say of each stale trial of a row which parts of its key differ from those of its record."""
    stale, rows = 0, asked.study.models([row])
    for item in asked.plan(also=_recorded(asked, [])):
        if item.trial.row in rows and item.state == "stale":
            stale += 1
            record = results.read_record(item.trial.folder(asked.results) / "record.json")
            was, now = (_leaves(c) for c in (record.config, item.trial.config))
            # What training adds to a record's config (shape, n_train, data_sha256) is not among the planned settings.
            names = sorted({name for name in {**was, **now} if name.partition(".")[0] in item.trial.config})
            changed = [name for name in names if was.get(name) != now.get(name) and _trains(name)]
            yield f"{item.trial.label}: key {record.key} is now {item.trial.key}"
            for name in changed:
                yield f"  {name}: {was.get(name, 'absent')} -> {now.get(name, 'absent')}"
            if not changed:
                yield "  nothing that the record says: its data or the harness's NUMERICS"
    if not stale:
        yield f"no trial of {row} is stale in profile {asked.study.profile_name}"


def _trains(name: str) -> bool:
    return name.partition(".")[0] not in results.NOT_TRAINING


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """{'with': {'beta': 1}} -> {'with.beta': 1}."""
    if not isinstance(value, Mapping) or not value:
        return {name: value}
    return {k: v for key, part in value.items() for k, v in _leaves(part, f"{name}.{key}" if name else key).items()}
