"""Wall time of a grid of small trials by `aegen-bench run` against the sum of the bare loops of their training.

python perf/grid.py [--quick] [--seeds 4] [--epochs 40]

Three rows and `--seeds` seeds on scikit-learn's digits, one after another. Between the two stand what a trial records
beside its training (fitting, sampling, scoring) and what nothing records: data, building, checkpoints, artefacts,
records, the anchors, the runner and the import of torch. The rest of the start, and the tables, are measured by a run
with nothing to do.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from contest import bench, machine, made_up, nets, options, records, study
from training_loop import bare

ROWS = ("vae", "rae_gmm", "glf")


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    seeds, epochs = (1, 2) if args.quick else (args.seeds, args.epochs)
    made = nets(8, 1297)
    images = made_up(made)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        study(folder, "digits", ROWS, epochs, made.n_train)
        run = ("run", "--profile", "perf", "--seeds", str(seeds))
        bench(folder, *run, "--models", "vae", "--results", "first")  # also prepares the data
        start = bench(folder, *run, "--models", "vae", "--results", "first")
        wall = bench(folder, *run)
        done = records(folder)
    plain = sum(epochs * bare(row, made, images, 64) for row in ROWS for _ in range(seeds))
    spent = {part: sum(record["seconds"][part] for record in done) for part in done[0]["seconds"]}
    training, rest = spent.pop("train"), sum(spent.values())
    print(f"{machine()}; {len(done)} trials of {epochs} epochs on digits\n")
    print("| what | s |\n|---|---:|")
    print(f"| the run | {wall:.2f} |\n| of it: start of the process, tables | {start:.2f} |")
    print(f"| training, as recorded | {training:.2f} |\n| fitting, sampling, scoring, as recorded | {rest:.2f} |")
    print(f"| all else | {wall - start - training - rest:.2f} |\n| bare loops | {plain:.2f} |")
    print(f"\n(the run - start - fitting, sampling, scoring) / bare loops: {(wall - start - rest) / plain:.3f}")


if __name__ == "__main__":
    main()
