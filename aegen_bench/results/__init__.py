"""Results on disk: the records of trials and of scored images, and the table they make together."""

from __future__ import annotations

from aegen_bench.results.store import (
    ANCHORS,
    EXTERNAL,
    NO_TRIALS,
    NOT_TRAINING,
    SCHEMA,
    CorruptRecord,
    add_evaluation,
    keep_aside,
    lacking,
    load,
    locked,
    read_record,
    records,
    stamp,
    standing,
    trial_folder,
)

__all__ = [
    "ANCHORS",
    "EXTERNAL",
    "NOT_TRAINING",
    "NO_TRIALS",
    "SCHEMA",
    "CorruptRecord",
    "add_evaluation",
    "keep_aside",
    "lacking",
    "load",
    "locked",
    "read_record",
    "records",
    "stamp",
    "standing",
    "trial_folder",
]
