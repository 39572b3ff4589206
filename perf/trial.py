"""The overhead of a trial besides training, sampling and features, from the wall-clock time and the trial's record.

python perf/trial.py [--quick] [--model glf] [--dataset fashion]

An ordinary trial of the profile `lite`, in a separate process; with --quick, one of two epochs on digits, scored by fd
only. It is the second on its dataset, because the first one also computes the features of the real images and the
anchors. "All else" is building, artefacts, weights, records and importing torch. The same command with nothing to do
does not import torch, and measures the rest of the start-up and the tables.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from contest import bench, machine, options, records, study


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--model", default="glf")
    parser.add_argument("--dataset", default="fashion")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        profile, dataset = ("perf", "digits") if args.quick else ("lite", args.dataset)
        if args.quick:
            study(folder, dataset, (args.model,), 2, 1297)
        run = ("run", "--profile", profile, "--models", args.model, "--datasets", dataset, "--seeds")
        first, wall, start = (bench(folder, *run, seeds) for seeds in ("1", "2", "2"))
        (record,) = (record for record in records(folder, profile) if record["seed"] == 1)
    spent = record["seconds"]
    other = wall - start - sum(spent.values())
    print(f"{machine()}; {args.model} on {dataset}, profile {profile}\n")
    print("| part | s | share |\n|---|---:|---:|")
    for part, took in {**spent, "all else": other}.items():
        print(f"| {part} | {took:.2f} | {took / (wall - start):.1%} |")
    print(f"| the trial | {wall - start:.2f} | |\n| start of the process, tables | {start:.2f} | |")
    print(f"| the first trial, with the dataset's anchors | {first - start:.2f} | |")


if __name__ == "__main__":
    main()
