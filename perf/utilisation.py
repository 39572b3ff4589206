"""FLOP/s of training steps as a share of the peak, which is that of the machine's fastest float32 matrix product.

python perf/utilisation.py [--quick] [--sides 28,32,64] [--models vae,glf,two_stage_vae] [--device cpu] [--layers]

FLOPs are those of matrix products and convolutions (`aegen_bench.cost.counting`). The memory traffic of batch
normalisation, ReLUs and Adam counts as time but not as FLOPs. The peak is measured before and after each step.
--layers: each layer of the VAE's networks separately, forward and backward, against the same peak.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch
from contest import ROOT, SIZES, machine, nets, options, peak, seconds
from torch import nn

from aegen_bench.blocks.nets import describe
from aegen_bench.cost import counting
from aegen_bench.environment import pick_device
from aegen_bench.numerics import tuning
from aegen_bench.study import Study

DATASETS = {28: "fashion", 32: "cifar10", 64: "celeba"}


def layers(side: int, batch: int, device: torch.device) -> Iterator[tuple[str, float, float]]:
    """Yield each layer with weights of the VAE's networks: its name, FLOPs and seconds, forward and backward."""
    made = nets(side, batch)
    seen: list[tuple[nn.Module, torch.Tensor]] = []
    for network, x in (
        (made.encoder(2 * made.d), torch.rand(batch, *made.shape)),
        (made.decoder(), torch.rand(batch, made.d)),
    ):
        network.to(device)
        for layer in network.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                layer.register_forward_hook(lambda layer, given, _: seen.append((layer, given[0].detach())))
        network(x.to(device))
    for layer, x in list(seen):  # the hooks go on adding to it
        x.requires_grad_(x.shape[1:] != made.shape)  # images need no gradient

        def work(layer: nn.Module = layer, x: torch.Tensor = x) -> None:
            layer(x).sum().backward()

        took = min(seconds(work) for _ in range(12))
        with mock.patch.object(tuning, "pays", lambda *_: False):  # the counter does not know oneDNN's operator
            yield describe(layer), counting.flops(work), took


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--sides", default="28,32,64")
    parser.add_argument("--models", default="vae,glf,two_stage_vae")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", action="store_true")
    args = parser.parse_args()
    sides, rows = ("28", "vae") if args.quick else (args.sides, args.models)
    device = pick_device(args.device)
    study = Study("lite", local=ROOT, data=Path("unused"), settings=[f"stages.*.batch={args.batch}"])
    print(f"{machine()}; batch {args.batch}\n")
    if args.layers:
        print("| side | layer | MFLOP | ms | GFLOP/s | share of the peak |\n|---:|---|---:|---:|---:|---:|")
        for side in map(int, sides.split(",")):
            best = peak(device)
            for name, work, took in layers(side, args.batch, device):
                speed = f"{work / took / 1e9:.0f} | {work / took / best:.0%}"
                print(f"| {side} | {name} | {work / 1e6:,.0f} | {1e3 * took:.2f} | {speed} |", flush=True)
        return
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
