"""The commands `evaluate` and `sample`: score external images, add missing scores to a trial, write its images."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aegen_bench import data, results, weights
from aegen_bench.errors import Incomplete, Interrupted, UserError, contained, unknown
from aegen_bench.evaluation import Protocol, extractors, imagesets, metrics
from aegen_bench.evaluation.frechet import BEYOND_NOISE
from aegen_bench.evaluation.metric import DISTANCES, distance_of
from aegen_bench.evaluation.scorer import Real, Scorer, real_images
from aegen_bench.files import is_name, require_folder, shown
from aegen_bench.progress import Progress, watch
from aegen_bench.results import Evaluation, Record
from aegen_bench.study import Study, Trial, asked_as, catalog, command

__all__ = ["evaluate_images", "evaluate_trial", "find_trial", "on_machine", "sample", "watching"]


def evaluate_images(
    path: Path,
    dataset: str | None,
    against: Path | None,
    protocol: str,
    count: int | None,
    name: str | None,
    seed: int,
    *,
    device: str,
    folder: Path | None,
    root: Path,
) -> Iterator[str]:
    """Score the images at `path` against a dataset, or against those at `against`, record the scores and yield them.

    UserError for any problem with names, files or the number of images; Incomplete, at the end, if a metric failed.
    """
    if (dataset is None) == (against is None):
        raise UserError("choose what to compare with: either --dataset NAME or --against PATH")
    place = folder or data.default_folder()
    study = Study("paper", local=Path.cwd(), data=place)
    dataset = str(dataset) if against is None else f"vs_{_folder_name(against)}"
    if against is None and dataset not in study.datasets:
        raise unknown("dataset", dataset, study.datasets)
    row = name or _name(path)
    _require_name(row, "use --name OTHER, plain text without slashes or a leading dot")
    _require_name(dataset, f"rename {shown(against or dataset)}")
    chosen = _protocols(study, [protocol], dataset, count, place)
    with watching() as show:
        files = data.find(path)
        if against is not None:
            real = _real_of(data.find(against), chosen[0])
        else:
            real = real_images(dataset, study.datasets[dataset].recipe, place)
        from aegen_bench import environment

        scorer = Scorer(dataset, real, chosen, place, environment.pick_device(device), show)
        require_folder(root)
        with on_machine(show):
            record = imagesets.score(scorer, root, files, row, seed, take_place=name is not None)
            if against is None:
                imagesets.anchors(scorer, root)
    yield from _numbers(record, scorer, root)


def _name(path: Path) -> str:
    """Return the name of images in tables: the last part of the path as typed, even if that is a link."""
    typed = Path(os.path.abspath(path))
    return typed.name if typed.is_dir() else typed.stem  # a folder's dots are part of its name: beta0.5


def _folder_name(path: Path) -> str:
    """Return the last two parts of a path, since many folders of real images are called train or test."""
    parent = Path(os.path.abspath(path)).parent.name
    return f"{parent}-{_name(path)}" if parent else _name(path)


def _require_name(name: str, instead: str) -> None:
    """Raise UserError, before anything is scored, for a name that cannot be a folder of results."""
    if not is_name(name) or name.startswith("."):  # hidden folders are ignored
        raise UserError(f"'{shown(name)[:80]}' cannot be the name of a folder of results: {instead}")


def evaluate_trial(
    folder: Path, *, protocols: Sequence[str], device: str, data_folder: Path | None, kept: Path | None
) -> Iterator[str]:
    """Add to a finished trial the scores that its record lacks under these protocols (default: its profile's).

    Trains nothing. Incomplete, at the end, if a metric failed.
    """
    from aegen_bench import environment
    from aegen_bench.trial import lifecycle
    from aegen_bench.trial.job import Job, Place

    record = _record_of_trial(folder)
    if record.status != "ok":
        raise UserError(f"{folder} ended as {record.status}: there is nothing to evaluate")
    place = data_folder or data.default_folder()
    profile, settings = asked_as(record.profile)
    study = Study(profile, local=Path.cwd(), data=place, settings=settings)
    names = protocols or [p.name for p in study.chosen_protocols(record.dataset)]
    chosen = _protocols(study, names, record.dataset, None, place)
    method = catalog.of_record(record.config, Path.cwd())
    asked = Trial(record.profile, record.dataset, record.row, record.seed, record.config)
    root, where_to = _whole(folder, record).parents[3], str(environment.pick_device(device))
    where = Place(place, root, kept or place / "weights", where_to)
    with watching() as show, on_machine(show):
        job = Job(asked, method, chosen, study.profile.draws, where, show=show)
        with _of_model(f"{folder} cannot be evaluated"):
            record = lifecycle.evaluate(job)
    if record.status != "ok":  # its first evaluation found images that are not finite
        raise Incomplete(f"{asked.label} ended as {record.status}: {record.reason}")
    for protocol in chosen:
        yield f"{asked.label}: {protocol.describe()}"
        yield from _lines(record.metrics[protocol.id], _ceiling(root, record, protocol))
    _require_whole(record, chosen)


def find_trial(root: Path, profile: str | None, dataset: str, row: str, seed: int) -> Path:
    """Return the folder of a finished trial; without a profile, in the only profile that has it."""
    if profile is not None:
        return results.trial_folder(root, profile, dataset, row, seed)
    profiles = [name for name in results.profiles(root) if name not in results.NO_TRIALS]
    places = {name: results.trial_folder(root, name, dataset, row, seed) for name in profiles}
    found = {name: place for name, place in places.items() if (place / "record.json").is_file()}
    if not found:
        makes = command("run", "lite", models=[row], datasets=[dataset], seeds=[seed], results=root)
        raise UserError(f"{row} on {dataset}, seed {seed}: no finished trial under {root}: `{makes}` trains one")
    if len(found) > 1:
        raise UserError(f"{row} on {dataset}, seed {seed}: choose a --profile, one of {', '.join(found)}")
    return next(iter(found.values()))


def sample(folder: Path, *, count: int, out: Path, draw: int, device: str, kept: Path, place: Path) -> str:
    """Write generated images of a finished trial to a folder of PNGs or an .npz (`images`, NHWC) and return a line.

    Draw 0 with the count of the protocol gives exactly the images that were scored.
    """
    from PIL import Image

    from aegen_bench import environment
    from aegen_bench.files import new_folder, write_bytes
    from aegen_bench.trial import model as models
    from aegen_bench.trial import sampling

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already: choose another folder or .npz")
    record = _record_of_trial(folder)
    if Path(os.path.abspath(folder)).parts[-4:] != record.place:  # the row's folder is a link to another row's
        raise UserError(f"{folder} is the record of {record.label}: move it to a folder of that name")
    require_folder(out.parent)
    model = models.restore(folder, kept, place, folder.parents[3])
    where = environment.pick_device(device)
    with watching("stopped; no images were written") as show, environment.exact():
        show.note(f"generating {count:,} images")
        with _of_model(f"{folder} generates no images"), contained():
            images = sampling.generate(model.to(where), count, seed=record.seed, draw=draw, device=where)
        planes = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
        if out.suffix == ".npz":
            import io

            packed = io.BytesIO()
            np.savez_compressed(packed, images=planes)
            write_bytes(out, packed.getvalue())
        else:
            with new_folder(out) as unfinished:
                for number, image in enumerate(planes):
                    Image.fromarray(image).save(unfinished / f"{number:0{len(str(count - 1))}}.png")
    return f"{count:,} images of {folder} in {out}"


@contextmanager
def watching(
    told: str = "stopped; what was recorded is kept, and the same command does the rest",
) -> Iterator[Progress]:
    """Context that shows progress and turns Ctrl-C into a one-line error, since typer would exit without a message."""
    show = watch()
    try:
        yield show
    except KeyboardInterrupt:
        raise Interrupted(told) from None
    finally:
        show.close()


@contextmanager
def on_machine(show: Progress) -> Iterator[None]:
    """Context in which torch is set up as in trials."""
    from aegen_bench import environment
    from aegen_bench.numerics import tuning

    with environment.on_free_processors(show.note), environment.exact(), tuning.keeping_memory():
        yield


@contextmanager
def _of_model(told: str) -> Iterator[None]:
    """Context that turns any exception of a model into a UserError: non-finite weights, an index error, ..."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{told}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error


def _record_of_trial(folder: Path) -> Record:
    record = results.read_record(folder / "record.json")
    if record.profile in results.NO_TRIALS:
        raise UserError(
            f"{folder} is the record of external images or an anchor: `aegen-bench evaluate PATH` scores images"
        )
    _whole(folder, record)
    return record


def _whole(folder: Path, record: Record) -> Path:
    """Return RESULTS/PROFILE/DATASET/ROW/seed-K for a trial's folder, which may be a link or be inside one.

    UserError if neither the path as typed nor the resolved one matches the names in the record.
    """
    places = (Path(os.path.abspath(folder)), folder.resolve())
    whole = next((place for place in places if place.parts[-4:] == record.place), None)
    if whole is None:
        raise UserError(f"{folder} is the record of {record.label}: move it to a folder of that name")
    return whole


def _protocols(study: Study, names: Sequence[str], dataset: str, count: int | None, place: Path) -> list[Protocol]:
    """Return the named protocols after checking their extractors' weights. `count` replaces their number of images."""
    chosen: list[Protocol] = []
    for name in names:
        if name not in study.protocols:
            raise unknown("protocol", name, study.protocols)
        protocol: Protocol = study.protocols[name]
        if needed := extractors.recipe(protocol.extractor).file(dataset):
            weights.path(needed, place)
        if count is not None:
            try:
                protocol = Protocol.model_validate({**protocol.model_dump(), "count": count})
            except ValueError:
                raise UserError(f"--count {count}: a protocol compares at least 2 images") from None
        chosen.append(protocol)
    return chosen


def _real_of(files: data.Files, protocol: Protocol) -> Real:
    from aegen_bench.evaluation.features import chosen

    @cache
    def read() -> tuple[NDArray[np.uint8], str]:
        images = files.take(chosen(files.count, protocol.images(files.count)), files.first())
        return images, hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()

    return lambda split: read()


def _numbers(record: Record, scorer: Scorer, root: Path) -> Iterator[str]:
    for protocol in scorer.protocols:
        yield protocol.describe()
        yield f"{record.row} against {scorer.dataset}, {scorer.needs(protocol):,} images a side:"
        yield from _lines(record.metrics[protocol.id], _ceiling(root, record, protocol))
    folder = results.trial_folder(root, record.profile, record.dataset, record.row, record.seed)
    yield f"recorded in {folder / 'record.json'}"
    _require_whole(record, scorer.protocols)


def _require_whole(record: Record, protocols: Sequence[Protocol]) -> None:
    failed = [name for protocol in protocols for name in record.metrics[protocol.id].failed]
    if failed:
        raise Incomplete(f"failed: {', '.join(failed)}: recorded with the reason; the same command tries again")


def _ceiling(root: Path, record: Record, protocol: Protocol) -> float:
    """Return the distance of noise from the same real images under the protocol; infinite if not recorded."""
    with suppress(UserError):
        path = results.trial_folder(root, results.ANCHORS, record.dataset, "ceiling", 0) / "record.json"
        noise, entry = results.read_record(path).metrics.get(protocol.id), record.metrics[protocol.id]
        if noise and noise.draws and noise.about.get("real_sha256") == entry.about.get("real_sha256"):
            return distance_of(noise.draws[0]) or math.inf
    return math.inf


def _mean(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return float(np.mean(known)) if len(known) == len(numbers) else None


def _lines(entry: Evaluation, ceiling: float) -> Iterator[str]:
    """Yield a line for each number, with its direction and notes; then what failed or was not applicable, and why."""
    values = {name: value for metric in metrics.names() for name, value in metrics.load(metric).VALUES.items()}
    means = {name: _mean([draw.get(name) for draw in entry.draws]) for draw in entry.draws for name in draw}
    for name, number in {**means, **entry.model}.items():
        if number is None or name not in values:  # null in the record, or a metric of another version
            yield f"  {name:22} {'none' if number is None else f'{number:12.6g}'}"
            continue
        unit = f", unit: {values[name].unit}" * (values[name].unit != "1")
        yield f"  {name:22} {number:12.6g}  {values[name].better} is better{unit}"
        if name in DISTANCES and float(number or 0) > ceiling:
            yield f"  {name:22} note: {BEYOND_NOISE} ({ceiling:.6g})"
    for name, why in entry.failed.items():
        yield f"  {name:22} failed: {why}"
    for name, settings in entry.settings.items():
        if "note" in settings:
            yield f"  {name:22} note: {settings['note']}"
        if "not_applicable" in settings:
            yield f"  {name:22} not applicable: {settings['not_applicable']}"
