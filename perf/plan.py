"""Seconds to plan many trials with as many records, from the command line to the states of trials.

python perf/plan.py --trials 5000
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

from aegen_bench import results
from aegen_bench.commands import request
from aegen_bench.results import Record

FIELDS = ("profile", "dataset", "row", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    wanted = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def ask(seeds: int) -> request.Request:
            where = root / "data", root / "results", root / "weights"
            return request.parse("table1", "digits", str(seeds), "lite", [], *where)

        seeds = -(-wanted // len(ask(1).models))
        asked = ask(seeds)
        trials = asked.study.trials(asked.models, asked.datasets, asked.seeds)
        protocols = asked.study.chosen_protocols("digits")
        for trial in trials:
            where = {name: getattr(trial, name) for name in FIELDS}
            made = Record(**where, key=trial.key, config=dict(trial.config)).content()
            for p in protocols:
                settings = {"protocol": {"name": p.name}} | {name: {"n": 10000} for name in p.metrics}
                draws = [dict.fromkeys(p.metrics, 1.0)] * asked.study.profile.draws
                made["metrics"][p.id] = {"draws": draws, "model": {}, "settings": settings, "failed": {}}
            path = trial.folder(asked.results) / "record.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(made, indent=1))
            assert results.read_record(path)
        wall, cpu = time.perf_counter(), time.process_time()
        planned = ask(seeds).plan()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        states = ", ".join(f"{n} {state}" for state, n in Counter(p.state for p in planned).items())
        print(f"{len(planned)} trials ({states}): {wall:.2f} s, of which {cpu:.2f} s of processor")


if __name__ == "__main__":
    main()
