"""Compares results with the current study: which are stale, which are no rows of their own, how they were scored."""

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

__all__ = ["Present"]


class Present:
    """The current state of the studies that results come from. Each study is read once, when it is first needed.

    `folder` is the data folder, by default that of `AEGEN_BENCH_DATA`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or default_folder()
        self._studies: dict[str, Study | None] = {}

    def stale(self, trials: pd.DataFrame) -> set[tuple[str, str, str]]:
        """Return the (profile, dataset, row) of results (`results.load`) with a trial whose key is not the current one.

        Profiles, datasets and rows that the study does not have are ignored.
        """
        columns = ["profile", "dataset", "row", "seed", "key"]
        found = set()
        for entry, mine in trials[columns].drop_duplicates().groupby(columns[:3]):
            profile, dataset, row = map(str, entry)
            keys = _keys(self._study(profile), dataset, row, [int(seed) for seed in mine["seed"]])
            if any(keys.get(seed, key) != key for seed, key in zip(mine["seed"], mine["key"], strict=True)):
                found.add((profile, dataset, row))
        return found

    def unasked(self, trials: pd.DataFrame) -> set[tuple[str, str]]:
        """Return the (profile, row) of results (`results.load`) that are no rows of their own: pairs of a matrix
        (`Study.crossed`) and trunks of pairs, unless they are in `all` or among the profile's models.
        """
        found = set()
        for profile, mine in trials[["profile", "row"]].drop_duplicates().groupby("profile"):
            rows, pairs = set(mine["row"]), trials.attrs["pairs"]
            trunks = {pairs[profile, row][0] for row in rows if (profile, row) in pairs} & rows
            if study := self._study(str(profile)) if trunks else None:
                found |= {(str(profile), row) for row in (trunks | study.crossed(rows)) & study.unlisted}
        return found

    @property
    def described(self) -> dict[str, str]:
        """The descriptions of the study's protocols by id. Records keep the wording of the time they were scored."""
        study = self._study("paper")
        return study.described if study else {}

    def _study(self, profile: str) -> Study | None:
        """Return the study for the name of a profile in results, `lite+train_images=4000`; None if there is none."""
        if profile not in self._studies:
            name, settings = asked_as(profile)
            try:
                self._studies[profile] = Study(name, local=Path.cwd(), data=self._folder, settings=settings)
            except UserError:
                self._studies[profile] = None
        return self._studies[profile]


def _keys(study: Study | None, dataset: str, row: str, seeds: Sequence[int]) -> dict[int, str]:
    """Return the current keys of a row's trials by seed; empty if the study has no such trials."""
    if study is None or dataset not in study.datasets or row not in study.rows:
        return {}
    try:
        return {trial.seed: trial.key for trial in study.trials([row], [dataset], seeds)}
    except UserError:
        return {}
