"""Where does a GLF trial lose: in its prior or in its decoder? One auto-encoder, several priors on its codes.

python perf/prior_or_decoder.py results/lite/fashion/glf/seed-0 [--protocol lite]

Prints the protocol's numbers for the flow as trained, for a Gaussian mixture fitted to the same codes (the RAE+GMM
prior), and for the same flow trained further on the now fixed codes. Needs the trial's weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

import aegen_bench
from aegen_bench import data, sampling, seeding
from aegen_bench.results import read_record
from aegen_bench.training import extract


def mixture(z: Tensor) -> Callable[[int], Tensor]:
    """Ten full Gaussians on standardised codes, as in baselines/rae_gmm.py."""
    center, scale = z.double().mean(0), z.double().std(0)
    fitted = GaussianMixture(10, max_iter=2000, random_state=0).fit(((z.double() - center) / scale).numpy())
    return lambda n: (torch.from_numpy(fitted.sample(n)[0]) * scale + center).float()


def train_flow(model: torch.nn.Module, z: Tensor, steps: int) -> None:
    """Minimise the flow's NLL on fixed codes, Adam 1e-3 halved half-way, batches of 64."""
    adam = torch.optim.Adam(model.flow.parameters(), lr=1e-3, weight_decay=2e-5, fused=True)
    order = seeding.stream(0, "order")
    for step in range(steps):
        adam.param_groups[0]["lr"] = 1e-3 if step < steps / 2 else 5e-4
        loss = model.flow.nll(z[torch.randint(len(z), (64,), generator=order)]).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", type=Path)
    parser.add_argument("--protocol", default="lite")
    args = parser.parse_args()
    record = read_record(args.trial / "record.json")
    model = aegen_bench.load(args.trial)
    recipe = data.Recipe(**record["config"]["recipe"])
    images = data.load(record["dataset"], recipe, data.default_folder(), "train")
    order = torch.randperm(len(images), generator=seeding.stream(0, "subset"))
    subset = order[: record["config"]["n_train"]].sort().values
    z = extract(model, torch.from_numpy(images[subset.numpy()]), seed=0, stage=-1)
    steps = record["stages"]["train"]["steps"]

    def score(label: str, prior: Callable[[int], Tensor]) -> None:
        with torch.no_grad():
            codes = prior(10_000).split(500)
            generated = torch.cat([torch.from_numpy(sampling.to_uint8(model.decode(c))) for c in codes])
            nll = model.flow.nll(z).mean()
        numbers = aegen_bench.evaluate(generated, dataset=record["dataset"], protocol=args.protocol)["draws"][0]
        values = " | ".join(f"{numbers[name]:.4g}" for name in ("fd", "f8", "f1_8"))
        print(f"| {label} | {values} | {nll:.2f} |", flush=True)

    noise = torch.randn(10_000, z.shape[1], generator=seeding.stream(0, "noise"))
    print(f"{args.trial}, {len(z):,} codes\n| prior on the same codes | fd | f8 | f1_8 | flow's NLL of the codes |")
    print("|---|---:|---:|---:|---:|")
    score("the codes themselves", lambda n: z[torch.randint(len(z), (n,), generator=seeding.stream(0, "codes"))])
    score("mixture of 10 Gaussians", mixture(z))
    score("flow, as trained with the auto-encoder", lambda n: model.flow.inverse(noise))
    for times in (1, 4, 16):
        train_flow(model, z, times * steps)
        score(f"flow, {times * steps:,} more steps on fixed codes", lambda n: model.flow.inverse(noise))


if __name__ == "__main__":
    sys.exit(main())
