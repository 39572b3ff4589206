"""Where does a trial lose: in its prior or in its decoder? One auto-encoder, several priors on its codes.

Asked 2026-11-23. Verdict: GLF loses in its flow, which is trained for too few steps under `lite`, and WAE-MMD in its
N(0, I) (docs/findings.md).

python experiments/prior_or_decoder.py results/lite/fashion/glf/seed-0 [--protocol lite] [--further 1,4,16]

Prints the protocol's scores for codes of training images, for a Gaussian mixture fitted to these codes (the prior of
RAE+GMM), for the row's own prior, and for that prior after further training on the now fixed codes, for the given
multiples of the steps of its stage. `outside` is the share of sampled codes that are farther from the mean, in standard
deviations, than all codes of training images. `loss` is the prior's loss on these codes (a flow's NLL). The stage's
hook before each epoch is called as usual (IMLE's matching). Needs the trial's weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

import aegen_bench
from aegen_bench import data, seeding
from aegen_bench.baseline import Baseline
from aegen_bench.results import read_record
from aegen_bench.training.loop import extract
from aegen_bench.trial import sampling

CPU = torch.device("cpu")
N = 10_000


def training_codes(model: Baseline, record: dict[str, Any]) -> Tensor:
    recipe = data.Recipe(**record.config["recipe"])
    images = data.load(record.dataset, recipe, data.default_folder(), "train")
    order = torch.randperm(len(images), generator=seeding.stream(0, "subset"))
    subset = order[: record.config["n_train"]].sort().values
    return extract(model, torch.from_numpy(images[subset.numpy()]), seed=0, stage=-1)


def mixture(z: Tensor) -> Tensor:
    """A mixture of ten full Gaussians on standardised codes, as in baselines/rae_gmm.py."""
    center, scale = z.double().mean(0), z.double().std(0)
    fitted = GaussianMixture(10, max_iter=2000, random_state=0).fit(((z.double() - center) / scale).numpy())
    return (torch.from_numpy(fitted.sample(N)[0]) * scale + center).float()


@dataclass(frozen=True)
class Prior:
    """How a row trains its prior: stage, parameters, and the loss of codes at positions in the training set."""

    stage: str
    parameters: list[Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    before_epoch: Callable[[Tensor], None] | None = None

    @classmethod
    def of(cls, model: Baseline, z: Tensor) -> Prior | None:
        """Return the prior of a model; None if it is not trained."""
        stage = next((stage for stage in model.stages() if stage.data == "codes"), None)
        if stage is None:
            flow = getattr(model, "flow", None)
            return flow and cls("train", list(flow.parameters()), lambda codes, index: flow.nll(codes).mean())

        def update(codes: Tensor, index: Tensor) -> tuple[str, dict[str, Tensor]]:
            return next(iter(stage.step(codes, index)))

        groups = model.optimizers()[update(z[:64], torch.arange(64))[0]]
        parameters = [parameter for group in groups for parameter in group["params"]]
        loss = lambda codes, index: torch.stack(list(update(codes, index)[1].values())).sum()  # noqa: E731
        return cls(stage.name, parameters, loss, stage.before_epoch)

    def train(self, z: Tensor, steps: int) -> None:
        """Train with Adam in batches of 64, at a learning rate of 1e-3 that is halved half-way."""
        adam = torch.optim.Adam(self.parameters, lr=1e-3, weight_decay=2e-5, fused=True)
        order = seeding.stream(0, "order")
        for step in range(steps):
            if self.before_epoch and step % (len(z) // 64) == 0:
                with torch.no_grad():
                    self.before_epoch(z)
            adam.param_groups[0]["lr"] = 1e-3 if step < steps / 2 else 5e-4
            adam.zero_grad(set_to_none=True)
            index = torch.randint(len(z), (64,), generator=order)
            self.loss(z[index], index).backward()
            adam.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", type=Path)
    parser.add_argument("--protocol", default="lite")
    parser.add_argument("--further", default="1,4,16")
    args = parser.parse_args()
    record, model = read_record(args.trial / "record.json"), aegen_bench.load(args.trial)
    z = training_codes(model, record)

    def radius(codes: Tensor) -> Tensor:
        return ((codes - z.mean(0)) / z.std(0)).norm(dim=1)

    def score(label: str, codes: Tensor, images: np.ndarray | None = None) -> None:
        with torch.no_grad():
            if images is None:
                images = np.concatenate([sampling.to_uint8(model.decode(part)) for part in codes.split(500)])
            trained = "" if prior is None else f"{prior.loss(z, torch.arange(len(z))):.2f}"
        numbers = aegen_bench.evaluate(images, dataset=record.dataset, protocol=args.protocol)["draws"][0]
        values = " | ".join(f"{numbers[name]:.4g}" for name in ("fd", "f8", "f1_8"))
        outside = (radius(codes) > radius(z).max()).double().mean()
        print(f"| {label} | {values} | {outside:.2%} | {trained} |", flush=True)

    def own(label: str) -> None:
        codes = sampling.sample_codes(model, N, seed=0, device=CPU)
        score(label, codes, sampling.generate(model, N, seed=0, draw=0, device=CPU))

    with model.eval().using(seeding.stream(0, "noise", 1)):
        prior = Prior.of(model, z)
        print(f"{args.trial}, {len(z):,} codes\n| prior on the same codes | fd | f8 | f1_8 | outside | loss |")
        print("|---|---:|---:|---:|---:|---:|")
        score("the codes themselves", z[torch.randint(len(z), (N,), generator=seeding.stream(0, "codes"))])
        score("mixture of 10 Gaussians", mixture(z))
        own("the row's own, as trained")
        for times in map(int, args.further.split(",")) if prior else ():
            steps = times * record.stages[prior.stage]["steps"]
            model.train()
            prior.train(z, steps)
            model.eval()
            own(f"and {steps:,} more steps")


if __name__ == "__main__":
    sys.exit(main())
