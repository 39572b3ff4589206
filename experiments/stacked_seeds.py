"""Do small networks of k seeds train faster as one stacked network than in turn? In ms per step of all of them.

Asked 2026-11-27. Verdict: only very small flows do, which take 3 ms of a step of 83 ms; not adopted
(docs/performance.md, Beyond the bare loop).

python experiments/stacked_seeds.py [--quick] [--seeds 2,4,10] [--steps 30] [--rounds 5] [--processor]

The second stage of the Two-Stage VAE and the flow of two-step GLF, on codes. Stacked: the first dimension of the
parameters is the seed (`torch.func.stack_module_state`), the loss is mapped over it (`vmap`), and one fused Adam steps
all of them. In turn: one loop per seed, with the linear layers of torch (MKL) and of the harness.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "perf"))  # for contest.py, which the scripts share
from contest import build, in_turn, machine, nets, options, ratio
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from aegen_bench.numerics import tuning

Clock = Callable[[], float]


class Second(nn.Module):
    """The loss of the Two-Stage VAE's second stage on mu, s and two noises, [b, 4 d]."""

    def __init__(self, side: int) -> None:
        super().__init__()
        model = build("two_stage_vae", nets(side, 1))
        self.encoder, self.decoder, self.log_gamma = model.second_encoder, model.second_decoder, model.log_gamma_z

    def forward(self, given: Tensor) -> Tensor:
        mu, s, eps, eps_u = given.chunk(4, 1)
        z = mu + s * eps
        mu_u, log_s = self.encoder(z).chunk(2, 1)
        half = 0.5 * (self.decoder(mu_u + log_s.exp() * eps_u) - z).square().sum(1).mean()
        kl = 0.5 * (mu_u.square() + torch.exp(2 * log_s) - 2 * log_s - 1).sum(1).mean()
        gamma: Tensor = self.log_gamma
        return half * torch.exp(-2 * gamma) + z.shape[1] * (gamma + 0.5 * math.log(2 * math.pi)) + kl


class Flow(nn.Module):
    """The NLL of the flow on the first d of [b, 4 d]."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.flow = build("glf", nets(side, 1)).flow  # also the flow of GLF in two steps

    def forward(self, given: Tensor) -> Tensor:
        nll: Tensor = self.flow.nll(given.chunk(4, 1)[0]).mean()
        return nll


def in_turn_of(kind: type[nn.Module], side: int, library: str, given: Tensor, steps: int, clock: Clock) -> float:
    """Return the seconds of `steps` steps of each seed; `given` is [k, b, 4 d]."""
    with mock.patch.object(tuning, "library", lambda: library):
        models = [kind(side) for _ in given]
    adams = [torch.optim.Adam(model.parameters(), lr=1e-4, fused=True) for model in models]

    def run(steps: int) -> None:
        for model, adam, codes in zip(models, adams, given, strict=True):
            for _ in range(steps):
                adam.zero_grad(set_to_none=True)
                model(codes).backward()
                adam.step()

    return timed(run, steps, clock)


def stacked(kind: type[nn.Module], side: int, given: Tensor, steps: int, clock: Clock) -> float:
    with mock.patch.object(tuning, "library", lambda: "BLAS"):
        models = [kind(side) for _ in given]
    parameters, buffers = stack_module_state(models)
    adam = torch.optim.Adam(parameters.values(), lr=1e-4, fused=True)
    losses = vmap(lambda p, b, codes: functional_call(models[0], (p, b), (codes,)))

    def run(steps: int) -> None:
        for _ in range(steps):
            adam.zero_grad(set_to_none=True)
            losses(parameters, buffers, given).sum().backward()
            adam.step()

    return timed(run, steps, clock)


def timed(run: Callable[[int], None], steps: int, clock: Clock) -> float:
    run(2)
    begin = clock()
    run(steps)
    return clock() - begin


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--seeds", default="2,4,10")
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor", action="store_true", help="count the processor's seconds")
    args = parser.parse_args()
    seeds, steps, rounds = ("2", 5, 1) if args.quick else (args.seeds, args.steps, args.rounds)
    clock = time.process_time if args.processor else time.perf_counter
    print(f"{machine()}, {torch.get_num_threads()} threads; {args.side} px, batch {args.batch}, {steps} steps\n")
    print("| networks | seeds | in turn, ms | the same by oneDNN | stacked, ms | faster than in turn | than oneDNN |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for kind, k in ((kind, int(k)) for kind in (Second, Flow) for k in seeds.split(",")):
        given = 0.1 + torch.rand(k, args.batch, 4 * nets(args.side, 1).d)
        work = (given, steps, clock)
        taken = in_turn(
            {
                "BLAS": partial(in_turn_of, kind, args.side, "BLAS", *work),
                "oneDNN": partial(in_turn_of, kind, args.side, "oneDNN", *work),
                "stacked": partial(stacked, kind, args.side, *work),
            },
            rounds,
        )
        spent = [f"{1e3 * statistics.median(seconds) / steps:.2f}" for seconds in taken.values()]
        gains = [ratio(taken[name], taken["stacked"]) for name in ("BLAS", "oneDNN")]
        print(f"| {kind.__name__} | {k} | {' | '.join([*spent, *gains])} |", flush=True)


if __name__ == "__main__":
    main()
