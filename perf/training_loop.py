"""Training images/s of the harness against a bare hand-written loop over the same nets, alternating within one run.

python perf/training_loop.py [--steps 60] [--rounds 5] [--side 28] [--batch 64]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from aegen_bench import catalog, environment, seeding
from aegen_bench.blocks.nets import Nets
from aegen_bench.history import History
from aegen_bench.schedule import StagePlan
from aegen_bench.training import train

ROOT = Path(__file__).parent.parent


def build(name: str, nets: Nets) -> torch.nn.Module:
    with seeding.initialising(0):
        return catalog.import_class(catalog.find(ROOT)[name])(nets)


def harness(name: str, nets: Nets, images: torch.Tensor, batch: int) -> float:
    """Seconds of one epoch through `train`, as the record counts them."""
    history = History()
    model = build(name, nets)
    model.fit = lambda codes: None  # only the loop is measured
    train(model, images, {"train": StagePlan(epochs=1, batch=batch, lr=1e-3)}, seed=0, history=history)
    return history.seconds["train"]


def bare(name: str, nets: Nets, images: torch.Tensor, batch: int) -> float:
    """The loop everybody writes: the same nets and losses, fused Adam, no logging, no harness."""
    model = build(name, nets).train()
    encoder, decoder = model.encoder, model.decoder
    flow = getattr(model, "flow", None)
    groups = [{"params": [*encoder.parameters(), *decoder.parameters()]}]
    groups += [{"params": flow.parameters(), "weight_decay": 2e-5}] if flow else []
    adam = torch.optim.Adam(groups, lr=1e-3, fused=True)
    begin = time.perf_counter()
    for index in torch.randperm(len(images))[: len(images) // batch * batch].split(batch):
        x = images[index].float().div_(255)
        if name == "vae":
            mu, logvar = encoder(x).chunk(2, 1)
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
            extra = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)
        else:
            z = encoder(x)
            extra = flow.nll(z.detach()) if flow else 0.5 * z.square().sum(1)
        loss = (0.5 * (decoder(z) - x).square().flatten(1).sum(1)).mean() + extra.mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    channels, d, width = (1, 20, 64) if args.side == 28 else (3, 64, 256)
    images = torch.randint(0, 256, (args.steps * args.batch, channels, args.side, args.side), dtype=torch.uint8)
    nets = Nets((channels, args.side, args.side), d, width, len(images))
    print(
        f"{environment.describe(torch.device('cpu'))['device']}; {args.side} px, batch {args.batch}, {args.steps} steps"
    )
    print(
        "| model | harness images/s | bare loop images/s | ratio: median of rounds (min, max) |\n|---|---:|---:|---:|"
    )
    for name in ("vae", "rae_gmm", "glf"):
        (
            harness(name, nets, images[: 10 * args.batch], args.batch),
            bare(name, nets, images[: 10 * args.batch], args.batch),
        )
        pairs = []
        for round_ in range(args.rounds):
            order = (harness, bare) if round_ % 2 else (bare, harness)
            seconds = {f: f(name, nets, images, args.batch) for f in order}
            pairs.append((seconds[harness], seconds[bare]))
        ratios = sorted(b / h for h, b in pairs)
        ours, theirs = (len(images) / min(column) for column in zip(*pairs, strict=True))
        spread = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f}, {ratios[-1]:.3f})"
        print(f"| {name} | {ours:,.0f} | {theirs:,.0f} | {spread} |")


if __name__ == "__main__":
    main()
