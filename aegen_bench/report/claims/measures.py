"""What claims speak of: one number a trial, looked up by dataset, row and name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from aegen_bench.errors import UserError
from aegen_bench.report.cells import Cell, Entry
from aegen_bench.report.evidence import Evidence, Part, Trial
from aegen_bench.report.readings import HISTORY
from aegen_bench.results import read_record

__all__ = ["MEASURES", "Measure", "Sample", "Source"]


class Measure(NamedTuple):
    """A number: how tables call it, the frame's metric if it is one, and what it depends on."""

    label: str
    metric: str = ""
    scored: bool = False  # features of a protocol's network: a number a protocol, and none of rows marked †
    timed: bool = False  # a number a device
    exact: bool = False  # the same for every seed, so that one is enough


MEASURES = {
    "distance": Measure("FD", scored=True),  # `fid` or `fd`, as the protocol has it
    "f8": Measure("F8", "f8", scored=True),
    "f1_8": Measure("F1/8", "f1_8", scored=True),
    "memorisation": Measure("memorisation", "memorisation"),
    "seconds_per_epoch": Measure("s/epoch", "seconds_per_epoch.train", timed=True),
    "train_seconds": Measure("training, s", "train_seconds", timed=True),
    "states": Measure("how trials ended"),
    "flow_share": Measure("flow's parameters / the others", exact=True),
    "posterior_variance": Measure("posterior variance"),
    "nll": Measure("NLL of the codes"),
    "nll_gap": Measure("NLL, held-out minus training"),
    "fluctuation": Measure("spread of the steps of log FD"),
    "convergence_seconds": Measure("seconds to within 5% of the last FD", timed=True),
}
PROBED = ("nll_gap", "fluctuation", "convergence_seconds")
"""What is read of a row's probes, which only the rows of sweeps have unasked."""


@dataclass(frozen=True)
class Sample:
    """The numbers of an entry's trials, one each; `why` says why they cannot be compared, empty where they can.

    A trial that collapsed has none: its number is no evidence for or against a method. `states` has every trial's.
    """

    name: str
    values: tuple[float, ...] = ()
    states: Counter[str] = field(default_factory=Counter)
    exact: bool = False
    why: str = ""

    def text(self) -> str:
        """`GLF 710 ± 22 (3) [1 collapsed]`: also what became of the trials that have no number."""
        if self.values:
            return f"{self.name} {Cell(tuple((value,) for value in self.values), 'ok', self.states).shown()}"
        ended = [f"{number} {state}" for state, number in self.states.items() if state != "ok" or not self.why]
        return f"{self.name}: {', '.join(ended)}" if ended else ""

    def apart(self, reference: Sample) -> Sample:
        """The distances of the numbers to another's mean, which counts as known."""
        gaps = tuple(abs(value - float(np.mean(reference.values))) for value in self.values)
        return Sample(f"{self.name} from {reference.name}", gaps, self.states)


@dataclass(frozen=True)
class Source:
    """Where numbers are looked up: those under one protocol, or the times of one `device`, or what neither touches."""

    evidence: Evidence
    part: Part
    device: str = ""

    @property
    def place(self) -> str:
        """What the protocol is called, or the device; empty where it is neither."""
        return self.evidence.protocol_name(self.part.protocol) or self.device

    @cached_property
    def _numbers(self) -> dict[tuple[str, str, str], dict[int, float]]:
        """(dataset, row, metric) -> seed -> the mean over its draws, of the trials that ended well."""
        known = {self._metric(name) for name in MEASURES}
        frame = self.part.frame
        good = frame[(frame["status"] == "ok") & ~frame["collapsed"] & frame["metric"].isin(known)]
        means = good.dropna(subset="value").groupby(["dataset", "row", "metric", "seed"], observed=True)["value"].mean()
        found: dict[tuple[str, str, str], dict[int, float]] = {}
        for dataset, row, metric, seed, value in means.reset_index().itertuples(index=False, name=None):
            found.setdefault((dataset, row, metric), {})[seed] = float(value)
        return found

    @cached_property
    def _made(self) -> dict[Entry, tuple[set[str], set[int]]]:
        """Entry -> the configurations (not of trials that failed, which may lack part of theirs) and the seeds of its
        trials here.
        """
        found: dict[Entry, tuple[set[str], set[int]]] = {}
        trials = self.part.frame[["dataset", "row", "config", "seed", "status"]].drop_duplicates()
        for dataset, row, config, seed, status in trials.itertuples(index=False, name=None):
            configs, seeds = found.setdefault((dataset, row), (set(), set()))
            seeds.add(seed)
            if status != "failed":
                configs.add(config)
        return found

    def _metric(self, name: str) -> str:
        return self.part.metric if name == "distance" else MEASURES[name].metric

    def has(self, dataset: str) -> bool:
        """Whether any trial was on this dataset."""
        return any(entry[0] == dataset for entry in self._made)

    def sample(self, dataset: str, row: str, measure: str) -> Sample:
        """Return the numbers of an entry. A row `ROW@DATASET` is that row on another dataset."""
        row, _, other = row.partition("@")
        name = self.evidence.name(row) + (f" on {self.evidence.name(other)}" if other else "")
        dataset = other or dataset
        about = MEASURES[measure]
        configs, seeds = self._made.get((dataset, row), (set(), set()))
        trials = [trial for trial in self.evidence.trials(dataset, row) if trial.seed in seeds]
        states = Counter(trial.state for trial in trials)
        values = self._values(dataset, row, measure, trials)
        why = ""
        if not trials:
            why = "no trial"
        elif len(configs) > 1:
            why, values = "mixed configurations", ()
        elif about.scored and self.evidence.marked(row, self.part.extractor):
            why, values = "trained on the network that scores it (†)", ()
        elif not values and measure != "states":
            lacking = "not probed: `run --set rows.ROW.probe.every=1`" if measure in PROBED else "not measured"
            why = lacking if "ok" in states else "no trial ended well"
        return Sample(name, values, states, about.exact, why)

    def _values(self, dataset: str, row: str, measure: str, trials: Sequence[Trial]) -> tuple[float, ...]:
        if metric := self._metric(measure):
            return tuple(self._numbers.get((dataset, row, metric), {}).values())
        read = (self._of_trial(trial, measure) for trial in trials if trial.state == "ok" and measure != "states")
        return tuple(value for value in read if math.isfinite(value))

    def _of_trial(self, trial: Trial, measure: str) -> float:
        if measure in HISTORY:
            return HISTORY[measure](self.evidence.history(trial))
        try:
            sizes = read_record(trial.folder / "record.json").parameters
        except UserError:
            return math.nan
        flow, total = sizes.get("flow"), sizes.get("total")
        return flow / (total - flow) if flow and total else math.nan
