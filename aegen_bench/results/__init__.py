"""Results on disk: the records of trials and of scored images, and all of them as one table."""

from __future__ import annotations

from aegen_bench.results.record import (
    ANCHORS,
    EXTERNAL,
    NO_TRIALS,
    NOT_PROFILES,
    NOT_TRAINING,
    RECORDED_AFTER_PLANNING,
    SCHEMA,
    CorruptRecord,
    Evaluation,
    Record,
    evaluated,
    stages_with_trunk,
)
from aegen_bench.results.store import (
    add_evaluation,
    keep_aside,
    load,
    locked,
    profiles,
    read_record,
    records,
    stamp,
    standing,
    trial_folder,
    trial_folders,
    write_record,
)

__all__ = [
    "ANCHORS",
    "EXTERNAL",
    "NOT_PROFILES",
    "NOT_TRAINING",
    "NO_TRIALS",
    "RECORDED_AFTER_PLANNING",
    "SCHEMA",
    "CorruptRecord",
    "Evaluation",
    "Record",
    "add_evaluation",
    "evaluated",
    "keep_aside",
    "load",
    "locked",
    "profiles",
    "read_record",
    "records",
    "stages_with_trunk",
    "stamp",
    "standing",
    "trial_folder",
    "trial_folders",
    "write_record",
]
