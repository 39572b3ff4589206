"""Check a method against every part of the contract.

The networks are tiny and the harness trains them for six steps per stage, so a method takes a few seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aegen_bench import data
from aegen_bench.conformance.declarations import undeclared
from aegen_bench.conformance.generating import density, encoding, other_images, reloading, sampling
from aegen_bench.conformance.learning import initial_weights, training
from aegen_bench.conformance.stepping import other_device, pace
from aegen_bench.conformance.subject import Subject, located
from aegen_bench.errors import Diverged, UserError, contained, unknown
from aegen_bench.study import Study, catalog

__all__ = ["check", "check_row", "remarks"]


def check(entry: catalog.Method, values: Mapping[str, Any] | None = None) -> list[str]:
    """Return what is wrong with a baseline or prior, one line per finding; an empty list if it keeps the contract.

    `values` are arguments that differ from the defaults.
    """
    found = list[str]()
    try:
        with contained():
            for finding in _findings(entry, values or {}):
                found.append(finding)
    except (UserError, Diverged) as error:
        found.append(str(error))
    except Exception as error:
        found.append(located(error, entry))
    return _distinct(found)


def check_row(name: str, local: Path, folder: Path | None = None) -> list[str]:
    """Return what is wrong with a prior, or with a row, including its arguments in every profile and on every dataset.

    `local` is the working directory, `folder` the data folder. UserError, with the closest valid name, if `name` is
    neither.
    """
    folder = folder or data.default_folder()
    study = Study("paper", local=local, data=folder)
    if name not in study.rows:
        if name in study.priors:
            return check(study.priors[name])
        raise unknown("model or prior", name, [*study.rows, *study.priors])
    entry, found = study.entry(name), list[str]()
    if not entry.error:
        for profile in study.profiles:
            of_profile = Study(profile, local=local, data=folder)
            found += [error for d in study.datasets if (error := _refusal(of_profile, name, d))]
    return _distinct(found) or check(entry, study.rows[name].with_)


def remarks(name: str, local: Path, folder: Path | None = None) -> list[str]:
    """Return notes that are not errors: that the row or its method replaces a shipped one."""
    study = Study("paper", local=local, data=folder or data.default_folder())
    method = study.entry(name) if name in study.rows else study.priors[name]
    found = [f"note: {method.path} replaces {method.shadows}"] if method.shadows else []
    if f"rows.{name}" in study.shadowed:
        found.append(f"note: the row {name} of {local / 'benchmarks.yaml'} replaces the shipped one")
    return found


def _refusal(study: Study, row: str, dataset: str) -> str:
    try:
        study.config(row, dataset)
    except UserError as error:
        return f"row {row} of benchmarks.yaml: {error}"
    return ""


def _findings(entry: catalog.Method, values: Mapping[str, Any]) -> Iterator[str]:
    cls = catalog.import_class(entry)
    yield from undeclared(entry)
    subject = Subject(entry, cls, entry.check(values))
    yield from initial_weights(subject)
    model = subject.build(seed=1)
    for name in (stage.name for stage in model.stages() if stage.name not in entry.stages):
        yield (
            f"stage '{name}' is not found in {entry.path.name}: schedules are read from the source, so stages() (of a "
            "prior: loss) must be in the class itself"
        )
    for examine in (training, sampling, encoding, density, reloading):
        yield from examine(subject, model)
    yield from other_images(subject)
    yield from other_device(subject, model)
    yield from pace(subject)


def _distinct(findings: list[str]) -> list[str]:
    """Remove duplicates and line breaks."""
    return list(dict.fromkeys(" ".join(line.split()) for line in findings))
