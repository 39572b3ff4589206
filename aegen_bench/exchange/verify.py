"""Verifying somebody's results, from the files alone or also from their weights.

Each check results in `pass`, `fail`, or `open` if the results do not contain enough to decide. A failed check does not
prove dishonesty, and a passed one does not prove honesty; together they find most mistakes.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aegen_bench import results
from aegen_bench.errors import BrokenContract, Diverged, MissingError, UserError
from aegen_bench.evaluation.metric import distance_of
from aegen_bench.results import ANCHORS, NO_TRIALS, Record
from aegen_bench.study import Study, Trial, asked_as

__all__ = ["Finding", "verify"]

SAME = 1e-3
"""Tolerated relative difference of a distance that is measured again, since other processors round differently."""


SEEDS = 3
"""A row that leads a table should have so many."""


class Finding(NamedTuple):
    """The result of a check: its name, the verdict, and details."""

    check: str
    verdict: Literal["pass", "fail", "open"]
    detail: str


@dataclass(frozen=True)
class _Submission:
    trials: Sequence[Record]
    anchors: Sequence[Record]
    unreadable: Sequence[str]
    root: Path
    data: Path
    weights: Path | None

    @cached_property
    def studies(self) -> dict[str, Study]:
        return {}

    def study_of(self, profile: str) -> Study:
        """Return the study of a profile, which may have settings of `--set`; UserError if it does not exist here."""
        if profile not in self.studies:
            name, settings = asked_as(profile)
            self.studies[profile] = Study(name, local=Path.cwd(), data=self.data, settings=settings)
        return self.studies[profile]

    def planned(self, record: Record) -> Trial:
        """Return the trial that this version would run for a record; UserError if it cannot run it."""
        study = self.study_of(record.profile)
        for kind, name, known in (("model", record.row, study.rows), ("dataset", record.dataset, study.datasets)):
            if name not in known:
                raise UserError(f"there is no {kind} '{name}' here")
        if error := study.entry(record.row).error:
            raise UserError(error)
        return study.trials([record.row], [record.dataset], [record.seed])[0]


def verify(root: Path, *, data: Path, reference: Path | None = None, weights: Path | None = None) -> Iterator[Finding]:
    """Yield the findings on the results under `root`.

    `reference` is a trusted results folder whose anchors must be equal, and `weights` a folder of trained weights, from
    which images are generated and scored again. UserError if there is no trial.
    """
    unreadable = list[str]()
    found = [r for _, r in results.records(root, on_corrupt=lambda path, error: unreadable.append(str(error)))]
    trials = [record for record in found if record.profile not in NO_TRIALS]
    if not trials and not unreadable:
        raise UserError(f"no trials under {root}")
    anchors = [record for record in found if record.profile == ANCHORS]
    here = _Submission(trials, anchors, unreadable, root, data, weights)
    for check in CHECKS:
        yield check(here)
    yield _anchors_agree(here, reference)
    yield _scores_again(here)


def _readable(here: _Submission) -> Finding:
    """Every file called record.json is a record that this version can read."""
    if here.unreadable:
        return Finding("records", "fail", _some(here.unreadable))
    return Finding("records", "pass", f"{len(here.trials)} trials, {len(here.anchors)} anchors")


def _keys(here: _Submission) -> Finding:
    """The key of each trial is the hash of the settings in its record."""
    wrong = [record.label for record in here.trials if _key(record) != record.key]
    return _all("keys", wrong, "each key is the hash of the recorded settings", "the key does not match the settings")


def _current(here: _Submission) -> Finding:
    """This version would train each trial in the same way for its row, dataset and seed."""
    stale = list[str]()
    for record in here.trials:
        try:
            planned = here.planned(record)
        except UserError as error:
            stale.append(f"{record.label} ({error})")
            continue
        if planned.key != record.key:
            stale.append(record.label)
    return _all("code", stale, "each trial has the code and settings of this version", "different code or settings")


def _protocols(here: _Submission) -> Finding:
    """Each protocol id is known here."""
    ids = {protocol.id for protocol in here.study_of("paper").protocols.values()}
    named = {(entry.about.get("name", ""), i) for record in here.trials for i, entry in record.metrics.items()}
    wrong = [f"{name} {i}" for name, i in sorted(named) if i not in ids]
    return _all("protocols", wrong, f"{len(named)} protocols, all known here", "not a protocol of this version")


def _real_images(here: _Submission) -> Finding:
    """Under each protocol, all trials and anchors of a dataset were compared with the same real images."""
    seen: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for record in [*here.trials, *here.anchors]:
        for protocol, entry in record.metrics.items():
            seen[record.dataset, protocol].add(entry.about.get("real_sha256", ""))
    wrong = [f"{dataset} under {protocol}" for (dataset, protocol), images in seen.items() if len(images - {""}) > 1]
    return _all("real images", wrong, "one set of real images per dataset and protocol", "several sets of real images")


def _training_images(here: _Submission) -> Finding:
    """All trials of a dataset were trained on the same images."""
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for record in here.trials:
        if sha256 := record.config.get("data_sha256"):
            seen[record.dataset].add(sha256)
    wrong = [dataset for dataset, images in seen.items() if len(images) > 1]
    return _all("training images", wrong, "one training set per dataset", "several training sets")


def _seeds(here: _Submission) -> Finding:
    """The seeds of a row have the same settings, and no two have the same weights or numbers."""
    wrong, rows = list[str](), defaultdict[tuple[str, str, str], list[Record]](list)
    for record in here.trials:
        rows[record.profile, record.dataset, record.row].append(record)
    for (profile, dataset, row), seeds in rows.items():
        label = f"{profile}/{dataset}/{row}"
        if len({_key(record, seed=0) for record in seeds}) > 1:
            wrong.append(f"{label}: seeds with different settings")
        weights = Counter(  # a pair's own weights may be empty, and then those of its trunk tell its seeds apart
            (record.weights_sha256, record.trunk and record.trunk.weights_sha256)
            for record in seeds
            if record.weights_sha256
        )
        numbers = Counter(str(sorted(_distances(record).items())) for record in seeds if _distances(record))
        if any(n > 1 for n in (*weights.values(), *numbers.values())):
            wrong.append(f"{label}: two seeds have the same weights or numbers")
    return _all("seeds", wrong, f"{len(rows)} rows, each with one configuration, no copies", "seeds not independent")


def _above_the_floor(here: _Submission) -> Finding:
    """No trial is closer to the test images than real training images are."""
    floors = {
        (record.dataset, protocol): value
        for record in here.anchors
        if record.row == "floor"
        for protocol, value in _distances(record).items()
    }
    scores = [(r, p, v) for r in here.trials for p, v in _distances(r).items() if (r.dataset, p) in floors]
    if not scores:
        return Finding("floor", "open", "no anchors here: a `run` of their profile computes them")
    wrong = [
        f"{r.label}: {v:,.4g}, floor {floors[r.dataset, p]:,.4g}" for r, p, v in scores if v < floors[r.dataset, p]
    ]
    return _all("floor", wrong, f"{len(scores)} distances, none below its floor", "better than real images")


def _finite(here: _Submission) -> Finding:
    """Every finished trial has a finite number for each metric that did not fail."""
    wrong = [
        f"{record.label}: {name}"
        for record in here.trials
        if record.status == "ok"
        for entry in record.metrics.values()
        for numbers in (*entry.draws, entry.model)
        for name, value in numbers.items()
        if value is None or not math.isfinite(value)
    ]
    return _all("numbers", wrong, "every number is finite", "not finite")


def _leading_group(here: _Submission) -> Finding:
    """The rows that lead a column of Table 1 do so with at least three seeds."""
    from aegen_bench import report
    from aegen_bench.study.staleness import Present

    try:
        made = report.make(here.root, ["1"], unasked=Present(here.data).unasked)
    except UserError as error:  # no record can be read
        return Finding("leading group", "open", str(error))
    cells = [
        (f"{cell.row} on {cell.dataset} ({table.profile}, {table.protocol_name})", cell.n)
        for chapter in made.chapters
        for table in chapter.tables
        for line in table.lines
        for cell in line
        if cell.numbers and cell.numbers[0].leading
    ]
    if not cells:
        return Finding("leading group", "open", "no column has two rows, one of them with two seeds")
    if few := [f"{name}: {n} seed{'s' * (n > 1)}" for name, n in cells if n < SEEDS]:
        return Finding("leading group", "open", f"leads with fewer than {SEEDS} seeds: {_some(few)}")
    return Finding("leading group", "pass", f"{len(cells)} rows lead a column, each with {SEEDS} seeds or more")


def _anchors_agree(here: _Submission, reference: Path | None) -> Finding:
    """The anchors equal those of the reference: same images, features and metrics."""
    if reference is None:
        return Finding("anchors", "open", "no --reference to compare with")
    trusted = {r.place: _distances(r) for _, r in results.records(reference, profile=ANCHORS)}
    compared = [
        (record.label, protocol, value, trusted[record.place][protocol])
        for record in here.anchors
        for protocol, value in _distances(record).items()
        if protocol in trusted.get(record.place, {})
    ]
    if not compared:
        return Finding("anchors", "open", f"none in common with {reference}")
    wrong = [f"{label}: {a:,.6g}, reference {b:,.6g}" for label, _, a, b in compared if abs(a - b) > SAME * abs(b)]
    return _all("anchors", wrong, f"{len(compared)} agree with {reference}", "different from the reference")


def _the_same(images: Any, n: int) -> Any:
    return images


def _scores_again(here: _Submission) -> Finding:
    """Images generated again from the weights have the recorded distance (of the first draw)."""
    if here.weights is None:
        return Finding("scores", "open", "no --weights to generate images from")
    wrong, unmeasured, count = list[str](), list[str](), 0
    for record in here.trials:
        if record.status != "ok" or not record.has_weights(here.weights):
            continue
        try:
            here.planned(record)
        except UserError as error:
            unmeasured.append(f"{record.label}: {error}")
            continue
        try:
            for name, recorded, value in _measured_again(here, record, here.weights):
                count += 1
                if value is None:
                    wrong.append(f"{record.label}, {name}: {recorded:,.6g} recorded, which could not be measured again")
                elif abs(value - recorded) > SAME * recorded:
                    wrong.append(f"{record.label}, {name}: {recorded:,.6g} recorded, {value:,.6g} again")
        except MissingError as error:  # of the dataset or a network
            unmeasured.append(f"{record.label}: {error}")
        except (UserError, Diverged, BrokenContract) as error:  # other code, other weights, or invalid images
            wrong.append(f"{record.label}: {error}")
    if wrong:
        return Finding("scores", "fail", f"the weights do not give the recorded distance: {_some(wrong)}")
    if unmeasured:
        return Finding("scores", "open", f"{count} distances measured again agree; not measured: {_some(unmeasured)}")
    if not count:
        return Finding("scores", "open", f"no weights of these trials in {here.weights}")
    return Finding("scores", "pass", f"{count} distances measured again agree")


def _measured_again(here: _Submission, record: Record, kept: Path) -> Iterator[tuple[str, float, float | None]]:
    """Yield each protocol of a trial, its recorded distance, and the one of images generated from the weights."""
    from aegen_bench.evaluation.scorer import GivenImages, Scorer, real_images
    from aegen_bench.progress import Progress
    from aegen_bench.trial import model as models
    from aegen_bench.trial import sampling

    study = here.study_of(record.profile)
    model = models.restore(results.trial_folder(here.root, *record.place[:3], record.seed), kept, here.data)
    device = next(model.parameters()).device
    real = real_images(record.dataset, study.datasets[record.dataset].recipe, here.data)
    scorer = Scorer(record.dataset, real, list(study.protocols.values()), here.data, device, Progress())
    for name, protocol in study.protocols.items():
        entry = record.metrics.get(protocol.id)
        recorded = distance_of(entry.draws[0]) if entry and entry.draws else None
        if recorded is None:
            continue
        made = sampling.generate(model, scorer.needs(protocol), seed=record.seed, draw=0, device=device)
        subject = GivenImages(partial(_the_same, made), record.seed)
        yield name, recorded, distance_of(scorer.score(protocol, subject, only={"fd"}).draws[0])


CHECKS: tuple[Callable[[_Submission], Finding], ...] = (
    _readable,
    _keys,
    _current,
    _protocols,
    _real_images,
    _training_images,
    _seeds,
    _finite,
    _above_the_floor,
    _leading_group,
)


def _key(record: Record, seed: int | None = None) -> str:
    config = {k: v for k, v in record.config.items() if k not in results.RECORDED_AFTER_PLANNING}
    return Trial(record.profile, record.dataset, record.row, record.seed if seed is None else seed, config).key


def _distances(record: Record) -> dict[str, float]:
    """Return the Fréchet distance under each protocol id, averaged over draws."""
    found = dict[str, float]()
    for protocol, entry in record.metrics.items():
        drawn = [value for numbers in entry.draws if (value := distance_of(numbers)) is not None]
        if drawn:
            found[protocol] = sum(drawn) / len(drawn)
    return found


def _all(check: str, wrong: Sequence[str], good: str, bad: str) -> Finding:
    return Finding(check, "fail", f"{bad}: {_some(wrong)}") if wrong else Finding(check, "pass", good)


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return "; ".join(items[:3]) + more
