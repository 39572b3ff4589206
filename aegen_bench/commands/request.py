"""A command line as objects: names expanded, folders resolved, and a plan that can be announced and run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aegen_bench import data, results, runner
from aegen_bench import weights as weight_files
from aegen_bench.commands.terminal import MANY, Grid, counted, grid, show, spoken
from aegen_bench.errors import MissingError, UserError, unknown
from aegen_bench.files import require_folder
from aegen_bench.runner import Job
from aegen_bench.runner.parallelism import Parallelism
from aegen_bench.seeding import LARGEST_SEED
from aegen_bench.study import Study, Trial, command
from aegen_bench.study.command import check_command
from aegen_bench.study.grammar import MOST_SEEDS
from aegen_bench.training.stopping import Interrupts
from aegen_bench.trial.job import Place

if TYPE_CHECKING:
    from aegen_bench.runner.single_trial import Outcome

FEW = 3
"""How many trials in the same state the plan names before it only counts them."""
AGAIN = {"stale": ["--stale"], "weights gone": ["--retrain"]}
"""Flags that train trials in these states again; for states in `runner.ON_REQUEST` it is `--retry`."""

__all__ = ["Request", "fetch", "integers", "parse", "weights_folder"]


@dataclass(frozen=True)
class Request:
    """Rows, datasets and seeds of a study, and the folders to use. `skipped` maps datasets without data to a hint."""

    study: Study
    models: list[str]
    datasets: list[str]
    seeds: list[int]
    skipped: dict[str, str]
    data: Path
    results: Path
    weights: Path

    def plan(
        self,
        *,
        retrain: bool = False,
        stale: bool = False,
        retry: Sequence[str] = (),
        graphs: bool = True,
        also: Sequence[tuple[str, str, int]] = (),
    ) -> list[Job]:
        """Compare the requested trials, and those of `also` (dataset, row, seed), with the results on disk."""
        trials = self.study.trials(self.models, self.datasets, self.seeds)
        known = {(trial.dataset, trial.row, trial.seed) for trial in trials}
        for dataset, row, seed in also:
            if (dataset, row, seed) not in known:
                trials += self.study.trials([row], [dataset], [seed])
        return runner.plan(
            self.study,
            trials,
            Place(self.data, self.results, self.weights, graphs=graphs),
            without_data=list(self.skipped),
            retrain=retrain,
            stale=stale,
            retry=retry,
        )

    def command(self, trial: Trial, *flags: str) -> str:
        """Return the command line that runs this trial alone, with these flags and the folders of this request."""
        return command(
            "run",
            trial.profile,
            models=[trial.row],
            datasets=[trial.dataset],
            seeds=[trial.seed],
            flags=flags,
            results=self.results,
            data=self.data,
            weights=self.weights,
        )

    def require_data(self) -> None:
        """Raise MissingError if no dataset has data."""
        if len(self.skipped) == len(self.datasets):
            raise MissingError("; ".join(how_to_get(self.skipped, self.data)))

    def require_weights(self, planned: Sequence[Job]) -> None:
        """Raise MissingError if weights are missing that the plan needs for scoring or training."""
        runner.require_weights(self.study, planned)

    def announce(
        self, planned: Sequence[Job], interrupts: Interrupts, *, verbose: bool = False
    ) -> Iterator[str | Grid]:
        """Yield the plan: what is done, what remains, and what is in the way. `verbose` lists every trial."""
        number = f"{len(planned)} trial{'s' * (len(planned) != 1)}"
        yield f"{self.study.profile_name}: {number}: {counted(item.state for item in planned)}"
        if pairs := [p for p in planned if p.trunk]:
            trunks = {pair.trunk.folder for pair in pairs if pair.trunk}
            plural = [
                f"{len(found)} {kind}{'s' * (len(found) != 1)}" for kind, found in (("trunk", trunks), ("pair", pairs))
            ]
            yield f"{', '.join(plural)}; each trunk is trained once"
        if interrupts.limit is not None:
            yield f"time limit: {interrupts.limit:,.0f} s of training per trial, including earlier runs"
        scoring = {dataset: self.study.chosen_protocols(dataset) for dataset in self.datasets}
        for protocol in (self.study.protocols[name] for name in self.study.profile.protocols):
            without = [dataset for dataset, chosen in scoring.items() if protocol not in chosen]
            if len(without) < len(scoring):
                features = f"{protocol.count:,} images, features of {protocol.extractor}"
                yield protocol.describe() if verbose else f"scored by {protocol.name} ({protocol.id}): {features}"
            if without:
                lack = f"no weights for extractor {protocol.extractor}"
                yield f"not scored by {protocol.name}: {', '.join(without)}: {lack}"
        for name, own in self.study.profile.scoring.items():
            if set(self.study.models([name])) & {item.trial.row for item in planned}:
                on = [f"on {own.draws} draw{'s' * (own.draws > 1)}"] if own.draws else []
                yield " ".join([f"{name}: scored", *on, *(["by", ", ".join(own.metrics)] if own.metrics else [])])
        yield from (f"no data: {hint}" for hint in how_to_get(self.skipped, self.data))
        yield from (f"broken: {row}: {why}" for row, why in self.study.broken(self.models).items())
        used = [one for entry in map(self.study.entry, self.models) for one in (entry, entry.trunk) if one]
        shadows = {one.name: one.shadows for one in used if one.shadows}
        yield from (f"shadowed: the local {name} replaces the one in {path}" for name, path in shadows.items())
        yield from (
            f"shadowed: {name} of the local benchmarks.yaml replaces the shipped one" for name in self.study.shadowed
        )
        yield from grid((item.trial.row, item.trial.dataset, item.state) for item in planned)
        yield from self._one_by_one(planned, verbose)

    def _one_by_one(self, planned: Sequence[Job], verbose: bool) -> Iterator[str]:
        """Yield trials with their state and what to do about it. Without `verbose`, trials that simply run are left
        out, and only the first few in each state are named.
        """
        for state in dict.fromkeys(item.state for item in planned):
            found = [item for item in planned if item.state == state]
            if state in ("done", "no data") or (state == "run" and not verbose):
                continue
            flags = _flags(state)
            few = 1 if state == "blocked" else FEW  # of one trunk there are many
            for item in found if verbose else found[:few]:
                if item.state == "blocked" and item.trunk:
                    again = _flags(item.trunk.state)
                    both = f"; to train both: `{self.command(item.trial, *again)}`" if again else ""
                    yield f"{state}: {item.trial.label}: {item.detail}{both}"
                    continue
                told = f"{spoken(state)}: {item.trial.label}" + (f": {item.detail}" if item.detail else "")
                yield told + (f"; to train it again: `{self.command(item.trial, *flags)}`" if flags else "")
            if not verbose and len(found) > few:
                more = f"{spoken(state)}: and {len(found) - few} more (--verbose lists them)"
                flags = flags or sorted({flag for item in found if item.trunk for flag in _flags(item.trunk.state)})
                yield more + (f"; to train all of them again, add {' '.join(flags)} to this command" if flags else "")

    def forecast(self, planned: Sequence[Job], device: str, *, verbose: bool = False) -> Iterator[str | Grid]:
        """Yield lines on the cost of the plan on `device`, after some seconds of timing; none if nothing is to do."""
        from aegen_bench.cost import forecast

        most = None if verbose else MANY
        for line in forecast.lines(self.study, planned, self.data, self.results, device, most):
            if isinstance(line, str):
                yield line
            else:
                numbers = frozenset(range(2, len(line.heads)))
                yield Grid(line.heads, line.lines, right=numbers, plain=line.markdown)

    def resolution(self) -> Iterator[str]:
        """Yield lines on the differences that the requested seeds can detect."""
        from aegen_bench.report import resolution

        name = self.study.profile_name
        return resolution.lines(self.results, name, self.datasets, rows=len(self.models), seeds=len(self.seeds))

    def run(
        self,
        planned: Sequence[Job],
        device: str,
        interrupts: Interrupts,
        parallelism: Parallelism,
        *,
        quiet: bool = False,
    ) -> int:
        """Run the plan, print how it ended, and return the exit code; if `quiet`, print only what failed."""
        code = 3 if self.skipped else 0
        bad: list[tuple[Job, Outcome]] = []
        if any(p.state in runner.TO_DO for p in planned) or runner.anchors_missing(self.study, planned):
            summary = self._work(planned, device, interrupts, parallelism, quiet=quiet)
            code, bad = code if summary.good else 1, summary.bad
        if self.study.broken(self.models) or any(p.state in ("corrupt", "blocked") for p in planned):
            code = 1
        if not quiet and next(results.records(self.results, profile=self.study.profile_name), None):
            try:
                show(self._tables(planned))
            except UserError as error:  # the failures below must be listed all the same
                code = code or 1
                show([f"no tables: {error}"])
        show(self._failures(bad))
        return code

    def _work(
        self,
        planned: Sequence[Job],
        device: str,
        interrupts: Interrupts,
        parallelism: Parallelism,
        *,
        quiet: bool,
    ) -> runner.Summary:
        self.require_weights(planned)
        broken = runner.unusable(planned)
        show(f"broken: {row}: {why}" for row, why in broken.items())
        needed = {p.trunk.folder for p in planned if p.trunk and p.trial.row not in broken}
        planned = [p for p in planned if p.trial.row in self.models or p.folder in needed]
        from aegen_bench import environment
        from aegen_bench.progress import watch

        def tell(text: str) -> None:
            if not quiet:
                show([text])

        here = "auto" if parallelism.cluster else (parallelism.devices or (device,))[0]
        place = environment.pick_device(here)
        if here == "auto" and not parallelism.cluster and (told := environment.about_auto()):
            tell(told)
        in_bf16 = any(p.trial.config["precision"] == "bf16" for p in planned)
        if in_bf16 and place.type == "cpu" and not environment.native_bf16():
            tell("warning: this processor has no native bf16: training is about 25 times slower than in fp32")
        if any(p.trial.config["precision"] == "tf32" for p in planned) and not environment.native_tf32(place):
            tell(f"warning: {place} does not support TF32: it will train in fp32 although the results are called tf32")
        to_train = [p.trial for p in planned if p.state in runner.TRAINING]
        if not parallelism.cluster and any(trial.config.get("compile") for trial in to_train):
            environment.require_compiler(place)
        require_folder(self.results, "name another with --results")
        require_folder(self.weights, "--weights names another folder for trained weights")
        with environment.on_free_processors(lambda text: tell(f"note: {text}")) as threads:
            execute = parallelism.executor(device, threads)
            progress = watch(lambda: runner.running(self.results), quiet=quiet)
            try:
                summary = runner.run(self.study, planned, progress, broken, interrupts, execute, str(place))
            finally:
                progress.close()
        ended = ", ".join(f"{n} {status}" for status, n in summary.outcomes.items())
        tell(f"ended: {ended or 'nothing to train; floor and ceiling are scored'}")
        return summary

    def _failures(self, bad: Sequence[tuple[Job, Outcome]]) -> Iterator[str]:
        """Yield what went wrong and where to look: one line for all trials of a row that ended in the same way."""
        alike: dict[tuple[str, str, str], list[tuple[Job, Outcome]]] = {}
        for job, outcome in bad:
            alike.setdefault((job.trial.row, job.trial.dataset, outcome.status), []).append((job, outcome))
        for (row, dataset, status), found in alike.items():
            seeds = ", ".join(str(job.trial.seed) for job, _ in found)
            many, (job, outcome) = "s" * (len(found) > 1), found[0]
            yield f"{row} on {dataset}, seed{many} {seeds}: {outcome.text}"
            if (log := job.folder / "log.txt").is_file():
                yield f"  log: {log}"
            if status in ("failed", "evaluation failed"):
                yield f"  is the method at fault? `{check_command(row, self.data)}`"

    def _tables(self, planned: Sequence[Job]) -> Iterator[str | Grid]:
        """Yield the first table and the path of the page, which is written; nothing if no trial has ended well."""
        from aegen_bench import report
        from aegen_bench.commands import reporting
        from aegen_bench.study.staleness import Present

        profile, crossed = self.study.profile_name, self.study.crossed(self.models)
        asked, present = set(self.models) - crossed, Present(self.data)
        cells = [(p.trial.dataset, p.trial.row) for p in planned if p.trial.row in asked]
        # The plan also knows which trials used other images.
        seen = {(p.trial.profile, p.trial.dataset, p.trial.row) for p in planned if p.state == "stale"}
        made = report.make(
            self.results,
            [*report.EVERY, *report.CLAIMS],
            profile=profile,
            planned=list(dict.fromkeys(cells)),
            no_data=list(self.skipped),
            stale=lambda trials: seen | present.stale(trials),
            unasked=lambda trials: present.unasked(trials) - {(profile, row) for row in asked},
            described=self.study.described,
        )
        frame = made.chapters[0].evidence.crossed.frame
        if not (frame["status"] == "ok").any():
            return
        yield ""
        yield from reporting.first_tables(made, matrix=bool(crossed))
        try:
            (page, *_) = made.write(reporting.tables_folder(self.results), ["html"])
        except UserError as error:  # what was trained is recorded all the same
            yield f"no page: {error}"
        else:
            yield f"page: {page}"
        yield f"all tables: `{command('report', profile, results=self.results, data=self.data)}`"


def _flags(state: str) -> list[str]:
    """Return the flags with which `run` trains a trial in this state again; none if it does so anyway, or cannot."""
    return ["--retry", state] if state in runner.ON_REQUEST else AGAIN.get(state, [])


def parse(
    models: str | None,
    datasets: str | None,
    seeds: str | None,
    profile: str,
    settings: Sequence[str],
    folder: Path | None,
    results: Path,
    weights: Path | None,
) -> Request:
    """Turn the options of a command into a Request.

    UserError for an unknown name, with the closest valid one. MissingError if a dataset that was named has no data;
    with `all`, such datasets are skipped.
    """
    folder = folder or data.default_folder()
    study = Study(profile, local=Path.cwd(), data=folder, settings=settings)
    named = datasets is not None and datasets != "all"
    chosen = study.dataset_names(["all"] if datasets is None else datasets.split(","))
    hints = {name: data.missing(name, study.datasets[name].recipe, folder) for name in chosen}
    skipped = {name: hint for name, hint in hints.items() if hint}
    if skipped and named:
        raise MissingError("; ".join(how_to_get(skipped, folder)))
    return Request(
        study=study,
        models=study.models(study.profile.models if models is None else models.split(",")),
        datasets=chosen,
        seeds=_seeds(seeds, study.profile.seeds),
        skipped=skipped,
        data=folder,
        results=results,
        weights=weights_folder(weights, folder),
    )


def how_to_get(missing: Mapping[str, str], folder: Path) -> list[str]:
    """Return lines on how to get missing datasets, {name: hint}: one command for all that `fetch` can download, and the
    hints of the others.
    """
    fetched = data.to_fetch(missing)
    if len(fetched) < 2:
        return list(missing.values())
    together = (
        f"no images of {', '.join(fetched)} under {folder}: `{data.fetch_command(fetched, folder)}` downloads them"
    )
    return [together, *(hint for name, hint in missing.items() if name not in fetched)]


def weights_folder(named: Path | None, folder: Path | None) -> Path:
    """Return the folder of trained weights: `named`, or else weights/ in the data folder."""
    return named or (folder or data.default_folder()) / "weights"


def fetch(names: Sequence[str], folder: Path | None) -> Iterator[str]:
    """Download datasets and weights by name and yield a line for each."""
    folder = folder or data.default_folder()
    study = Study("paper", local=Path.cwd(), data=folder)
    everything = [*study.profile.datasets, *(n for n, f in weight_files.FILES.items() if f.url)]
    for name in everything if list(names) == ["all"] else names:
        if name in weight_files.FILES:
            yield f"{name}: {weight_files.fetch(name, folder)}"
        elif name in study.datasets:
            yield data.fetch(name, study.datasets[name].recipe, folder)
        else:
            raise unknown("dataset or weights", name, [*study.datasets, *weight_files.FILES])


def integers(option: str, text: str) -> list[int]:
    """'1,3' -> [1, 3]; '4,' -> [4]."""
    try:  # at most 20 digits: `int` takes minutes for a string of millions
        return [int(part) if len(part) <= 20 else int("") for part in text.removesuffix(",").split(",")]
    except ValueError as error:
        raise UserError(f"{option} {text[:40]}: expected whole numbers, comma separated") from error


def _seeds(text: str | None, default: int) -> list[int]:
    """'3' means the first three seeds, '2,5' these two, '4,' only seed 4."""
    if text is None:
        return list(range(default))
    numbers = integers("--seeds", text)
    if "," not in text:
        (count,) = numbers
        if not 1 <= count <= MOST_SEEDS:
            alone = f"; for only seed {count} write --seeds {count}," if 0 <= count <= LARGEST_SEED else ""
            raise UserError(f"--seeds {text[:40]} is a count, which must be from 1 to {MOST_SEEDS:,}{alone}")
        return list(range(count))
    if wrong := [number for number in numbers if not 0 <= number <= LARGEST_SEED]:
        raise UserError(f"--seeds {text[:40]}: a seed must be from 0 to {LARGEST_SEED:,}, not {wrong[0]}")
    return list(dict.fromkeys(numbers))
