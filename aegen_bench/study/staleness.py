"""Which results would be trained otherwise today: their keys are compared with those of the study as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aegen_bench.data import default_folder
from aegen_bench.errors import UserError
from aegen_bench.study.command import asked_as
from aegen_bench.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["stale"]


def stale(trials: pd.DataFrame, folder: Path | None = None) -> set[tuple[str, str, str]]:
    """Return the (profile, dataset, row) of results (`results.load`) with a trial whose key is not today's.

    Of a profile, dataset or row that the study does not have (any more), nothing is said.
    """
    columns = ["profile", "dataset", "row", "seed", "key"]
    each = trials[columns].drop_duplicates()
    studies = {profile: _study(profile, folder) for profile in each["profile"].unique()}
    found = set()
    for entry, mine in each.groupby(columns[:3]):
        profile, dataset, row = map(str, entry)
        keys = _keys(studies[profile], dataset, row, [int(seed) for seed in mine["seed"]])
        if any(keys.get(seed, key) != key for seed, key in zip(mine["seed"], mine["key"], strict=True)):
            found.add((profile, dataset, row))
    return found


def _study(profile: str, folder: Path | None) -> Study | None:
    """The study under a profile as results name it, `lite+train_images=4000`; None where there is no such one."""
    name, settings = asked_as(profile)
    try:
        return Study(name, local=Path.cwd(), data=folder or default_folder(), settings=settings)
    except UserError:
        return None


def _keys(study: Study | None, dataset: str, row: str, seeds: Sequence[int]) -> dict[int, str]:
    """The keys that trials of an entry have today, by seed; none where there would be no such trials."""
    if study is None or dataset not in study.datasets or row not in study.rows:
        return {}
    try:
        return {trial.seed: trial.key for trial in study.trials([row], [dataset], seeds)}
    except UserError:
        return {}
