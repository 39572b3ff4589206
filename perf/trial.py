"""What a trial costs that is not training, sampling or features: by the clock around it, and as its record tells.

python perf/trial.py [--quick] [--model glf] [--dataset fashion]

A trial of the profile `lite` as it is, in a process of its own; --quick: one of two epochs on digits, scored by fd
alone. It is the second on its dataset: the first also computed, once for all, the features of the real images and the
anchors. "All else" is building, artefacts, weights, records and the import of torch, which the same command does not
need when it has nothing to do: that measures the rest of the start, and the tables.
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
