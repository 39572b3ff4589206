"""The cost of the paper's Table 1 on one GPU: counted and calculated, not run.

python perf/whole_paper.py [--quick] [--models table1]

It needs neither data nor weights: shapes and numbers of images are those of the datasets, and networks are made on
`meta`. The time of a step is that of its products and convolutions at a share of the GPU's peak rate, plus all that it
reads and writes at the memory bandwidth: activations, losses, and Adam's weights, gradients and moments. Ordinary
kernels take at least `LAUNCH` each, replayed CUDA graphs do not. Evaluation runs the extractor on the GPU (all draws,
reconstructions and interpolations), and the metrics of each draw on two CPU cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from contest import ROOT, options
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.models import vgg16

from aegen_bench import weights
from aegen_bench.cost import counting
from aegen_bench.evaluation.extractors.inception import Inception, network
from aegen_bench.numerics.pixels import as_float
from aegen_bench.study import Study

TRAINING_SETS = {  # images, channels, side
    "mnist": (60_000, 1, 28),
    "fashion": (60_000, 1, 28),
    "cifar10": (50_000, 3, 32),
    "celeba": (162_770, 3, 64),
}
# Data sheets, dense: FLOP/s in float32 without tensor cores and in TF32, bytes/s of the memory.
GPUS = {"A100 SXM": (19.5e12, 156e12, 2.0e12), "H100 SXM": (66.9e12, 495e12, 3.35e12)}
SHARES = {"fp32": 0.6, "tf32": 0.35}  # of these rates, for products of these sizes: assumed
LAUNCH = 5e-6  # CPU seconds to launch a kernel: assumed
# Seconds of a draw's metrics with 2,048 features on two idle cores, from the times in docs/evaluation.md: fd and prd as
# measured; kid, precision_recall and density_coverage with 1,280 times 1.6; fd_infinity times 1.6^2.5.
METRICS = 0.8 + 0.6 + 1.6 * (2.2 + 2.7 + 0.8) + 1.6**2.5 * 2.3


def untrained(name: str, folder: Path) -> dict[str, Any]:
    """Return tensors with the shapes of VGG16's weights."""
    with counting.META:
        return vgg16(weights=None).state_dict()


def inception_flops() -> int:
    """Return the FLOPs of an image, which do not depend on its size, because it is resized."""
    with counting.META:
        extractor = Inception(network()).eval()
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8, device=counting.META)
    with torch.no_grad():
        return counting.flops(lambda: extractor(image))


class Traffic(TorchDispatchMode):
    """Counts kernels, and the bytes that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.bytes = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        is_view = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
        if not is_view and not func._schema.name.startswith(("aten::empty", "aten::new_empty", "profiler::")):
            self.kernels += 1
            seen = tree_leaves((args, kwargs, out))
            self.bytes += sum(t.numel() * t.element_size() for t in seen if isinstance(t, torch.Tensor))
        return out


@dataclass(frozen=True)
class Work:
    """The work of a training: FLOPs, bytes and kernels per step and the number of steps by stage; FLOPs of hooks."""

    stages: list[tuple[int, int, int, int]]
    hooks: float

    @property
    def flops(self) -> float:
        return self.hooks + math.fsum(steps * flops for flops, _, _, steps in self.stages)

    def hours(self, gpu: str, precision: str, graphs: bool) -> float:
        fp32, tf32, memory = GPUS[gpu]
        rate = SHARES[precision] * {"fp32": fp32, "tf32": tf32}[precision]
        total = self.hooks / (SHARES["fp32"] * fp32)
        for flops, moved, kernels, steps in self.stages:
            busy = flops / rate + moved / memory
            total += steps * (busy if graphs else max(busy, kernels * LAUNCH))
        return total / 3600


def work(kind: counting.Kind) -> Work:
    stages, hooks, model = [], 0.0, kind.model(counting.META)
    for stage, cost in zip(model.stages(), counting.count(kind), strict=True):
        gradients = counting._Gradients(model)
        with Traffic() as traffic:
            counting._step(model, stage, cost.batch, gradients)()
        # Adam's one or two kernels read weights, gradients and both moments, and write all but the gradients.
        names = [name for name, _ in stage.step(*_batch(model, stage, cost.batch))]
        trained = sum(p.numel() for name in names for p in gradients._parameters[name])
        stages.append((cost.step_flops, traffic.bytes + 28 * trained, traffic.kernels + 2 * len(names), cost.steps))
        hooks += cost.epochs * cost.epoch_flops
    return Work(stages, hooks)


def _batch(model: Any, stage: Any, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    data = counting._data(model, stage, batch)
    return as_float(data) if stage.data == "images" else data, torch.arange(batch, device=data.device)


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--models", default="table1")
    args = parser.parse_args()
    study, weights.load = Study("paper", local=ROOT, data=Path("unused")), untrained
    datasets = ["mnist"] if args.quick else list(TRAINING_SETS)
    rows, seeds = study.models(args.models.split(",")), study.profile.seeds
    print("PFLOP of training a trial: calculated, not measured\n")
    print(f"| row | {' | '.join(datasets)} |\n|---|{'---:|' * len(datasets)}")
    found: dict[tuple[str, str], Work] = {}
    for row in rows:
        for dataset in datasets:
            n, channels, side = TRAINING_SETS[dataset]
            config, shape = study.config(row, dataset), (channels, side, side)
            found[row, dataset] = work(counting.Kind(config, study.entry(row), shape, n, Path("unused")))
        print(f"| {row} | {' | '.join(f'{found[row, d].flops / 1e15:,.2f}' for d in datasets)} |", flush=True)
    trials, total = seeds * len(found), seeds * math.fsum(each.flops for each in found.values())
    steps = seeds * sum(stage[-1] for each in found.values() for stage in each.stages)
    seen = (study.profile.draws + 3) * 10_000  # the draws, reconstructions and two kinds of interpolations
    evaluation = trials * seen * inception_flops()
    each = f"{seen:,} images through Inception at {inception_flops() / 1e9:.1f} GFLOP each"
    print(f"\n{trials} trials ({seeds} seeds): training {total / 1e15:,.0f} PFLOP in {steps:,} steps;")
    print(f"evaluation {evaluation / 1e15:,.0f} PFLOP: for each trial {each}.\n")
    apart = ("glann_perceptual", "celeba")
    print("Hours on one GPU, calculated. Metrics are those of a CPU with two cores.\n")
    print("| GPU | precision | training, one by one | replayed | of which GLANN on CelebA | extractor | metrics |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for gpu, (fp32, _, _) in GPUS.items():
        for precision in SHARES:
            slow, fast = (
                seeds * math.fsum(each.hours(gpu, precision, graphs) for each in found.values())
                for graphs in (False, True)
            )
            glann = seeds * found[apart].hours(gpu, precision, True) if apart in found else 0.0
            features = evaluation / (SHARES["fp32"] * fp32) / 3600
            cpu = trials * study.profile.draws * METRICS / 3600
            hours = " | ".join(f"{value:,.1f}" for value in (slow, fast, glann, features, cpu))
            print(f"| {gpu} | {precision} | {hours} |")


if __name__ == "__main__":
    main()
