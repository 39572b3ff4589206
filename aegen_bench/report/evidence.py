"""All results of one profile: numbers by protocol, and the histories and artefacts of trials, read on demand."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import distance_name, distance_of
from aegen_bench.report import budget
from aegen_bench.report.budget import Curve
from aegen_bench.report.cells import Cell, Entry, Number
from aegen_bench.report.summary import ANCHOR_NAMES, Cells, Layout, Summary, guest, invited, plan
from aegen_bench.results import ANCHORS, EXTERNAL, read_record, stages_with_trunk, timings, trial_folder
from aegen_bench.results.artefacts import read_artefact
from aegen_bench.results.history import read_history
from aegen_bench.results.record import Record
from aegen_bench.results.timings import Timing
from aegen_bench.study.command import command

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HISTORY", "Evidence", "Part", "Row", "Trial", "distances", "reading", "settled"]

Row = dict[str, Any]
History = dict[str, list[Row]]
T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """One trial. `state` is its status, or `collapsed` for a collapsed trial with status ok."""

    folder: Path
    dataset: str
    row: str
    seed: int
    state: str
    device: str
    key: str


@dataclass(frozen=True)
class Part:
    """The numbers of a profile under one protocol, and those of comparable external image sets.

    Each part includes costs and failed trials. `mark` is a suffix for file names if there are several parts. `dagger`
    are the rows trained on the network that scores them (†), `remarks` the notes of evaluation on metrics of an entry
    or external image set.
    """

    mark: str
    id: str
    about: dict[str, Any]
    dagger: frozenset[str]
    remarks: dict[Entry, dict[str, str]]
    summary: Summary
    guests: Summary
    frame: pd.DataFrame

    @property
    def name(self) -> str:
        """The name of the protocol, or its id if the name is unknown."""
        return str(self.about.get("name", self.id))

    @property
    def extractor(self) -> str:
        """The extractor of the protocol."""
        return str(self.about.get("extractor", "features unknown"))

    @property
    def metric(self) -> str:
        """The name of the Fréchet distance in records: fid, fd or fwd."""
        return distance_name(self.extractor)

    @property
    def label(self) -> str:
        """The name of the Fréchet distance in tables."""
        return f"FD ({self.extractor})" if self.metric == "fd" else self.metric.upper()

    @property
    def is_papers(self) -> bool:
        """Whether this is the paper's own protocol, whose numbers alone are comparable with the published ones."""
        return self.name == "paper" and self.metric == "fid"

    @cached_property
    def distances(self) -> Cells:
        """The Fréchet distance of each entry."""
        return self.summary.cells([self.metric], family="fd")

    @cached_property
    def guest_distances(self) -> Cells:
        """The Fréchet distance of each external image set and anchor."""
        return self.guests.cells([self.metric], family="fd")

    def seeds(self, dataset: str, row: str) -> dict[int, float]:
        """Return the Fréchet distance of an entry by seed; empty for an entry with several configurations."""
        cell = self.distances[dataset, row]
        known = self.summary.numbers.get(self.metric, {})
        trials = [key for key, _, _ in self.summary.trials.get((dataset, row), [])] if cell.n else []
        return {key[2]: known[key] for key in trials if math.isfinite(known.get(key, math.nan))}

    def beyond_noise(self, dataset: str, rows: Sequence[str]) -> list[str]:
        """Return the rows and external sets whose distance on a dataset exceeds the ceiling, that of uniform noise."""
        ceiling = self.guest_distances[dataset, ANCHOR_NAMES[ANCHORS, "ceiling"]]
        known = {row: self.distances[dataset, row] for row in rows}
        known |= {row: cell for (where, row), cell in self.guest_distances.items() if where == dataset}
        return [row for row, cell in known.items() if ceiling.n and cell.n and cell.value > ceiling.value]


@dataclass(frozen=True)
class Evidence:
    """The results of one profile, optionally under one `protocol` id only. `others` are those of external images, and
    `aside` those of rows that only the tables of the matrix show: its pairs, and trunks of pairs. `described` has
    descriptions of protocols by id, which replace those in the records.

    `unreadable` collects a sentence on each file that could not be used.
    """

    root: Path
    frame: pd.DataFrame
    layout: Layout
    others: pd.DataFrame | None = None
    protocol: str | None = None
    aside: pd.DataFrame | None = None
    described: Mapping[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def name(self, key: str) -> str:
        """Return the display name of a row or dataset."""
        return self.layout.published.name(key)

    def where(self, key: str, part: Part | None = None) -> str:
        """Return the title of a figure: dataset or row, profile and, if it depends on one, the protocol."""
        return f"{self.name(key)}, profile {self.layout.profile}" + (f", protocol {part.name}" if part else "")

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The numbers by protocol, in the order of the records."""
        ids = [name for name in self.frame["protocol"].unique() if name]
        ids = ids if self.protocol is None else [self.protocol]
        names = Counter(self.protocol_name(one) for one in ids)
        plain = {one: re.fullmatch(r"[\w+-][\w.+-]{0,63}", self.protocol_name(one)) for one in ids}
        marks = {one: name if names[name := self.protocol_name(one)] == 1 and plain[one] else one for one in ids}
        return tuple(self._part(one, f"-{marks[one]}" if len(ids) > 1 else "") for one in ids)

    def scored(self) -> Iterator[tuple[Part, str]]:
        """Yield each protocol with each dataset that has scores under it."""
        for part in self.parts:
            known = set(part.frame.loc[part.frame["protocol"] != "", "dataset"])
            yield from ((part, dataset) for dataset in self.layout.datasets if dataset in known)

    @cached_property
    def whole(self) -> Part:
        """The numbers of all protocols together; only those that do not depend on a protocol are comparable."""
        return self._part("", "")

    def _part(self, protocol: str, mark: str) -> Part:
        about = dict(self.frame.attrs["protocols"].get(protocol, {}))
        if protocol in self.described:
            about["describe"] = self.described[protocol]
        frame = self.frame[self.frame["protocol"].isin([protocol, ""])] if protocol else self.frame
        guests = invited(self.frame.iloc[:0] if self.others is None else self.others, frame)
        network = about.get("extractor")
        known = self.frame.attrs["dagger"]
        dagger = frozenset(
            row for (name, row), nets in known.items() if name == self.layout.profile and network in nets
        )
        elsewhere = replace(self.layout, no_data=frozenset(), stale=frozenset())
        summaries = Summary(frame, self.layout), Summary(guests, elsewhere, "no trial")
        return Part(mark, protocol, about, dagger, self._remarks(protocol), *summaries, frame)

    def _remarks(self, protocol: str) -> dict[Entry, dict[str, str]]:
        found: dict[Entry, dict[str, str]] = {}
        elsewhere = {} if self.others is None else self.others.attrs.get("notes", {})
        for (profile, dataset, row, one), said in (elsewhere | self.frame.attrs["notes"]).items():
            if one == protocol and profile in (self.layout.profile, EXTERNAL, ANCHORS):
                found[dataset, row if profile == self.layout.profile else guest(profile, row)] = said
        return found

    def protocol_name(self, protocol: str) -> str:
        """Return the name of a protocol's id; the id itself if its records lack the name; "" for no id."""
        return str(self.frame.attrs["protocols"].get(protocol, {}).get("name", protocol))

    @cached_property
    def pairs(self) -> dict[str, tuple[str, str]]:
        """Trunk and prior of each row that is a pair."""
        known = self.frame.attrs.get("pairs", {})
        return {row: known[self.layout.profile, row] for row in self.layout.rows if (self.layout.profile, row) in known}

    @cached_property
    def crossed(self) -> Evidence:
        """The same results with those of `aside`, for the tables of the matrix."""
        if self.aside is None or self.aside.empty:
            return self
        import pandas as pd

        frame = pd.concat([self.frame, self.aside], ignore_index=True)
        frame.attrs = self.frame.attrs
        every = plan(frame, self.layout.published)
        return replace(
            self, frame=frame, aside=None, layout=replace(self.layout, datasets=every.datasets, rows=every.rows)
        )

    def by_pair(self, dataset: str) -> dict[tuple[str, str], str]:
        """Return the row of each trunk and prior. If there are several: the one with the most trials on the dataset, of
        equals the one called TRUNK+PRIOR.
        """
        chosen = {self.pairs[row]: row for row in reversed(self._by_trials(dataset))}
        return {pair: row for row, pair in self.pairs.items() if chosen[pair] == row}

    def distinct_pairs(self, dataset: str) -> list[str]:
        """Return the rows that are pairs and have trials on a dataset, without those whose trials are all also those of
        another row, under its name.
        """
        kept: dict[str, set[Any]] = {}
        for row in self._by_trials(dataset):
            mine = {(self.pairs[row], trial.seed, trial.key) for trial in self.trials(dataset, row)}
            if mine and not any(mine <= other for other in kept.values()):
                kept[row] = mine
        return [row for row in self.pairs if row in kept]

    def _by_trials(self, dataset: str) -> list[str]:
        """Return the rows that are pairs: those with the most trials on a dataset first, of equals TRUNK+PRIOR."""
        return sorted(self.pairs, key=lambda row: (-len(self.trials(dataset, row)), "+" not in row))

    @cached_property
    def timings(self) -> dict[str, dict[Entry, Timing]]:
        """The timing runs of these rows and datasets, by timing id and entry."""
        found: dict[str, dict[Entry, Timing]] = {}
        keys = {entry: trial.key for entry, trials in self._trials.items() for trial in trials if trial.seed == 0}
        profile = self.layout.profile
        for path, timing in timings.read(self.root, profile, on_corrupt=lambda error: self._skip(str(error))):
            entry = timing.dataset, timing.row
            if keys.get(entry, timing.key) != timing.key and entry not in self.layout.stale:
                again = command("time", profile, models=[timing.row], datasets=[timing.dataset], results=self.root)
                self._skip(f"{path}: timed with other code or settings than seed 0 was trained with: `{again}`")
            elif timing.dataset in self.layout.datasets and timing.row in self.layout.rows:
                found.setdefault(timing.id, {})[entry] = timing
        return found

    @cached_property
    def training_shares(self) -> dict[str, list[tuple[float, float]]]:
        """The shares of the paper's training budget, by row: for each dataset with a trial that ended well and a size
        in published.yaml, the number of images seen in training and of optimizer steps, relative to the paper's.
        """
        sizes: dict[str, int] = self.layout.published.content["meta"].get("train_images", {})
        found: dict[str, list[tuple[float, float]]] = {}
        for (dataset, row), trials in self._trials.items():
            good = next((trial for trial in trials if trial.state in ("ok", "collapsed")), None)
            if good is not None and dataset in sizes and (share := self._share(good, sizes[dataset])):
                found.setdefault(row, []).append(share)
        return found

    def _share(self, trial: Trial, size: int) -> tuple[float, float] | None:
        """Return the shares of one trial, including a pair's trunk; None if their records lack the paper's settings."""
        if (record := self.record(trial)) is None:
            return None
        stages, planned = record.stages, record.config.get("stages", {})
        if record.trunk is not None:
            if trial.row not in self.pairs:  # its settings do not name the trunk
                return None
            row, _ = self.pairs[trial.row]
            below = self.record(replace(trial, folder=trial.folder.parents[1] / row / trial.folder.name))
            if below is None or below.key != record.trunk.key:
                return None
            stages = stages_with_trunk(below.stages, stages)
            planned = stages_with_trunk(below.config.get("stages", {}), planned)
        ours, papers = [0.0, 0.0], [0.0, 0.0]
        for name, stage in stages.items():
            full = planned.get(name, {})
            full = full.get("unscaled", full)
            if not full.get("batch"):
                return None
            steps = full.get("steps") or full.get("epochs", 0) * (size // full["batch"])
            papers = [papers[0] + steps * full["batch"], papers[1] + steps]
            ours = [ours[0] + (stage.get("images") or 0), ours[1] + (stage.get("steps") or 0)]
        return (ours[0] / papers[0], ours[1] / papers[1]) if all(papers) else None

    # ---- trials and their files ----------------------------------------------------------------------

    @cached_property
    def _trials(self) -> dict[Entry, list[Trial]]:
        found: dict[Entry, list[Trial]] = {}
        columns = ["dataset", "row", "seed", "status", "collapsed", "device", "key"]
        trials = self.frame[columns].drop_duplicates().sort_values("seed", kind="stable")
        for dataset, row, seed, status, collapsed, device, key in trials.itertuples(index=False, name=None):
            folder = trial_folder(self.root, self.layout.profile, dataset, row, seed)
            state = "collapsed" if status == "ok" and collapsed else status
            found.setdefault((dataset, row), []).append(Trial(folder, dataset, row, seed, state, device, key))
        return found

    def trials(self, dataset: str, row: str) -> list[Trial]:
        """Return the trials of an entry by seed."""
        return self._trials.get((dataset, row), [])

    def record(self, trial: Trial) -> Record | None:
        """Return the trial's record; None if it cannot be read."""
        try:
            return read_record(trial.folder / "record.json")
        except UserError:
            return None

    def array(self, trial: Trial, name: str) -> NDArray[Any] | None:
        """Return one array of the trial's artefacts; None if it does not exist."""
        return self._read(trial.folder / "artefacts.npz", lambda: read_artefact(trial.folder, name))

    def history(self, trial: Trial) -> History:
        """Return the trial's epochs and probes, oldest first; empty lists without a history."""
        found = self._read(trial.folder / "history.json", lambda: read_history(trial.folder))
        return {"epochs": found.epochs, "probes": found.probes} if found else {"epochs": [], "probes": []}

    def _read(self, path: Path, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._skip(f"cannot read {path}: {' '.join(str(error).split())}")
            return None

    def _skip(self, said: str) -> None:
        if said not in self.unreadable:
            self.unreadable.append(said)

    def budget_curves(self, dataset: str) -> dict[str, list[Curve]]:
        """Return the curves of the distance during training for probed rows, over trials that ended well."""
        found = dict[str, list[Curve]]()
        for trial in self._probed(dataset):
            record = self.record(trial)
            if record and (curve := budget.read(distances(self.history(trial)["probes"]), record.stages)):
                found.setdefault(trial.row, []).append(curve)
        return found

    def settled(self) -> dict[Entry, Cell]:
        """Return the epochs until each probed entry came within 5% of its last distance, over the trials that ended
        well.
        """
        reached: dict[Entry, list[float]] = {}
        for trial in (trial for dataset in self.layout.datasets for trial in self._probed(dataset)):
            if at := settled(self.history(trial)):
                reached.setdefault((trial.dataset, trial.row), []).append(float(sum(at.values())))
        name = "epochs until within 5%"
        return {entry: Cell(*entry, (Number.of(name, n),), len(n)) for entry, n in reached.items()}

    def _probed(self, dataset: str) -> Iterator[Trial]:
        """Yield the trials of probed rows that ended well."""
        for row in self.layout.rows:
            if (self.layout.profile, row) in self.frame.attrs.get("probed", {}):
                yield from (trial for trial in self.trials(dataset, row) if trial.state in ("ok", "collapsed"))


# ---- numbers of a history -----------------------------------------------------------------------------


def reading(row: Row, group: str, name: str) -> float:
    """Return a value of an epoch or probe from its terms or logs; NaN if it is missing. A term may belong to any
    optimizer.
    """
    groups = row.get("terms", {}).values() if group == "terms" else [row.get(group, {})]
    values = [values[name] for values in groups if values.get(name) is not None]
    return float(values[0]) if values else math.nan


def distances(probes: Sequence[Row]) -> list[tuple[Row, float]]:
    """Return the probes that measured a Fréchet distance, with their distances, which are all of the same kind."""
    found = []
    for probe in probes:
        value = distance_of(probe.get("metrics", {}))
        if value is not None and math.isfinite(value):
            found.append((probe, float(value)))
    return found


def last_epoch(group: str, name: str) -> Callable[[History], float]:
    """Return a function that reads a value, a mean over training batches, from the last epoch that has it."""

    def read(history: History) -> float:
        values = [value for row in history["epochs"] if math.isfinite(value := reading(row, group, name))]
        return values[-1] if values else math.nan

    return read


def nll_gap(history: History) -> float:
    """Return the NLL of held-out codes minus that of training codes, in nats per image, at the last probe; both in
    eval mode.
    """
    for probe in reversed(history["probes"]):
        seen, unseen = (reading(probe.get(kind, {}), "terms", "nll") for kind in ("probe_train", "probe_test"))
        if math.isfinite(unseen - seen):
            return unseen - seen
    return math.nan


def fluctuation(history: History) -> float:
    """Return how much the distance fluctuates between probes in the second half of training: the standard deviation of
    the differences of its logarithm, which ignores its level and a steady decline. NaN with fewer than three
    differences.
    """
    found = distances(history["probes"])
    logs = np.log([value for _, value in found[len(found) // 2 :] if value > 0])
    return float(np.diff(logs).std(ddof=1)) if len(logs) >= 4 else math.nan


def settled(history: History) -> dict[str, int]:
    """Return the epochs of each training stage up to the first probe from which on the distance stays within 5% of the
    last one; empty with fewer than two probes.
    """
    found = distances(history["probes"])
    if len(found) < 2:
        return {}
    last = found[-1][1]
    away = [i for i, (_, value) in enumerate(found) if abs(value - last) > 0.05 * abs(last)]
    probe = found[away[-1] + 1 if away else 0][0]
    stages = Counter(row["stage"] for row in history["epochs"])
    before = list(takewhile(lambda stage: stage != probe["stage"], stages))
    return {stage: stages[stage] for stage in before} | {probe["stage"]: int(probe["epoch"])}


HISTORY: dict[str, Callable[[History], float]] = {
    "posterior_variance": last_epoch("logs", "posterior_variance"),
    "nll": last_epoch("terms", "nll"),
    "nll_gap": nll_gap,
    "fluctuation": fluctuation,
}
"""Numbers computed from the history of a trial, by name."""
