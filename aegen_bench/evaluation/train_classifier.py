"""Train the network of the extractor `classifier` on the labelled training images of a dataset.

python -m aegen_bench.evaluation.train_classifier fashion [--epochs N] [--seed 0] [--data FOLDER] [--out FOLDER]

The schedule is fixed in advance, and the weights after the last epoch are saved. Test labels are read once, at the end,
for the accuracy that is printed and stored. Labels come from NAME.npz (`y_train`, `y_test`) if it exists, otherwise
from torchvision's files. Trains in float32, and is reproducible on the same machine, torch version and number of
threads.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor
from torchvision import datasets

from aegen_bench import data, seeding
from aegen_bench.data.sources import memory
from aegen_bench.errors import UserError
from aegen_bench.evaluation.extractors.classifier import Classifier
from aegen_bench.files import read_arrays, shown

__all__ = ["PLANS", "augmented", "main", "train"]

BATCH = 128
LR = 0.2  # the maximum of the cycle
READERS = {"fashion": "FashionMNIST", "mnist": "MNIST", "cifar10": "CIFAR10"}  # classes of torchvision.datasets


class Plan(NamedTuple):
    """The training of a dataset: epochs and augmentation."""

    epochs: int
    shift: int  # pixels, in each direction
    mirror: bool


PLANS = {"fashion": Plan(8, 2, True), "cifar10": Plan(14, 4, True), "mnist": Plan(8, 2, False)}


def labelled(name: str, folder: Path, split: data.Split) -> tuple[Tensor, Tensor]:
    """Return the images of a split, uint8 [n, c, h, w], and their classes, int64 [n] from 0 to 9.

    UserError if the classes are missing or not such numbers.
    """
    images = torch.from_numpy(np.array(data.load(name, _recipe(name, folder), folder, split)))
    npz = folder / f"{name}.npz"
    if npz.exists():
        try:
            arrays = read_arrays(npz, memory(), [f"y_{split}"])
        except (OSError, ValueError) as error:
            raise UserError(f"{shown(npz)}: its classes cannot be read: {error}") from error
        if f"y_{split}" not in arrays:
            raise UserError(f"{shown(npz)} has no y_{split}: the classes of the images, from 0 to 9")
        found = arrays[f"y_{split}"]
    else:
        found = np.asarray(getattr(datasets, READERS[name])(folder, train=split == "train").targets)
    if found.shape != (len(images),) or found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 9:
        what = f"{found.dtype} {found.shape}"
        raise UserError(f"{name}, {split}: expected {len(images)} whole numbers from 0 to 9, found an array of {what}")
    return images, torch.from_numpy(found.astype(np.int64))


def augmented(images: Tensor, plan: Plan, draw: torch.Generator) -> Tensor:
    """Return the images [n, c, h, w], each randomly shifted on black, and half of them mirrored if the plan says so."""
    n, _, height, width = images.shape
    padded = F.pad(images, [plan.shift] * 4)
    rows, columns = (torch.randint(2 * plan.shift + 1, (n, 1), generator=draw) for _ in range(2))
    rows, columns = rows + torch.arange(height), columns + torch.arange(width)
    if plan.mirror:
        columns = torch.where(torch.rand(n, 1, generator=draw) < 0.5, columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def train(images: Tensor, classes: Tensor, plan: Plan, *, seed: int) -> Classifier:
    """Return the network trained by SGD, with a one-cycle learning rate (Smith 2018) and label smoothing."""
    with seeding.initialising(seed):
        network = Classifier().to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(network.parameters(), LR, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
    steps = -(-len(images) // BATCH)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        sgd, LR, epochs=plan.epochs, steps_per_epoch=steps, pct_start=0.25, cycle_momentum=False
    )
    for epoch in range(plan.epochs):
        order = torch.randperm(len(images), generator=seeding.stream(seed, "order", epoch=epoch))
        draw = seeding.stream(seed, "augment", epoch=epoch)
        total = 0.0
        for index in torch.split(order, BATCH):
            logits = network(augmented(images[index], plan, draw))
            loss = F.cross_entropy(logits, classes[index], label_smoothing=0.1)
            sgd.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            sgd.step()
            cycle.step()
            total += float(loss.detach()) * len(index)
        print(f"epoch {epoch + 1} of {plan.epochs}: training loss {total / len(images):.4f}", flush=True)
    return network.eval()


def accuracy(network: Classifier, images: Tensor, classes: Tensor) -> float:
    """Return the fraction of images that are classified correctly."""
    with torch.inference_mode():
        parts = zip(torch.split(images, 500), torch.split(classes, 500), strict=True)
        return sum(int((network(x).argmax(1) == y).sum()) for x, y in parts) / len(images)


def main(arguments: list[str] | None = None) -> Path:
    """Train, write NAME.safetensors with its provenance, print test accuracy and sha256, and return the file."""
    parser = argparse.ArgumentParser(prog="python -m aegen_bench.evaluation.train_classifier", description=__doc__)
    parser.add_argument("name", choices=sorted(PLANS))
    parser.add_argument("--epochs", type=int, help="default: " + ", ".join(f"{n} {p.epochs}" for n, p in PLANS.items()))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=data.default_folder())
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args(arguments)
    plan = PLANS[given.name]._replace(**{"epochs": given.epochs} if given.epochs else {})

    images, classes = labelled(given.name, given.data, "train")
    network = train(images, classes, plan, seed=given.seed)
    test_images, test_classes = labelled(given.name, given.data, "test")
    found = accuracy(network, test_images, test_classes)

    about: dict[str, Any] = {
        "dataset": given.name,
        "n_train": len(images),
        "train_sha256": data.fingerprint(given.name, _recipe(given.name, given.data), given.data, "train"),
        "n_test": len(test_images),
        "test_accuracy": found,
        "epochs": plan.epochs,
        "seed": given.seed,
        "command": f"{parser.prog} {given.name} --epochs {plan.epochs} --seed {given.seed}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    held = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    packed = save(held, {name: str(value) for name, value in about.items()})
    file: Path = given.out / f"{given.name}.safetensors"
    file.write_bytes(packed)
    print(f"{file}: test accuracy {found:.4f} on {len(test_images):,} images, trained on {len(images):,}")
    print(f"sha256 {hashlib.sha256(packed).hexdigest()}")
    return file


def _recipe(name: str, folder: Path) -> data.Recipe:
    source = name if name in READERS else "npz"
    return data.discover(folder).get(name) or data.Recipe.model_validate({"source": source})


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"{Path(__file__).stem}: {error}")
