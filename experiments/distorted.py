"""Which metrics get worse for blurred or noisy images? The test images of a dataset against its training images.

Asked 2026-11-25. Verdict: all distances, recall, coverage and PRD do; precision and density rise under EfficientNet
when images are blurred (docs/evaluation.md).

python experiments/distorted.py [--dataset cifar10] [--protocol lite] [--out FOLDER]

Writes each set as a folder of PNG files and scores it with `aegen-bench evaluate`, as a user would. With --out the
folders and records are kept, and existing ones are reused.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from aegen_bench import data, results
from aegen_bench.study import Study

Images = NDArray[np.uint8]
NOT_OF_IMAGES = ("fd_infinity_slope", "fd_infinity_r2")  # they describe a fit


def distorted(images: Images) -> Iterator[tuple[str, Images]]:
    """Yield the images [n, C, S, S] unchanged, then with increasing distortion."""
    yield "as they are", images
    for sigma in (0.5, 1.0, 2.0):
        blurred = gaussian_filter(images.astype(np.float32), (0, 0, sigma, sigma))
        yield f"blurred, sigma {sigma} px", np.rint(blurred).astype(np.uint8)
    for sigma in (5, 15, 45):
        noise = np.random.default_rng(0).normal(scale=sigma, size=images.shape)
        yield f"noise, sigma {sigma} of 255", np.rint(images + noise).clip(0, 255).astype(np.uint8)


def write(images: Images, folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(folder / f"{number:05}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--protocol", default="lite")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    folder = data.default_folder()
    study = Study("paper", local=Path.cwd(), data=folder)
    against_train = {**study.protocols[args.protocol].model_dump(exclude={"name"}), "split": "train"}
    test = np.asarray(data.load(args.dataset, study.datasets[args.dataset].recipe, folder, "test"))
    with contextlib.ExitStack() as stack:
        out = args.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out.mkdir(exist_ok=True)
        (out / "benchmarks.yaml").write_text(yaml.safe_dump({"protocols": {"against_train": against_train}}))
        scores = {}
        for number, (name, images) in enumerate(distorted(test)):
            place = out / f"set{number}"
            if not place.exists():
                write(images, place)
            command = ["evaluate", place.name, "--dataset", args.dataset, "--protocol", "against_train"]
            subprocess.run(
                [sys.executable, "-m", "aegen_bench", *command], cwd=out, check=True, stdout=subprocess.DEVNULL
            )
            record = results.read_record(
                results.trial_folder(out / "results", results.EXTERNAL, args.dataset, place.name, 0) / "record.json"
            )
            (entry,) = record.metrics.values()
            scores[name] = {k: v for k, v in entry.draws[0].items() if k not in NOT_OF_IMAGES}
        print(entry.about["describe"])
        metrics = list(scores["as they are"])
        print(f"| test images of {args.dataset} | {' | '.join(metrics)} |\n|---|{'---:|' * len(metrics)}")
        for name, values in scores.items():
            print(f"| {name} | {' | '.join(f'{values[metric]:.4g}' for metric in metrics)} |")


if __name__ == "__main__":
    main()
