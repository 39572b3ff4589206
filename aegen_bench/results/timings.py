"""Timing runs: how long a row takes on an idle device, one file per row, dataset and timing id.

The files are `times/PROFILE/DATASET/ROW/ID.json` in a results folder; a newer run with the same id replaces an older
one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aegen_bench.errors import UserError
from aegen_bench.files import read_bytes, write_json

__all__ = ["BUSY", "FOLDER", "Stage", "Timing", "add", "identity", "read", "write"]

FOLDER = "times"
LARGEST = 1 << 20  # bytes; a timing run takes about 1 KB
BUSY = 0.1
"""Times are marked if other programs used more than this share of the processors."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Strict):
    """A training stage: seconds of each timed epoch, images of an epoch, and the epochs and steps of its plan."""

    seconds: tuple[Seconds, ...] = Field(min_length=1)
    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    images: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=1)]

    @property
    def pace(self) -> float:
        """Seconds per epoch."""
        return math.fsum(self.seconds) / len(self.seconds)


class Timing(_Strict):
    """One timing run of a row on a dataset. Times are in seconds.

    `about` has the conditions that the id identifies; `others` is the share of the processors that other programs used
    meanwhile, None if unknown.
    """

    id: str
    about: dict[str, str]
    profile: str
    dataset: str
    row: str
    key: str
    when: str
    stages: dict[str, Stage]
    extract: Seconds
    fit: Seconds
    sample: Seconds
    sampled: Annotated[int, Field(ge=1)]
    peak_memory: Annotated[int, Field(ge=0)] | None
    others: Annotated[float, Field(ge=0, le=1)] | None

    @property
    def device(self) -> str:
        """The device of the run, for people."""
        return self.about.get("device", "an unknown device")

    @property
    def place(self) -> str:
        """The device and the id of the run, for people."""
        return f"{self.device}, timing {self.id}"

    @property
    def training(self) -> float:
        """Seconds of the whole training, extrapolated from the timed epochs."""
        return math.fsum(stage.epochs * stage.pace for stage in self.stages.values()) + self.extract + self.fit

    def trainings(self) -> tuple[float, ...]:
        """Return the seconds of the whole training extrapolated from each timed epoch separately."""
        each = zip(*(stage.seconds for stage in self.stages.values()), strict=False)
        planned = [stage.epochs for stage in self.stages.values()]
        fixed = self.extract + self.fit
        return tuple(math.fsum(n * s for n, s in zip(planned, paces, strict=True)) + fixed for paces in each)

    @property
    def busy(self) -> bool:
        """Whether other programs used so much of the processors that the times are marked."""
        return self.others is not None and self.others > BUSY


def identity(about: dict[str, str]) -> str:
    """Return the id of the conditions that times depend on: device, threads, precision, libraries, and the rule."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]


def add(root: Path, timing: Timing) -> bool:
    """Write a timing run unless there is one with the same id that is as new or newer; return whether it was written.

    UserError if the one that is there cannot be read.
    """
    there = _path(root, timing)
    if there.is_file() and _read(there).when >= timing.when:
        return False
    write(root, timing)
    return True


def write(root: Path, timing: Timing) -> Path:
    """Write a timing run, replacing an older one with the same id, and return its path."""
    path = _path(root, timing)
    write_json(path, timing.model_dump(mode="json"))
    return path


def _path(root: Path, timing: Timing) -> Path:
    return root / FOLDER / timing.profile / timing.dataset / timing.row / f"{timing.id}.json"


def read(
    root: Path, profile: str | None = None, *, on_corrupt: Callable[[UserError], None] | None = None
) -> Iterator[tuple[Path, Timing]]:
    """Yield the file and content of each timing run of a profile, or of all.

    For a file that is not one, or cannot be read, `on_corrupt` is called with an error that names it; by default, the
    error is raised.
    """
    for path in sorted((root / FOLDER).glob("*/*/*/*.json")):
        if profile is not None and path.parts[-4] != profile:
            continue
        try:
            found = _read(path)
        except UserError as error:
            if on_corrupt is None:
                raise
            on_corrupt(error)
        else:
            yield path, found


def _read(path: Path) -> Timing:
    try:
        found = Timing.model_validate_json(read_bytes(path, LARGEST))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path} is not a timing run: {where}: {first['msg']}; delete it and time the row again"
        ) from error
    if path.parts[-4:] != (found.profile, found.dataset, found.row, f"{found.id}.json"):
        raise UserError(f"{path} is a timing run of {found.row} on {found.dataset}, which belongs elsewhere: delete it")
    return found
