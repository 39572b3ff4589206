"""The trials of one profile and what they left besides numbers: histories and artefacts, read when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from aegen_bench.report.cells import Entry, Layout
from aegen_bench.results import trial_folder
from aegen_bench.results.artefacts import read_artefact
from aegen_bench.results.history import read_history

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Evidence", "Part", "Trial"]


@dataclass(frozen=True)
class Trial:
    """One trial; `state` is its status, or `collapsed` where it ended well and collapsed."""

    folder: Path
    dataset: str
    row: str
    seed: int
    state: str


@dataclass(frozen=True)
class Part:
    """The numbers of a profile under one protocol. `mark` tells it apart in a file name where there are several."""

    mark: str
    protocol: str
    extractor: str
    frame: pd.DataFrame

    @property
    def metric(self) -> str:
        return "fid" if self.extractor == "inception" else "fd"

    @property
    def label(self) -> str:
        return "FID" if self.metric == "fid" else f"FD ({self.extractor})"

    def seeds(self, dataset: str, row: str) -> list[float]:
        """Return the distance of each of an entry's trials that ended well, the mean over its draws."""
        frame = self.frame
        mine = (frame["dataset"] == dataset) & (frame["row"] == row) & (frame["metric"] == self.metric)
        values = frame[mine & (frame["status"] == "ok")].groupby("seed")["value"].mean()
        return [float(value) for value in values.dropna()]


@dataclass(frozen=True)
class Evidence:
    """What is known of one profile. `unreadable` collects a sentence on each file that could not be read."""

    root: Path
    frame: pd.DataFrame
    layout: Layout
    unreadable: list[str] = field(default_factory=list)

    @cached_property
    def _trials(self) -> dict[Entry, list[Trial]]:
        found: dict[Entry, list[Trial]] = {}
        columns = ["dataset", "row", "seed", "status", "collapsed"]
        trials = self.frame[columns].drop_duplicates().sort_values("seed", kind="stable")
        for dataset, row, seed, status, collapsed in trials.itertuples(index=False, name=None):
            folder = trial_folder(self.root, self.layout.profile, dataset, row, seed)
            state = "collapsed" if status == "ok" and collapsed else status
            found.setdefault((dataset, row), []).append(Trial(folder, dataset, row, seed, state))
        return found

    def trials(self, dataset: str, row: str) -> list[Trial]:
        """Return the trials of an entry by seed."""
        return self._trials.get((dataset, row), [])

    def name(self, key: str) -> str:
        return self.layout.published.name(key)

    def parts(self) -> Iterator[Part]:
        """Yield the numbers of each protocol, in the order of the records; costs go with every part."""
        ids = [name for name in self.frame["protocol"].unique() if name]
        for name in ids:
            extractor = str(self.frame.attrs["protocols"].get(name, {}).get("extractor", "features unknown"))
            frame = self.frame[self.frame["protocol"].isin([name, ""])]
            yield Part(f"-{name}" if len(ids) > 1 else "", name, extractor, frame)

    def protocol_name(self, protocol: str) -> str:
        """Return what an id is called; the id itself where its records do not say, nothing for no id."""
        return str(self.frame.attrs["protocols"].get(protocol, {}).get("name", protocol))

    def marked(self, row: str, extractor: str) -> bool:
        """Whether a row was trained on the network that scores it (†): shown, never ranked."""
        return extractor in self.frame.attrs["dagger"].get((self.layout.profile, row), [])

    def array(self, trial: Trial, name: str) -> NDArray[Any] | None:
        """Return one array of the trial's artefacts; None where it left none."""
        try:
            return read_artefact(trial.folder, name)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._skip(trial.folder / "artefacts.npz", error)
            return None

    def history(self, trial: Trial) -> dict[str, list[dict[str, Any]]]:
        """Return the trial's epochs and probes, oldest first; none where it left none."""
        try:
            found = read_history(trial.folder)
            return {"epochs": found.epochs, "probes": found.probes}
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self._skip(trial.folder / "history.json", error)
        return {"epochs": [], "probes": []}

    def _skip(self, path: Path, error: Exception) -> None:
        said = f"cannot read {path}: {' '.join(str(error).split())}"
        if said not in self.unreadable:
            self.unreadable.append(said)
