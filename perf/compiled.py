"""The effect of --compile on the steps of a stage, and the time that compiling takes. On a GPU: with CUDA graphs.

python perf/compiled.py [--quick] [--device cpu] [--side 28] [--stages vae/train,glf/train,two_stage_vae/second]
                        [--steps 60] [--rounds 5] [--batch 64]

The same networks with and without it, in turn. Compilation happens in the first epoch, and its time is the difference
to the fastest epoch. Nothing is cached between runs of this script.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from contest import build, in_turn, machine, made_up, nets, options, ratio
from torch import Tensor

from aegen_bench import environment
from aegen_bench.blocks.nets import Nets
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan


def epochs(row: str, name: str, made: Nets, images: Tensor, batch: int) -> Callable[[], float]:
    """Return a function that trains one more epoch of a stage and returns its seconds."""
    model: Any = build(row, made).to(images.device)
    stages = [stage for stage in model.stages() if stage.name == name]
    model.stages, model.fit = lambda: stages, lambda codes: None  # only the stage is measured
    plan = {name: StagePlan(epochs=1, batch=batch, lr=1e-4)}

    def epoch() -> float:
        history = History()
        train(model, images, plan, seed=0, history=history)
        return history.seconds["train"]

    return epoch


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--stages", default="vae/train,glf/train,two_stage_vae/second")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    steps, rounds, asked = (5, 2, "two_stage_vae/second") if args.quick else (args.steps, args.rounds, args.stages)
    device = environment.pick_device(args.device)
    made = nets(args.side, steps * args.batch)
    images = made_up(made).to(device)
    print(f"{machine(str(device))}; {args.side} px, batch {args.batch}, {steps} steps, {rounds} rounds\n")
    print("| row/stage | steps/s | compiled | plain / compiled: median (min, max) | compiling, s |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as cache, environment.exact():
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        environment.require_compiler(device)
        for row, stage in (each.split("/") for each in asked.split(",")):
            plain = epochs(row, stage, made, images, args.batch)
            fast = epochs(row, stage, replace(made, compile=True), images, args.batch)
            first = fast()
            taken = in_turn({"plain": plain, "fast": fast}, rounds)
            rates = " | ".join(f"{steps / min(taken[name]):,.1f}" for name in ("plain", "fast"))
            spent = first - min(taken["fast"])
            print(f"| {row}/{stage} | {rates} | {ratio(taken['plain'], taken['fast'])} | {spent:.0f} |", flush=True)
            torch.compiler.reset()


if __name__ == "__main__":
    main()
