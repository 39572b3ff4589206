"""The forecast of `run --dry-run` compared with the actual training time, in turn within one process.

python perf/forecast.py [--quick] [--models all] [--dataset fashion] [--steps 100] [--processor]

Each stage is forecast as by `--dry-run`, then the harness trains `--steps` steps of it and measures the time.
--processor counts CPU seconds in both, for busy machines; use one thread.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import torch
from contest import ROOT, SIZES, machine, options

from aegen_bench.cost import counting
from aegen_bench.data import default_folder
from aegen_bench.study import Study
from aegen_bench.training import loop
from aegen_bench.training.history import History

SIDES = {"fashion": 28, "cifar10": 32, "celeba": 64}
CPU = torch.device("cpu")


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--models", default="all")
    parser.add_argument("--dataset", default="fashion", choices=list(SIDES))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--processor", action="store_true")
    args = parser.parse_args()
    if args.processor:
        loop.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    steps = 4 if args.quick else args.steps
    study, side = Study("lite", local=Path(ROOT), data=default_folder()), SIDES[args.dataset]
    shape = (SIZES[side][0], side, side)
    images = torch.randint(256, (12_000, *shape), dtype=torch.uint8)
    print(f"{machine()}; {args.dataset}, batch 64, {steps} steps a stage\n")
    print("| model, stage | forecast ms a step | taken | forecast / taken |\n|---|---:|---:|---:|")
    for row in study.models(["vae"] if args.quick else args.models.split(",")):
        kind = counting.Kind(study.config(row, args.dataset), study.entry(row), shape, len(images), default_folder())
        costs, history, model = counting.count(kind), History(), kind.model(CPU)
        counting.measure(kind, costs, CPU)
        model.fit = lambda codes: None  # type: ignore[method-assign]
        plans = {
            stage.name: kind.plan(stage).model_copy(update={"epochs": None, "steps": steps}) for stage in model.stages()
        }
        loop.train(model, images, plans, seed=0, history=history)
        for stage in costs:
            told = stage.step_seconds + stage.epoch_seconds / steps  # all its steps lie in one epoch
            took = history.stages[stage.name]["seconds"] / steps
            print(f"| {row}, {stage.name} | {1e3 * told:.1f} | {1e3 * took:.1f} | {told / took:.2f} |", flush=True)


if __name__ == "__main__":
    main()
