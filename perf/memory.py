"""Peak memory of a trial on the CPU compared with what it must hold.

python perf/memory.py [--quick] [--models vae,glf,two_stage_vae] [--dataset fashion] [--images 12000]

It must hold the uint8 training set; weights, gradients and Adam's two moments; what a step saves for the backward pass
of one batch; and the base, a process that has imported the same modules and trained a tiny network. This is compared
with the `peak_memory` of the record (of the process, during training).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from contest import SIZES, bench, build, machine, made_up, nets, options, records, study

from aegen_bench.environment import peak_memory
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan

SIDES = {"digits": 8, "fashion": 28, "cifar10": 32, "celeba": 64}
BATCH = 64


def base() -> int:
    """Return the bytes of a process that has imported everything a trial needs and run steps of a tiny network."""

    made = nets(8, BATCH)
    model = build("vae", made)
    train(model, made_up(made), {"train": StagePlan(epochs=1, batch=BATCH, lr=1e-3)}, seed=0, history=History())
    return peak_memory(torch.device("cpu"))


def kept(row: str, side: int) -> int:
    """Return the bytes that a step of the most expensive stage saves for the backward pass, without parameters."""
    model = build(row, nets(side, BATCH))
    own, seen = {p.data_ptr() for p in model.parameters()}, dict[int, int]()

    def pack(x: torch.Tensor) -> torch.Tensor:
        if x.data_ptr() not in own:
            seen[x.data_ptr()] = max(seen.get(x.data_ptr(), 0), x.untyped_storage().nbytes())
        return x

    x, index = torch.rand(BATCH, SIZES[side][0], side, side), torch.arange(BATCH)
    (first, *_) = model.stages()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        losses = [sum(terms.values()) for _, terms in first.step(x, index)]
    return sum(seen.values()) if losses else 0


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--models", default="vae,glf,two_stage_vae")
    parser.add_argument("--dataset", default="fashion", choices=list(SIDES))
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--base", action="store_true", help="print the bytes of the base, and stop")
    args = parser.parse_args()
    if args.base:
        print(base())
        return
    rows, dataset, images = ("vae", "digits", 1297) if args.quick else (args.models, args.dataset, args.images)
    side = SIDES[dataset]
    ground = int(
        subprocess.run([sys.executable, __file__, "--base"], check=True, capture_output=True, text=True).stdout
    )
    print(f"{machine()}; {images:,} images of {side} px, batch {BATCH}\n\nMB (10^6 bytes)\n")
    print("| model | base | images | weights, gradients, Adam | a step keeps | all of these | peak | peak / all |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows.split(","):
        with tempfile.TemporaryDirectory() as place:
            study(Path(place), dataset, (row,), 1, images)
            bench(Path(place), "run", "--profile", "perf")
            (record,) = records(Path(place))
        parts = [ground, images * SIZES[side][0] * side * side, 16 * record["parameters"]["total"], kept(row, side)]
        cells = [f"{part / 1e6:,.0f}" for part in (*parts, sum(parts), record["peak_memory"])]
        print(f"| {row} | {' | '.join(cells)} | {record['peak_memory'] / sum(parts):.2f} |", flush=True)


if __name__ == "__main__":
    main()
