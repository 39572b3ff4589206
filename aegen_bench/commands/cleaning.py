"""What lies on disk and nobody needs: checkpoints of trials that have ended, weights that no record names."""

from __future__ import annotations

import re
from pathlib import Path

from aegen_bench import results
from aegen_bench.errors import UserError
from aegen_bench.results import record as records
from aegen_bench.runner import locks

__all__ = ["abandoned"]

UNFINISHED = ("failed", "timeout")  # a later run may go on from their checkpoints


def abandoned(root: Path, kept_weights: Path) -> list[tuple[Path, int, str]]:
    """Return path, bytes and reason of each file that can go. UserError while a run works on the folder, where a
    record cannot be read, or where there are no results: then nobody can say what is needed.

    A weights folder may serve several results folders: of those that are not looked at here, the reason says so.
    """
    if not root.is_dir():
        raise UserError(f"no results at {root}: say where they are with --results")
    for names, note in locks.held(root):
        raise UserError(f"{'/'.join(names)} is being done by {locks.describe(note)}: clean when it has ended")
    needed, found = set[Path](), []
    for path in [*root.rglob("record.json"), *root.rglob("record.*.json")]:  # also those kept aside
        record = results.read_record(path)
        needed.add(records.weights_path(record, kept_weights))
        if path.name == "record.json" and record["status"] not in UNFINISHED:
            checkpoints = sorted(path.parent.glob("checkpoint-*.pt"))
            found += [(file, file.stat().st_size, f"its trial has ended: {record['status']}") for file in checkpoints]
    for file in sorted(kept_weights.glob("*.safetensors")):
        if re.fullmatch(r"[0-9a-f]{16}(-[0-9a-f]{8})?", file.stem) and file not in needed:
            found.append((file, file.stat().st_size, f"no record under {root} names it (others may)"))
    return found
