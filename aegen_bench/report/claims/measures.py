"""What claims speak of: one number a trial, looked up by dataset, row and name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aegen_bench.errors import UserError
from aegen_bench.inference import LOG, RAW, Row, Scale
from aegen_bench.report.cells import Cell, Entry, Number, fixed, measured
from aegen_bench.report.evidence import HISTORY, Evidence, Part, Trial
from aegen_bench.report.published import Published
from aegen_bench.report.summary import Summary
from aegen_bench.results import read_record
from aegen_bench.results.timings import Timing

__all__ = ["MEASURES", "Measure", "Printed", "Sample", "Source"]


class Measure(NamedTuple):
    """A number: how tables call it, the frame's metric if it is one, and what it depends on."""

    label: str
    metric: str = ""
    scored: bool = False  # features of a protocol's network: a number a protocol, and none of rows marked †
    timed: bool = False  # a number a device
    exact: bool = False  # the same for every seed, so that one is enough
    scale: Scale = LOG  # on which rows are compared


MEASURES = {
    "distance": Measure("FD", scored=True),  # `fid` or `fd`, as the protocol has it
    "f8": Measure("F8", "f8", scored=True, scale=RAW),
    "f1_8": Measure("F1/8", "f1_8", scored=True, scale=RAW),
    "memorisation": Measure("memorisation", "memorisation", scale=RAW),
    "copying": Measure("C_T", "copying_z", scored=True, scale=RAW),
    "seconds_per_epoch": Measure("s/epoch", "seconds_per_epoch.train", timed=True),
    "train_seconds": Measure("training, s", "train_seconds", timed=True),
    "states": Measure("how trials ended"),
    "flow_share": Measure("flow's parameters / the others", exact=True, scale=RAW),
    "posterior_variance": Measure("posterior variance"),
    "nll": Measure("NLL of the codes", scale=RAW),
    "nll_gap": Measure("NLL, held-out minus training", scale=RAW),
    "fluctuation": Measure("spread of the steps of log FD"),
    "convergence_seconds": Measure("seconds to within 5% of the last FD", timed=True),
}
TIMED: dict[str, Callable[[Timing], tuple[float, ...]]] = {
    "seconds_per_epoch": lambda run: run.stages["train"].seconds if "train" in run.stages else (),
    "train_seconds": Timing.trainings,
}
"""What is read of a timing run where there is one: a number a timed epoch."""
PROBED = ("nll_gap", "fluctuation", "convergence_seconds")
"""What is read of a row's probes, which only the rows of sweeps have unasked."""
_PRINTED = measured("", fixed(None, "seeds"))


@dataclass(frozen=True)
class Sample:
    """The numbers of an entry's trials, one each; `why` says why they cannot be compared, empty where they can.

    A trial that collapsed has none: its number is no evidence for or against a method. `states` has every trial's.
    `printed`: the standard deviation and the number of trials of which a paper prints the mean alone.
    """

    name: str
    values: tuple[float, ...] = ()
    states: Counter[str] = field(default_factory=Counter)
    exact: bool = False
    why: str = ""
    printed: tuple[float, int] | None = None

    @property
    def known(self) -> bool:
        """Whether it is known how far seeds spread."""
        return len(self.values) > 1 or self.printed is not None

    def text(self) -> str:
        """`GLF 710 ± 22 (3) [1 collapsed]`: also what became of the trials that have no number."""
        if self.values:
            cell = Cell(numbers=(Number.of("", self.values),), n=len(self.values), ended=self.states)
            return f"{self.name} {_PRINTED.print(cell)}"
        ended = [f"{number} {state}" for state, number in self.states.items() if state != "ok" or not self.why]
        return f"{self.name}: {', '.join(ended)}" if ended else ""


@dataclass(frozen=True)
class Source:
    """Where numbers are looked up: in trials under one protocol, on one `device`, or in all where neither matters."""

    evidence: Evidence
    part: Part
    summary: Summary
    device: str = ""
    timings: Mapping[Entry, Timing] | None = None

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
        if self.timings is not None and measure in TIMED:
            run = self.timings.get((dataset, row))
            if run is None or run.busy:
                return Sample(name, why="timed beside other work (§)" if run else "not timed: `aegen-bench time`")
            return Sample(name, TIMED[measure](run))
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


@dataclass(frozen=True)
class Printed:
    """The paper's own tables in place of our trials, for one measure on one dataset."""

    published: Published
    dataset: str
    measure: str

    @property
    def scale(self) -> Scale:
        return MEASURES[self.measure].scale

    def sample(self, row: str) -> Sample:
        row, _, other = row.partition("@")
        number, std = self._number(row, other or self.dataset)
        trials = int(self.published.content["meta"].get("fid_trials", 1))
        name = self.published.name(row)
        return Sample(name, why="not printed") if number is None else Sample(name, (number,), printed=(std, trials))

    def row(self, row: str) -> Row:
        """A number that is printed without its standard deviation counts as known."""
        sample = self.sample(row)
        [value], (std, n) = sample.values, sample.printed or (0.0, 1)
        if self.scale.logarithmic:
            return Row(math.log(value), n, (std / value) ** 2, n - 1)
        return Row(value, n, std**2, n - 1)

    def cited(self, table: int, row: str) -> float | None:
        return self.published.value(table, row, self.dataset).get("mean")

    def _number(self, row: str, dataset: str) -> tuple[float | None, float]:
        known = self.published.value
        if self.measure == "distance":
            fid = known(1, row, dataset)
            return fid.get("mean"), fid.get("std", 0.0)
        if self.measure in ("f8", "f1_8"):
            return known(3, row, dataset).get(self.measure), 0.0
        pace = known(6, row, dataset)
        if self.measure == "seconds_per_epoch":
            return pace.get("first"), 0.0
        if self.measure == "train_seconds" and pace:
            epochs = known(5, row, dataset) or known(5, row.removesuffix("_perceptual"), dataset)
            return sum(epochs.get(stage, 0.0) * seconds for stage, seconds in pace.items()) or None, 0.0
        return None, 0.0
