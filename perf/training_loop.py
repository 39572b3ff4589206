"""Training speed of the harness against a bare loop over the same networks, and against pythae's trainer, in images/s.

python perf/training_loop.py [--quick] [--sides 28,32,64] [--models vae,rae_gmm,glf,wae_mmd] [--steps 60] [--rounds 5]
                             [--precision bf16]

All of them run the same number of steps on the same images in memory, in turn. pythae (`pip install pythae`, best in a
separate environment) has no GLF; its RAE has separate optimizers for encoder and decoder. It is skipped if not
installed. --precision applies only to the harness; the bare loop and pythae stay in float32.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from contest import build, in_turn, machine, made_up, nets, options, ratio, seconds
from torch import Tensor, nn

from aegen_bench.blocks.nets import Nets
from aegen_bench.environment import native_bf16
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def harness(row: str, made: Nets, images: Tensor, batch: int) -> float:
    """Return the seconds of one epoch with `train`, as counted in records."""
    history, model = History(), build(row, made)
    model.fit = lambda codes: None  # type: ignore[method-assign]  # only the loop is measured
    if row == "wae_mmd":
        model.pretrain = False
    train(model, images, {"train": StagePlan(epochs=1, batch=batch, lr=1e-3)}, seed=0, history=history)
    return history.seconds["train"]


def bare(row: str, made: Nets, images: Tensor, batch: int, epochs: int = 1) -> float:
    """Return the seconds of the usual training loop: same networks and losses, fused Adam, no logging, no harness."""
    model = build(row, made).train()
    groups = [{"params": [*model.encoder.parameters(), *model.decoder.parameters()]}]
    groups += [{"params": model.flow.parameters(), "weight_decay": 2e-5}] if row == "glf" else []
    adam = torch.optim.Adam(groups, lr=1e-3, fused=True)

    def epoch() -> None:
        for index in torch.randperm(len(images))[: len(images) // batch * batch].split(batch):
            x = images[index].float().div_(255)
            z, extra = LOSSES[row](model, x)
            loss = (0.5 * (model.decoder(z) - x).square().flatten(1).sum(1)).mean() + extra
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()

    return seconds(lambda: [epoch() for _ in range(epochs)])


def vae(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    mu, logvar = model.encoder(x).chunk(2, 1)
    z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
    return z, 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1).mean()


def rae_gmm(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    z = model.encoder(x)
    return z, 0.5 * z.square().sum(1).mean()


def glf(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    z = model.encoder(x)
    return z, model.flow.nll(z.detach()).mean()


def wae_mmd(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    noise = math.sqrt(2) * torch.erfinv((2 * torch.rand_like(x) - 1) * math.erf(math.sqrt(2)))
    z = model.encoder(x + 0.01 * noise)
    p, n = torch.randn_like(z), len(z)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = (a[:, None] - b[None]).square().sum(2)
        return sum(2 * a.shape[1] * s / (2 * a.shape[1] * s + squares) for s in SCALES)  # type: ignore[return-value]

    within = sum(k.sum() - k.trace() for k in (kernel(z, z), kernel(p, p))) / (n * (n - 1))
    return z, 10 * (within - 2 * kernel(z, p).mean())


LOSSES = {"vae": vae, "rae_gmm": rae_gmm, "glf": glf, "wae_mmd": wae_mmd}


def theirs(row: str, made: Nets, images: Tensor, batch: int) -> float:
    """Return the seconds of an epoch of pythae's trainer with the shared networks, with its usual loader of floats."""
    from pythae import models, trainers
    from pythae.data.datasets import BaseDataset
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = made.encoder(2 * made.d if row == "vae" else made.d)

        def forward(self, x: Tensor) -> Any:
            out = self.net(x)
            if row != "vae":
                return ModelOutput(embedding=out)
            mu, logvar = out.chunk(2, 1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net: nn.Module = made.decoder()

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.net(z))

    name, settings, kind = THEIRS[row]
    shape = {"input_dim": made.shape, "latent_dim": made.d}
    model = getattr(models, name)(getattr(models, settings)(**shape), Encoder(), Decoder())
    config = getattr(trainers, f"{kind}Config")
    labels, quiet = torch.zeros(len(images)), io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(quiet):
        asked = config(output_dir=folder, num_epochs=1, per_device_train_batch_size=batch, learning_rate=1e-3)
        data = BaseDataset(images.float().div_(255), labels)
        trainer = getattr(trainers, kind)(model, train_dataset=data, training_config=asked)
        trainer.prepare_training()
        return seconds(lambda: trainer.train_step(epoch=1))


THEIRS = {
    "vae": ("VAE", "VAEConfig", "BaseTrainer"),
    "rae_gmm": ("RAE_L2", "RAE_L2_Config", "CoupledOptimizerTrainer"),
    "wae_mmd": ("WAE_MMD", "WAE_MMD_Config", "BaseTrainer"),
}


def contenders(row: str, made: Nets, precision: str, *work: Any) -> dict[str, Callable[[], float]]:
    every = {"bare": bare} | ({"pythae": theirs} if row in THEIRS and have_pythae() else {})
    ours = partial(harness, row, replace(made, precision=precision), *work)
    return {"harness": ours} | {name: partial(run, row, made, *work) for name, run in every.items()}


def have_pythae() -> bool:
    try:
        import pythae.models
        import pythae.trainers  # noqa: F401
    except ImportError:
        return False
    for name in filter(lambda name: name.startswith("pythae"), logging.root.manager.loggerDict):
        logging.getLogger(name).disabled = True  # its handlers print each epoch
    return True


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--sides", default="28,32,64")
    parser.add_argument("--models", default=",".join(LOSSES))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    args = parser.parse_args()
    if args.precision == "bf16" and not native_bf16():
        sys.exit("no native bf16 here")
    sides, steps, rounds = ("28", 5, 2) if args.quick else (args.sides, args.steps, args.rounds)
    print(f"{machine()}; batch {args.batch}, {steps} steps, {rounds} rounds; the harness in {args.precision}")
    if not have_pythae():
        print("pythae is not here: without its column (pip install pythae)")
    print("| side | model | harness images/s | bare | pythae | harness / bare | harness / pythae |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for side, row in ((int(s), r) for s in sides.split(",") for r in args.models.split(",")):
        made = nets(side, steps * args.batch)
        taken = in_turn(contenders(row, made, args.precision, made_up(made), args.batch), rounds)
        rates = [
            f"{made.n_train / min(taken[name]):,.0f}" if name in taken else "" for name in ("harness", "bare", "pythae")
        ]
        faster = [ratio(taken[name], taken["harness"]) if name in taken else "" for name in ("bare", "pythae")]
        print("|", " | ".join(chain([str(side), row], rates, faster)), "|", flush=True)


if __name__ == "__main__":
    main()
