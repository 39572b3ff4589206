"""Wall time of a grid of small trials: `aegen-bench run` against a script with their bare loops.

python perf/grid.py [--quick] [--seeds 4] [--epochs 40]

Three rows and `--seeds` seeds on scikit-learn's digits, one after another in one process. The bare loops run in a
separate process with the images in memory, once before and once after. The script would also have to import torch, so
the time of a process that only does that is added. The difference is what a trial records besides training (fitting,
sampling, scoring) and what is not recorded: data, building, artefacts, weights, records, anchors, runner and tables.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from contest import bench, machine, made_up, nets, options, records, seconds, study
from training_loop import bare

ROWS = ("vae", "rae_gmm", "glf")


def loops(args: Any) -> float:
    """Return the seconds of the bare loops of the grid, run in a separate process."""
    call = [sys.executable, __file__, "--bare", "--seeds", str(args.seeds), "--epochs", str(args.epochs)]
    return float(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--bare", action="store_true", help="be the process with the bare loops")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.epochs = 1, 2
    made = nets(8, 1297)
    if args.bare:
        images = made_up(made)
        print(sum(bare(row, made, images, 64, args.epochs) for row in ROWS * args.seeds))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        study(folder, "digits", ROWS, args.epochs, made.n_train)
        run = ("run", "--profile", "perf", "--seeds", str(args.seeds))
        bench(folder, *run, "--models", "vae", "--results", "first")  # prepares the data
        before, wall, after = loops(args), bench(folder, *run), loops(args)
        start = bench(folder, *run)  # there is nothing to do
        done = records(folder)
    torch = seconds(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True))
    spent = {part: sum(record["seconds"][part] for record in done) for part in done[0]["seconds"]}
    training, rest = spent.pop("train"), sum(spent.values())
    print(f"{machine()}; {len(done)} trials of {args.epochs} epochs on digits\n")
    print("| what | s |\n|---|---:|")
    print(f"| the run | {wall:.2f} |\n| training, as recorded | {training:.2f} |")
    print(f"| fitting, sampling, scoring, as recorded | {rest:.2f} |\n| start of the process, tables | {start:.2f} |")
    print(f"| all else | {wall - start - training - rest:.2f} |")
    print(f"| the bare loops, before and after | {before:.2f}, {after:.2f} |")
    print(f"| a process that imports torch | {torch:.2f} |")
    alone = (before + after) / 2 + torch
    print(f"\n(the run - fitting, sampling, scoring) / (bare loops + import of torch): {(wall - rest) / alone:.3f}")


if __name__ == "__main__":
    main()
