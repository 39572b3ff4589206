"""FLOPs of the paper's Table 1 by row and dataset, counted and not run, and what they would take on one GPU.

python perf/whole_paper.py [--quick] [--models table1]

No data and no weights are needed: shapes and numbers of images are those of the datasets, networks are made on `meta`.
Training counts matrix products and convolutions; evaluation the extractor alone: all draws, the reconstructions and
the interpolations of each trial.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from contest import ROOT, options
from torchvision.models import vgg16

from aegen_bench import weights
from aegen_bench.cost import counting
from aegen_bench.evaluation.extractors.inception import Inception, network
from aegen_bench.study import Study

TRAINING_SETS = {  # images, channels, side
    "mnist": (60_000, 1, 28),
    "fashion": (60_000, 1, 28),
    "cifar10": (50_000, 3, 32),
    "celeba": (162_770, 3, 64),
}
GPUS = {"A100": 19.5e12, "H100 SXM": 66.9e12}  # float32 FLOP/s without tensor cores, of their data sheets
UTILISATIONS = (0.1, 0.3, 0.5)


def untrained(name: str, folder: Path) -> dict[str, Any]:
    """In the place of VGG16's weights: their shapes."""
    with counting.META:
        return vgg16(weights=None).state_dict()


def inception_flops() -> int:
    """Of an image, whatever its side: it is resized."""
    with counting.META:
        extractor = Inception(network()).eval()
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8, device=counting.META)
    with torch.no_grad():
        return counting.flops(lambda: extractor(image))


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--models", default="table1")
    args = parser.parse_args()
    study, weights.load = Study("paper", local=ROOT, data=Path("unused")), untrained
    datasets = ["mnist"] if args.quick else list(TRAINING_SETS)
    rows = study.models(args.models.split(","))
    print("PFLOP of training a trial: calculated, not measured\n")
    print(f"| row | {' | '.join(datasets)} |\n|---|{'---:|' * len(datasets)}")
    total, steps = 0.0, 0
    for row in rows:
        cells = []
        for dataset in datasets:
            n, channels, side = TRAINING_SETS[dataset]
            kind = counting.Kind(
                study.config(row, dataset), study.entry(row), (channels, side, side), n, Path("unused")
            )
            stages = counting.count(kind)
            flops = math.fsum(stage.flops for stage in stages)
            cells.append(f"{flops / 1e15:,.2f}")
            total += study.profile.seeds * flops
            steps += study.profile.seeds * sum(stage.steps for stage in stages)
        print(f"| {row} | {' | '.join(cells)} |", flush=True)
    trials = len(rows) * len(datasets) * study.profile.seeds
    seen = (study.profile.draws + 2) * 10_000
    evaluation = trials * seen * inception_flops()
    each = f"{seen:,} images through Inception at {inception_flops() / 1e9:.1f} GFLOP each"
    print(f"\n{trials} trials ({study.profile.seeds} seeds): training {total / 1e15:,.0f} PFLOP in {steps:,} steps;")
    print(f"evaluation {evaluation / 1e15:,.0f} PFLOP: for each trial {each}.\n")
    print(f"| GPU, float32 | {' | '.join(f'at {share:.0%} of its peak' for share in UTILISATIONS)} |")
    print(f"|---|{'---:|' * len(UTILISATIONS)}")
    for name, speed in GPUS.items():
        days = [f"{(total + evaluation) / (share * speed) / 86400:,.1f} days" for share in UTILISATIONS]
        print(f"| {name}, {speed / 1e12:g} TFLOP/s | {' | '.join(days)} |")


if __name__ == "__main__":
    main()
