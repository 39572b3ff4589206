"""The measures of claims: one number per trial, looked up by dataset, row and name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from aegen_bench.inference import LOG, RAW, Row, Scale, moderated
from aegen_bench.report.cells import Cell, Entry, Number, fixed, measured
from aegen_bench.report.evidence import HISTORY, Evidence, Part, Trial, settled
from aegen_bench.report.published import Published
from aegen_bench.results.timings import Timing
from aegen_bench.study.command import command

__all__ = ["MEASURES", "Measure", "Measured", "PapersNumbers", "Sample", "Source"]


class Measure(NamedTuple):
    """A number of a trial: its name in tables, its metric in the frame (if it is one), and what it depends on."""

    label: str
    metric: str = ""
    scored: bool = False  # depends on the protocol; rows marked † have none
    timed: bool = False  # comes from a timing run
    exact: bool = False  # the same for every seed, so that one is enough
    scale: Scale = LOG  # the scale on which rows are compared


MEASURES = {
    "distance": Measure("FD", scored=True),  # fid, fd or fwd, depending on the protocol
    "f8": Measure("F8", "f8", scored=True, scale=RAW),
    "f1_8": Measure("F1/8", "f1_8", scored=True, scale=RAW),
    "memorisation": Measure("memorisation", "memorisation", scale=RAW),
    "copying": Measure("C_T", "copying_z", scored=True, scale=RAW),
    "seconds_per_epoch": Measure("s/epoch", timed=True),
    "train_seconds": Measure("training, s", timed=True),
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
"""Numbers of a timing run alone, one per timed epoch."""
PROBED = ("nll_gap", "fluctuation", "convergence_seconds")
"""Measures read from probes, which only the rows of sweeps have by default."""
_PRINTED = measured("", fixed(None, "seeds"))


@dataclass(frozen=True)
class Sample:
    """The numbers of an entry's trials; `why` is the reason why they cannot be compared, empty if they can.

    Collapsed trials are left out, since their numbers are no evidence for or against a method. `states` counts the
    states of all trials. `printed` holds the standard deviation and number of trials behind a published mean.
    """

    name: str
    values: tuple[float, ...] = ()
    states: Counter[str] = field(default_factory=Counter)
    exact: bool = False
    why: str = ""
    printed: tuple[float, int] | None = None

    @property
    def known(self) -> bool:
        """Whether the spread over seeds is known."""
        return len(self.values) > 1 or self.printed is not None

    def text(self) -> str:
        """Return `GLF 710 ± 22 (3) [1 collapsed]`, including the trials without a number."""
        if self.values:
            cell = Cell(numbers=(Number.of("", self.values),), n=len(self.values), ended=self.states)
            return f"{self.name} {_PRINTED.print(cell)}"
        ended = [f"{number} {state}" for state, number in self.states.items() if state != "ok" or not self.why]
        return f"{self.name}: {', '.join(ended)}" if ended else ""


@dataclass(frozen=True)
class Source:
    """The trials whose numbers are used: under one protocol, or all if it does not matter; and for times, the timing
    runs of one device.
    """

    evidence: Evidence
    part: Part
    device: str = ""
    timings: Mapping[Entry, Timing] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The name of the protocol, or the device; empty if neither applies."""
        return self.part.name or self.device

    def has(self, dataset: str) -> bool:
        """Return whether there are trials on a dataset."""
        return any(entry[0] == dataset for entry in self.part.summary.trials)


@dataclass(frozen=True)
class Measured:
    """One measure on one dataset in our trials; `named` are the rows that a claim mentions."""

    source: Source
    dataset: str
    measure: str
    named: tuple[str, ...]

    @property
    def scale(self) -> Scale:
        """The scale on which rows are compared."""
        return MEASURES[self.measure].scale

    def sample(self, row: str) -> Sample:
        """Return the numbers of a row, or why they cannot be compared. `ROW@DATASET` is the row on another dataset."""
        row, _, other = row.partition("@")
        evidence, summary, entry = self.source.evidence, self.source.part.summary, (other or self.dataset, row)
        name = evidence.name(row) + (f" on {evidence.name(other)}" if other else "")
        run = self.source.timings.get(entry)
        if MEASURES[self.measure].timed:
            if run is None or run.busy:
                time = command(
                    "time", evidence.layout.profile, models=[row], datasets=[entry[0]], results=evidence.root
                )
                why = "timed while other programs ran (§)" if run else f"not timed: `{time}`"
                return Sample(name, why=why)
            if self.measure in TIMED:
                return Sample(name, TIMED[self.measure](run))
        trials = evidence.trials(*entry)
        states = Counter(trial.state for trial in trials)
        read = [self._read(trial) for trial in trials if trial.state == "ok"]
        values = tuple(value for value in read if not math.isnan(value))
        why = ""
        if not trials:
            why = "no trial"
        elif entry in summary.mixed:
            why = "trials with different configurations"
        elif MEASURES[self.measure].scored and row in self.source.part.dagger:
            why = "trained with the network that scores it (†)"
        elif not read and self.measure != "states":
            why = "no successful trial"
        elif not values and self.measure != "states":
            why = "not probed: `run --set rows.ROW.probe.every=1`" if self.measure in PROBED else "not measured"
        elif len(self.scale.of(values)) < len(values):
            why = "not positive, so there is no logarithm"
        return Sample(name, () if why else values, states, MEASURES[self.measure].exact, why)

    def row(self, row: str) -> Row:
        """Return the mean of a row that has numbers, on the scale, with its moderated variance."""
        return self._rows[row]

    @cached_property
    def _rows(self) -> dict[str, Row]:
        """The rows that the claim mentions, with variances moderated by those of all rows of the profile if reading
        them is cheap.
        """
        cheap = self.measure == "distance" or MEASURES[self.measure].metric or self.measure in TIMED
        names = dict.fromkeys([*self.named, *(self.source.evidence.layout.rows if cheap else [])])
        found, _ = moderated({name: self.sample(name).values for name in names}, self.scale)
        return found

    def cited(self, table: int, row: str) -> float | None:
        """Return the number that a table of the paper gives for a row; None if it is not comparable with ours."""
        layout = self.source.evidence.layout
        if layout.profile != "paper" or not self.source.part.is_papers:
            return None
        return layout.published.value(table, row, self.dataset).get("mean")

    def _read(self, trial: Trial) -> float:
        """Return the number of one trial; NaN if it has none."""
        metric = self.source.part.metric if self.measure == "distance" else MEASURES[self.measure].metric
        if metric:
            known = self.source.part.summary.numbers.get(metric, {})
            return known.get((trial.dataset, trial.row, trial.seed), math.nan)
        if self.measure == "convergence_seconds":
            run = self.source.timings[trial.dataset, trial.row]
            epochs = settled(self.source.evidence.history(trial))
            paces = [n * run.stages[stage].pace for stage, n in epochs.items() if stage in run.stages]
            return math.fsum(paces) if epochs and len(paces) == len(epochs) else math.nan
        if self.measure in HISTORY:
            return HISTORY[self.measure](self.source.evidence.history(trial))
        if self.measure == "flow_share" and (record := self.source.evidence.record(trial)) is not None:
            flow, total = record.parameters.get("flow"), record.parameters.get("total")
            return flow / (total - flow) if flow and total else math.nan
        return math.nan


@dataclass(frozen=True)
class PapersNumbers:
    """The paper's own tables instead of our trials, for one measure on one dataset."""

    published: Published
    dataset: str
    measure: str

    @property
    def scale(self) -> Scale:
        """The scale on which rows are compared."""
        return MEASURES[self.measure].scale

    def sample(self, row: str) -> Sample:
        """Return the published mean of a row with its standard deviation, or why there is none."""
        row, _, other = row.partition("@")
        number, std = self._number(row, other or self.dataset)
        trials = int(self.published.content["meta"].get("fid_trials", 1))
        name = self.published.name(row)
        if number is None:
            return Sample(name, why="not in the paper")
        return Sample(name, (number,), printed=(std, trials))

    def row(self, row: str) -> Row:
        """Return the published mean of a row on the scale. One without standard deviation counts as exactly known."""
        sample = self.sample(row)
        [value], (std, n) = sample.values, sample.printed or (0.0, 1)
        if self.scale.logarithmic:
            return Row(math.log(value), n, (std / value) ** 2, n - 1)
        return Row(value, n, std**2, n - 1)

    def cited(self, table: int, row: str) -> float | None:
        """Return the number that a table of the paper gives for a row; None if there is none."""
        return self.published.value(table, row, self.dataset).get("mean")

    def _number(self, row: str, dataset: str) -> tuple[float | None, float]:
        known = self.published.value
        fid, pace = known(1, row, dataset), known(6, row, dataset)
        if self.measure == "distance":
            return fid.get("mean"), fid.get("std", 0.0)
        found = {**known(3, row, dataset), "seconds_per_epoch": pace.get("first")}
        epochs = known(5, row, dataset) or known(5, row.removesuffix("_perceptual"), dataset)
        found["train_seconds"] = sum(epochs.get(stage, 0.0) * seconds for stage, seconds in pace.items()) or None
        return found.get(self.measure), 0.0
