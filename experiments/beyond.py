"""Ideas to train faster on a CPU than with the usual loop, each compared with that loop, in turn.

Asked 2026-11-27. Verdict: linear layers by oneDNN: 1.3 to 1.4 times as fast, kept. channels_last, pixel_shuffle,
foreach Adam, flushing denormals and torch.compile gain nothing (docs/performance.md, Beyond the bare loop).

python experiments/beyond.py [--quick] [--sides 28,32,64] [--model vae] [--compile] [--profile] [--steps 10]
                             [--rounds 7] [--processor]

The bare loop uses torch's linear layers (MKL) and malloc unchanged; ideas that concern the whole process are in
`processes.py`. "off by" is the largest relative difference of the first four losses from those of the bare loop, with
equal weights and noise. --processor counts CPU seconds instead of wall-clock time, for busy machines; use one thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "perf"))  # for contest.py, which the scripts share
from contest import build, in_turn, machine, made_up, nets, options, ratio
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, pixel_shuffle
from training_loop import LOSSES

from aegen_bench.numerics import tuning

BATCH, WARM = 64, 4


@dataclass(frozen=True)
class Idea:
    """An idea: `prepare` changes the model and `images` a batch; `compile` compiles the forward pass and the loss."""

    library: str = "BLAS"
    prepare: Callable[[Any], Any] = lambda model: None
    images: Callable[[Tensor], Tensor] = lambda x: x
    adam: dict[str, Any] | None = None
    to_none: bool = True
    flush: bool = False
    compile: bool = False


class PixelShuffled(nn.ConvTranspose2d):
    """A transposed 4x4 convolution of stride 2, as a 3x3 convolution to four times the channels: 9/4 of the FLOPs."""

    TAPS = torch.tensor([[3, 1, 4], [4, 2, 0]])  # of an even and an odd pixel, from left to right; 4 is a zero

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        taps = pad(self.weight, (0, 1, 0, 1))[:, :, self.TAPS][..., self.TAPS]  # in, out, 2, 3, 2, 3
        weight = taps.permute(1, 2, 4, 0, 3, 5).reshape(-1, self.in_channels, 3, 3)
        assert self.bias is not None
        return pixel_shuffle(conv2d(x, weight, self.bias.repeat_interleave(4), padding=1), 2)


def shuffled(model: Any, every: bool) -> None:
    layers = [layer for layer in model.decoder.modules() if type(layer) is nn.ConvTranspose2d]
    for layer in layers if every else layers[-1:]:
        layer.__class__ = PixelShuffled


def in_channels_last(model: Any) -> None:
    model.to(memory_format=torch.channels_last)


def compiled(model: Any) -> None:
    model.encoder, model.decoder = (torch.compile(net, dynamic=False) for net in (model.encoder, model.decoder))


BARE, ONEDNN = "the bare loop", "linear layers by oneDNN"
last = partial(Tensor.contiguous, memory_format=torch.channels_last)
IDEAS = {
    BARE: Idea(),
    ONEDNN: Idea("oneDNN"),
    "images in channels_last": Idea(images=last),
    "images and networks in channels_last": Idea(images=last, prepare=in_channels_last),
    "last deconvolution as convolution and pixel_shuffle": Idea(prepare=partial(shuffled, every=False)),
    "both so": Idea(prepare=partial(shuffled, every=True)),
    "Adam foreach, not fused": Idea(adam={"foreach": True}),
    "gradients zeroed, not dropped": Idea(to_none=False),
    "denormals flushed to zero": Idea(flush=True),
}
COMPILED = {
    "torch.compile of encoder and decoder": Idea(prepare=compiled),
    "torch.compile of forward and loss": Idea(compile=True),
    "torch.compile of encoder and decoder, with oneDNN": Idea("oneDNN", prepare=compiled),
}


class Loop:
    """The loop of `training_loop.bare` with an idea, step by step; `warm` has the seconds of its first steps."""

    def __init__(self, row: str, side: int, idea: Idea) -> None:
        self.idea, made = idea, nets(side, 8 * BATCH)
        self.batches = made_up(made).split(BATCH)
        with mock.patch.object(tuning, "library", lambda: idea.library):
            self.model = build(row, made).train()
        idea.prepare(self.model)
        own = [*self.model.encoder.parameters(), *self.model.decoder.parameters()]
        groups: list[dict[str, Any]] = [{"params": own}]
        groups += [{"params": self.model.flow.parameters(), "weight_decay": 2e-5}] if row == "glf" else []
        self.adam = torch.optim.Adam(groups, lr=1e-3, **(idea.adam or {"fused": True}))
        self.row, self.loss = row, torch.compile(self._loss, dynamic=False) if idea.compile else self._loss
        torch.manual_seed(0)
        begin = time.perf_counter()
        self.losses = [self.step(number) for number in range(WARM)]
        self.warm = time.perf_counter() - begin

    def _loss(self, x: Tensor) -> Tensor:
        z, extra = LOSSES[self.row](self.model, x)
        return (0.5 * (self.model.decoder(z) - x).square().flatten(1).sum(1)).mean() + extra

    def step(self, number: int) -> float:
        x = self.idea.images(self.batches[number % 8].float().div_(255))
        loss = self.loss(x)
        self.adam.zero_grad(set_to_none=self.idea.to_none)
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        return loss.item()

    def run(self, steps: int, clock: Callable[[], float]) -> float:
        torch.set_flush_denormal(self.idea.flush)
        begin = clock()
        for number in range(steps):
            self.step(number)
        return clock() - begin


KINDS = {
    "linear": ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"),
    "convolutions": ("aten::mkldnn_convolution", "aten::_convolution", "aten::convolution_backward"),
    "Adam": ("aten::_fused_adam_",),
    "batch normalisation": ("aten::native_batch_norm", "aten::native_batch_norm_backward"),
}


def profile(sides: list[int], model: str, steps: int) -> None:
    """Show which operators take the time of a step."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    print(f"| side | model | idea | {' | '.join(KINDS)} | all else |\n|---:|---|---|{'---:|' * (len(KINDS) + 1)}")
    for side, name in ((side, name) for side in sides for name in (BARE, ONEDNN)):
        made = Loop(model, side, IDEAS[name])
        with watch(activities=[ProfilerActivity.CPU]) as seen:
            made.run(steps, time.perf_counter)
        own = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
        shares = [sum(own.get(key, 0.0) for key in keys) / sum(own.values()) for keys in KINDS.values()]
        text = " | ".join(f"{share:.0%}" for share in [*shares, 1 - sum(shares)])
        print(f"| {side} | {model} | {name} | {text} |", flush=True)


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--sides", default="28,32,64")
    parser.add_argument("--model", default="vae", choices=list(LOSSES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also the compiled ones: minutes of warm-up")
    parser.add_argument("--profile", action="store_true", help="instead, where the time of a step goes")
    parser.add_argument("--processor", action="store_true", help="count the processor's seconds")
    args = parser.parse_args()
    sides, steps, rounds = ("28", 2, 2) if args.quick else (args.sides, args.steps, args.rounds)
    clock = time.process_time if args.processor else time.perf_counter
    ideas = IDEAS | (COMPILED if args.compile else {})
    print(f"{machine()}; batch {BATCH}, {steps} steps, {rounds} rounds{'; CPU time' * args.processor}\n")
    if args.profile:
        profile([int(side) for side in sides.split(",")], args.model, steps)
        return
    print("| side | model | idea | ms a step | faster by: median (min, max) | off by | first steps, s |")
    print("|---:|---|---|---:|---:|---:|---:|")
    for side in map(int, sides.split(",")):
        torch.compiler.reset()
        loops = {name: Loop(args.model, side, idea) for name, idea in ideas.items()}
        taken = in_turn({name: partial(made.run, steps, clock) for name, made in loops.items()}, rounds)
        for name, made in loops.items():
            pairs = zip(made.losses, loops[BARE].losses, strict=True)
            off = max(abs(ours - plain) / abs(plain) for ours, plain in pairs)
            spent, gain = f"{1e3 * statistics.median(taken[name]) / steps:.1f}", ratio(taken[BARE], taken[name])
            print(f"| {side} | {args.model} | {name} | {spent} | {gain} | {off:.0e} | {made.warm:.1f} |", flush=True)


if __name__ == "__main__":
    main()
