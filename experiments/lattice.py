"""Why does a perceptual loss lead to images with dots? The terms of the loss with and without the dots.

Asked 2026-11-25. Verdict: the loss prefers them: 16.03 with dots, 16.75 without (docs/findings.md).

python experiments/lattice.py results/lite/cifar10/glf_perceptual/seed-0 results/lite/cifar10/rae_gmm/seed-0

The images are made by two transposed convolutions of stride 2, so a pattern that is the same at each position of their
input repeats every 4 pixels. It consists of the image's Fourier coefficients at multiples of S/4, the lattice. Prints,
for real test images and for the reconstructions of each trial, the lattice's share of the power; for a trial with a
perceptual loss also the terms of the loss, with the lattice and without it. Needs the trials' weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import aegen_bench
from aegen_bench import data, weights
from aegen_bench.blocks.perceptual import NETWORKS, PerceptualLoss
from aegen_bench.results import read_record
from aegen_bench.trial import sampling

IMAGES = 1000
CPU = torch.device("cpu")


def lattice(side: int) -> Tensor:
    """Return a mask, bool [S, S], of the Fourier coefficients that repeat every 4 pixels, without the mean."""
    on = torch.arange(side) % (side // 4) == 0
    found = on[:, None] & on[None]
    found[0, 0] = False
    return found


def share(x: Tensor) -> float:
    """Return the lattice's share of the power of images [n, C, S, S] around their mean."""
    power = torch.fft.fft2(x - x.mean((2, 3), keepdim=True)).abs().square().sum((0, 1))
    return float(power[lattice(x.shape[-1])].sum() / power.sum())


def without(x: Tensor) -> Tensor:
    """Return the images with the coefficients of the lattice set to zero."""
    return torch.fft.ifft2(torch.fft.fft2(x) * ~lattice(x.shape[-1])).real


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=Path, nargs="+")
    for trial in parser.parse_args().trials:
        record, model = read_record(trial / "record.json"), aegen_bench.load(trial)
        config = record.config
        recipe = data.Recipe(**config["recipe"])
        images = np.array(data.load(record.dataset, recipe, data.default_folder(), "test")[:IMAGES])
        restored = sampling.reconstruct(model, images, seed=0, device=CPU)
        assert restored is not None, f"{trial}: no reconstructions"
        x, x_hat = torch.tensor(images) / 255, torch.tensor(restored) / 255
        print(f"\n{trial}: the lattice's share of the power is {share(x):.2%} real, {share(x_hat):.2%} restored")
        if config["recon"] != "perceptual":
            continue
        network, side = config["perceptual_net"], x.shape[-1]
        loss = PerceptualLoss(network, side, lambda net=network: weights.load(net, data.default_folder()))
        ((pooling, levels),) = NETWORKS[network].scales(side)
        names = ["pixels", *(f"tap {number}" for number in range(1, levels + 1))]
        print(f"\n| mean distance to the real image | {' | '.join(names)} | sum |\n|---|{'---:|' * (levels + 2)}")
        targets = loss.maps(x, pooling, levels)
        for label, made in (("restored", x_hat), ("restored, without the lattice", without(x_hat))):
            found = zip(loss.maps(made, pooling, levels), targets, strict=True)
            terms = [float((a - b).abs().mean()) for a, b in found]
            print(f"| {label} | {' | '.join(f'{term:.4f}' for term in [*terms, sum(terms)])} |")


if __name__ == "__main__":
    sys.exit(main())
