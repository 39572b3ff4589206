"""Steps/s of the second stage of the Two-Stage VAE, small networks on codes, against a bare loop over the same ones.

python perf/second_stage.py [--quick] [--steps 500] [--rounds 5] [--batch 64]
"""

from __future__ import annotations

import math

import torch
from contest import build, in_turn, machine, nets, options, ratio, seconds
from torch import Tensor

from aegen_bench.baseline import Stage
from aegen_bench.blocks.nets import Nets
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan


def codes_of(made: Nets) -> Tensor:
    """Return mu and s concatenated, as the first stage extracts them."""
    return torch.cat([torch.randn(made.n_train, made.d), 0.1 + torch.rand(made.n_train, made.d)], 1)


def harness(made: Nets, codes: Tensor, batch: int) -> float:
    """Return the seconds of one epoch of the stage with `train`."""
    model, history = build("two_stage_vae", made), History()
    model.stages = lambda: [Stage("second", model.second_step, data="codes")]  # type: ignore[method-assign]
    model.extract = lambda x, index: codes[index]  # type: ignore[method-assign]
    images = torch.zeros(made.n_train, *made.shape, dtype=torch.uint8)
    train(model, images, {"second": StagePlan(epochs=1, batch=batch, lr=1e-4)}, seed=0, history=history)
    return history.seconds["train"]


def bare(made: Nets, codes: Tensor, batch: int) -> float:
    model = build("two_stage_vae", made).train()
    encoder, decoder, log_gamma = model.second_encoder, model.second_decoder, model.log_gamma_z
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), log_gamma], lr=1e-4, fused=True)

    def epoch() -> None:
        for index in torch.randperm(len(codes)).split(batch):
            mu, s = codes[index].chunk(2, 1)
            z = mu + s * torch.randn_like(s)
            mu_u, log_s = encoder(z).chunk(2, 1)
            z_hat = decoder(mu_u + log_s.exp() * torch.randn_like(mu_u))
            kl = 0.5 * (mu_u.square() + torch.exp(2 * log_s) - 2 * log_s - 1).sum(1).mean()
            half = 0.5 * (z_hat - z).square().sum(1).mean()
            loss = half * torch.exp(-2 * log_gamma) + made.d * (log_gamma + 0.5 * math.log(2 * math.pi)) + kl
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()

    return seconds(epoch)


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    steps, rounds = (30, 2) if args.quick else (args.steps, args.rounds)
    made = nets(28, steps * args.batch)
    codes = codes_of(made)
    contenders = {"harness": lambda: harness(made, codes, args.batch), "bare": lambda: bare(made, codes, args.batch)}
    taken = in_turn(contenders, rounds)
    print(f"{machine()}; d {made.d}, batch {args.batch}, {steps} steps, {rounds} rounds\n")
    print("| harness steps/s | bare steps/s | harness / bare: median (min, max) |\n|---:|---:|---:|")
    ours, plain = (steps / min(taken[name]) for name in contenders)
    print(f"| {ours:,.0f} | {plain:,.0f} | {ratio(taken['bare'], taken['harness'])} |")


if __name__ == "__main__":
    main()
