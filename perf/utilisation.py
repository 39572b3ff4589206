"""FLOP/s of whole training steps as a share of the peak: what the machine's fastest float32 matrix product reaches.

python perf/utilisation.py [--quick] [--sides 28,32,64] [--models vae,glf,two_stage_vae] [--device cpu]

FLOPs are counted (`aegen_bench.cost.counting`): matrix products and convolutions alone. A step also moves batch
normalisation, ReLUs and Adam through memory, which count as time and not as work. The peak is taken before and after
each step.
"""

from __future__ import annotations

from pathlib import Path

from contest import ROOT, SIZES, machine, options, peak

from aegen_bench.cost import counting
from aegen_bench.environment import pick_device
from aegen_bench.study import Study

DATASETS = {28: "fashion", 32: "cifar10", 64: "celeba"}


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--sides", default="28,32,64")
    parser.add_argument("--models", default="vae,glf,two_stage_vae")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    sides, rows = ("28", "vae") if args.quick else (args.sides, args.models)
    device = pick_device(args.device)
    study = Study("lite", local=ROOT, data=Path("unused"), settings=[f"stages.*.batch={args.batch}"])
    print(f"{machine()}; batch {args.batch}\n")
    print("| side | model, stage | GFLOP a step | ms a step | GFLOP/s | peak GFLOP/s | share |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for side, row in ((int(side), row) for side in sides.split(",") for row in rows.split(",")):
        shape = (SIZES[side][0], side, side)
        kind = counting.Kind(study.config(row, DATASETS[side]), study.entry(row), shape, 12_000, Path("unused"))
        costs, before = counting.count(kind), peak(device)
        counting.measure(kind, costs, device)
        best = max(before, peak(device))
        for stage in costs:
            work = f"{stage.step_flops / 1e9:.2f} | {1e3 * stage.step_seconds:.1f} | {stage.speed / 1e9:.1f}"
            print(
                f"| {side} | {row}, {stage.name} | {work} | {best / 1e9:.1f} | {stage.speed / best:.0%} |", flush=True
            )


if __name__ == "__main__":
    main()
