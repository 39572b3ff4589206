"""The history of a trial, with a row per epoch and per probe (docs/results-format.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from aegen_bench.files import read_json
from aegen_bench.results.record import Label, Numbers, Strict, accepted_by, in_words

__all__ = ["History", "read_history"]

LARGEST_HISTORY = 32 << 20  # bytes; a trial of the paper has about 100 KB


class _Means(Strict):
    """Loss terms by optimizer and logged quantities, each a mean over an epoch; None if it was not finite."""

    terms: dict[Label, Numbers]
    logs: Numbers


class _When(Strict):
    stage: Label
    epoch: Annotated[int, Field(ge=0)]
    images: int | float
    seconds: int | float


class _Epoch(_When, _Means):
    pass


class _Probe(_When):
    metrics: Numbers
    probe_train: _Means | None = None
    probe_test: _Means | None = None


class History(Strict):
    """Epochs and probes, oldest first, as in the file."""

    epochs: list[Annotated[dict[str, Any], accepted_by(_Epoch)]]
    probes: list[Annotated[dict[str, Any], accepted_by(_Probe)]]


def read_history(folder: Path) -> History:
    """Return the history in a trial's folder.

    FileNotFoundError if there is none, OSError if it cannot be read, ValueError if it is not a history.
    """
    content = read_json(folder / "history.json", LARGEST_HISTORY)
    try:
        return History.model_validate(content)
    except ValidationError as error:
        raise ValueError(in_words(error)) from None
