"""Exporting the curves of finished and running trials as TensorBoard event files.

This adds nothing to the training loop: histories are read from the files of trials. Weights & Biases reads the same
event files (`wandb sync`), and MLflow imports them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aegen_bench import results
from aegen_bench.errors import MissingError, UserError
from aegen_bench.results.history import read_history
from aegen_bench.training import checkpoint

__all__ = ["export"]


def export(root: Path, out: Path, *, profile: str | None = None) -> Iterator[str]:
    """Write OUT/PROFILE/DATASET/ROW/seed-K/events... for each trial under `root`. Yield a line for each trial that
    is skipped because its curves cannot be read, and one at the end.

    Steps are training images seen over all stages. Running trials are read from their last checkpoint. UserError if
    `out` exists or there is no trial, MissingError without the package tensorboard.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingError("the package tensorboard is not installed: pip install 'aegen-bench[exchange]'") from error
    if out.exists():
        raise UserError(f"{out} exists already: choose a new folder")
    count, skipped = 0, list[str]()
    for folder in results.trial_folders(root, profile=profile):
        try:
            epochs, probes = _history(folder)
        except (OSError, ValueError) as error:
            skipped.append(f"skipped: {folder}: {error}")
            continue
        if not epochs:
            continue
        writer = SummaryWriter(str(out.joinpath(*folder.parts[-4:])))
        for name, value, step, seconds in _scalars(epochs, probes):
            writer.add_scalar(name, value, step, walltime=seconds)
        last = _images_before(epochs, len(epochs))
        for protocol, metric, value in _scores(folder):
            writer.add_scalar(f"score/{protocol}/{metric}", value, last, walltime=epochs[-1]["seconds"])
        writer.close()
        count += 1
    yield from skipped
    if not count:
        raise UserError(f"no trial under {root} has a finished epoch")
    yield f"{out}: {count} trials; `tensorboard --logdir {out}` shows them"


def _history(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    try:
        history = read_history(folder)
        return history.epochs, history.probes
    except FileNotFoundError:
        state = checkpoint.Checkpoints(folder, note=lambda text: None).read()
        kept = state["history"] if state else {}
        return kept.get("epochs", []), kept.get("probes", [])


def _scalars(epochs: list[dict[str, Any]], probes: list[dict[str, Any]]) -> Iterator[tuple[str, float, int, float]]:
    """Yield (name, value, images seen over all stages, training seconds)."""
    before = dict[str, int]()
    for number, row in enumerate(epochs):
        before.setdefault(row["stage"], _images_before(epochs, number))
    for row in epochs:
        step = before[row["stage"]] + int(row["images"])
        for optimizer, terms in row["terms"].items():
            for term, value in terms.items():
                yield f"{row['stage']}/{optimizer}/{term}", _number(value), step, row["seconds"]
        for name, value in row["logs"].items():
            yield f"{row['stage']}/{name}", _number(value), step, row["seconds"]
    for row in probes:
        step = before.get(row["stage"], 0) + int(row["images"])
        for name, value in row["metrics"].items():
            yield f"probe/{name}", _number(value), step, row["seconds"]


def _images_before(epochs: list[dict[str, Any]], number: int) -> int:
    """Return the images seen in all stages before the epoch with this number."""
    seen = dict[str, int]()
    for row in epochs[:number]:
        seen[row["stage"]] = int(row["images"])
    return sum(seen.values())


def _scores(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Yield (protocol, metric, mean over draws) of a finished trial."""
    try:
        record = results.read_record(folder / "record.json")
    except UserError:
        return
    for entry in record.metrics.values():
        values = dict[str, list[float]]()
        for numbers in (*entry.draws, entry.model):
            for name, value in numbers.items():
                values.setdefault(name, []).append(_number(value))
        for name, drawn in values.items():
            yield entry.about.get("name", "protocol"), name, sum(drawn) / len(drawn)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
