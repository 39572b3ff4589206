"""What claims speak of: one number a trial, looked up by dataset, row and name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from aegen_bench.errors import UserError
from aegen_bench.report.cells import Cell, Number, fixed, measured
from aegen_bench.report.evidence import HISTORY, Evidence, Part, Trial
from aegen_bench.report.summary import Summary
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
_PRINTED = measured("", fixed(None, "seeds"))


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
            cell = Cell(numbers=(Number.of("", self.values),), n=len(self.values), ended=self.states)
            return f"{self.name} {_PRINTED.print(cell)}"
        ended = [f"{number} {state}" for state, number in self.states.items() if state != "ok" or not self.why]
        return f"{self.name}: {', '.join(ended)}" if ended else ""

    def apart(self, reference: Sample) -> Sample:
        """The distances of the numbers to another's mean, which counts as known."""
        gaps = tuple(abs(value - float(np.mean(reference.values))) for value in self.values)
        return Sample(f"{self.name} from {reference.name}", gaps, self.states)


@dataclass(frozen=True)
class Source:
    """Where numbers are looked up: in trials under one protocol, on one `device`, or in all where neither matters."""

    evidence: Evidence
    part: Part
    summary: Summary
    device: str = ""

    @property
    def place(self) -> str:
        """What the protocol is called, or the device; empty where it is neither."""
        return self.part.name or self.device

    def has(self, dataset: str) -> bool:
        """Whether any trial was on this dataset."""
        return any(entry[0] == dataset for entry in self.summary.trials)

    def sample(self, dataset: str, row: str, measure: str) -> Sample:
        """Return the numbers of an entry. A row `ROW@DATASET` is that row on another dataset."""
        row, _, other = row.partition("@")
        name = self.evidence.name(row) + (f" on {self.evidence.name(other)}" if other else "")
        dataset = other or dataset
        about = MEASURES[measure]
        here = {key for key, _, _ in self.summary.trials.get((dataset, row), [])}
        trials = [trial for trial in self.evidence.trials(dataset, row) if (dataset, row, trial.seed) in here]
        states = Counter(trial.state for trial in trials)
        values = self._values(measure, [trial for trial in trials if trial.state == "ok"])
        why = ""
        if not trials:
            why = "no trial"
        elif (dataset, row) in self.summary.mixed:
            why, values = "mixed configurations", ()
        elif about.scored and row in self.part.dagger:
            why, values = "trained on the network that scores it (†)", ()
        elif not values and measure != "states":
            lacking = "not probed: `run --set rows.ROW.probe.every=1`" if measure in PROBED else "not measured"
            why = lacking if "ok" in states else "no trial ended well"
        return Sample(name, values, states, about.exact, why)

    def _values(self, measure: str, trials: Sequence[Trial]) -> tuple[float, ...]:
        if measure == "states":
            return ()
        if metric := self.part.metric if measure == "distance" else MEASURES[measure].metric:
            known = self.summary.numbers.get(metric, {})
            read = (known.get((trial.dataset, trial.row, trial.seed), math.nan) for trial in trials)
        else:
            read = (self._of_trial(trial, measure) for trial in trials)
        return tuple(value for value in read if not math.isnan(value))

    def _of_trial(self, trial: Trial, measure: str) -> float:
        if measure in HISTORY:
            return HISTORY[measure](self.evidence.history(trial))
        try:
            sizes = read_record(trial.folder / "record.json").parameters
        except UserError:
            return math.nan
        flow, total = sizes.get("flow"), sizes.get("total")
        return flow / (total - flow) if flow and total else math.nan
