"""Seconds and bytes of a report of many records, by format.

The records, histories and artefacts are copies of one finished trial, arranged as a grid of the paper's datasets, all
rows and as many seeds as needed, with jittered numbers.

python perf/report.py results/lite/fashion/glf/seed-0 --records 5000
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from itertools import islice, product
from pathlib import Path
from typing import Any

from aegen_bench import report, results
from aegen_bench.study import Study

DATASETS = ("mnist", "fashion", "cifar10", "celeba")
TABLES = (*report.EVERY, *report.CLAIMS)
FILES = ("history.json", "artefacts.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", type=Path, help="the folder of a finished trial")
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--models", default="all")
    parser.add_argument("--formats", default="markdown,latex,csv,json,html")
    asked = parser.parse_args()
    source = results.read_record(asked.trial / "record.json").content()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        study = Study("paper", local=root, data=root)
        rows = study.models(asked.models.split(","))
        seeds = -(-asked.records // len(DATASETS) // len(rows))
        for seed, dataset, row in islice(product(range(seeds), DATASETS, rows), asked.records):
            lay(root, asked.trial, jittered(source, dataset, row, seed))
        print(f"{asked.records:,} records: {len(DATASETS)} datasets, {len(rows)} rows, {seeds} seeds")
        made = timed("made", lambda: report.make(root, TABLES))
        for name in asked.formats.split(","):
            paths = timed(name, lambda name=name: made.write(root / "out", [name]))
            size = sum(path.stat().st_size for path in paths)
            page = f", {paths[0].name} {paths[0].stat().st_size / 1e6:.2f} MB" if name == "html" else ""
            print(f"    {len(paths)} files, {size / 1e6:.1f} MB{page}")


def timed(name: str, work: Callable[[], Any]) -> Any:
    wall, processor = time.perf_counter(), time.process_time()
    done = work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{name}: {wall:.1f} s, of the processor {processor:.1f} s")
    return done


def jittered(source: dict[str, Any], dataset: str, row: str, seed: int) -> dict[str, Any]:
    """Return the record with its scores changed by a few percent, deterministically for the same names."""
    chance = random.Random(f"{dataset} {row} {seed}")
    record = json.loads(json.dumps(source)) | {"dataset": dataset, "row": row, "seed": seed}
    for entry in record["metrics"].values():
        for numbers in [*entry["draws"], entry["model"]]:
            numbers.update({name: value * chance.uniform(0.95, 1.05) for name, value in numbers.items()})
    return record


def lay(root: Path, trial: Path, record: dict[str, Any]) -> None:
    place = results.trial_folder(root, record["profile"], record["dataset"], record["row"], record["seed"])
    place.mkdir(parents=True)
    (place / "record.json").write_text(json.dumps(record, indent=1))
    for name in FILES:
        (place / name).symlink_to((trial / name).resolve())


if __name__ == "__main__":
    main()
