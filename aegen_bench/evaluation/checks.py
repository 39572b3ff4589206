"""Sanity checks of metrics on sets of real images whose quality is known.

A metric that fails a check stays in use: the table says what it does not detect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation import metrics
from aegen_bench.evaluation.protocol import Protocol
from aegen_bench.evaluation.scorer import Scorer
from aegen_bench.evaluation.scoring import Subject

__all__ = ["CHECKS", "NOT_CHECKED", "Checked", "check", "rules", "tables", "variants"]

Images = NDArray[np.uint8]

UNSEEN = 4  # sets of unseen images; differences of the size of their spread do not count
WIDTH = 3  # times that spread
SMALL = 0.01  # times their mean: a margin for numbers at their limit, which have no spread
CHECKS = {
    "identical": "the real images themselves: not worse than unseen real images",
    "half the modes": "unseen images of the largest clusters, which hold half of them: worse",
    "blur": "unseen images, blurred by 1 px: worse",
    "noise": "unseen images with noise of 15 of 255: worse",
    "5% outliers": "5% of unseen images replaced by uniform noise: at most a fifth as much worse as 50%",
    "copies": "images of the training set: worse",
    "n and 2n": "half as many images, generated and real: no difference, in the mean over the unseen sets",
}
FIDELITY = {"precision", "density", "clipped_density", "f1_8"}
COPIES = {"memorisation", "copying_z"}
NOT_CHECKED = {"kid_se", "fd_infinity_slope", "fd_infinity_r2", "fd_infinity_se"}  # errors and fits of other numbers


class Checked(NamedTuple):
    """One number of a metric on one dataset: its value for each set of images, and the checks it passes or fails."""

    values: dict[str, float]
    passed: dict[str, bool]


class _Set(Subject):
    """A set of images that poses as a generator trained on `training`."""

    def __init__(self, images: Images, training: Images, test: Images) -> None:
        self.images, self._training, self._test = images, training, test

    def generated(self, n: int, draw: int) -> Images:
        return self.images[:n]

    def training_images(self) -> Images:
        return self._training

    def test_images(self) -> Images:
        return self._test


def variants(training: Images, rest: Images, real: Images, n: int, seed: int) -> Iterator[tuple[str, Images]]:
    """Yield (name, n images): the unseen sets 0 to 3, taken from the 7 n images of `rest`, and the altered sets."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    unseen = rest[:n]
    for number in range(UNSEEN):
        yield f"unseen {number}", rest[number * n : (number + 1) * n]
    yield "identical", real[:n]
    yield "half the modes", _largest_clusters(rest[UNSEEN * n :], n, seed)
    blurred = gaussian_filter(unseen.astype(np.float32), 1, axes=(2, 3))
    yield "blur", np.rint(blurred).astype(np.uint8)
    yield "noise", np.rint(unseen + random.normal(scale=15, size=unseen.shape)).clip(0, 255).astype(np.uint8)
    for share in (5, 50):
        mixed = unseen.copy()
        count = n * share // 100
        mixed[:count] = random.integers(256, size=mixed[:count].shape, dtype=np.uint8)
        yield f"{share}% outliers", mixed
    yield "copies", training[:n]


def _largest_clusters(images: Images, n: int, seed: int) -> Images:
    """Return n images from the largest of ten clusters (k-means on pixels), which together hold half of the images."""
    from aegen_bench.numerics.kmeans import minibatch_kmeans, nearest_centre

    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    how: dict[str, Any] = {"n_clusters": 10, "n_init": 3, "batch_size": 100, "init_size": 300}
    centres = minibatch_kmeans(pixels, **how, randoms=[np.random.default_rng(seed)])
    [labels] = nearest_centre(pixels, centres)
    sizes = np.bincount(labels, minlength=10)
    order = np.argsort(-sizes)
    kept = order[: int(np.searchsorted(sizes[order].cumsum(), len(images) / 2)) + 1]
    return images[np.isin(labels, kept)][:n]


def check(scorer: Scorer, protocol: Protocol, n: int, *, seed: int = 0) -> dict[str, Checked]:
    """Return {number: its values and checks} for all metrics of generated images, with n images per set.

    UserError if the dataset has fewer than 9 n training or n test images.
    """
    train, real = (scorer.real(split)[0] for split in ("train", "test"))
    if len(train) < 9 * n or len(real) < n:
        most = min(len(train) // 9, len(real))
        raise UserError(
            f"{scorer.dataset} has {len(train):,} training and {len(real):,} test images: --count {most} at most"
        )
    order = np.random.default_rng(seed).permutation(len(train))
    # Not sorted: in a dataset that is stored class by class, each set would then have classes of its own.
    training, rest = (np.asarray(train[part]) for part in (order[: 2 * n], order[2 * n : 9 * n]))
    per_draw = tuple(name for name in metrics.names() if metrics.load(name).PER == "draw")

    def scored(images: Images, count: int) -> dict[str, float]:
        sized = protocol.model_copy(update={"count": count, "metrics": per_draw, "split": "test"})
        found = scorer.score(sized, _Set(images, training, np.asarray(real)))
        if found.failed:
            raise UserError("; ".join(f"{name}: {why}" for name, why in found.failed.items()))
        return found.draws[0]

    # The real images that the protocol chooses, not the first n of the split: "identical" must be the same images.
    from aegen_bench.evaluation.features import subset

    values = {name: scored(images, n) for name, images in variants(training, rest, subset(real, n), n, seed)}
    halves = [scored(rest[number * n : (number + 1) * n], n // 2) for number in range(UNSEEN)]
    of_all = set.intersection(*map(set, halves))
    values["half as many"] = {name: float(np.mean([half[name] for half in halves])) for name in of_all}
    signs = {
        number: 1 if value.better == "lower" else -1
        for name in per_draw
        for number, value in metrics.load(name).VALUES.items()
        if number not in NOT_CHECKED and all(number in of for name, of in values.items() if name != "half as many")
    }
    return {
        number: _judged({name: of[number] for name, of in values.items() if number in of}, sign)
        for number, sign in signs.items()
    }


def _judged(values: dict[str, float], sign: int) -> Checked:
    unseen = np.array([values.pop(f"unseen {number}") for number in range(UNSEEN)])
    centre = float(unseen.mean())
    least = max(WIDTH * float(unseen.std(ddof=1)), SMALL * abs(centre))
    worse = {name: sign * (value - centre) for name, value in values.items()}
    passed: dict[str, bool] = {}
    passed |= {name: worse[name] > least for name in ("half the modes", "blur", "noise", "copies") if name in worse}
    passed["identical"] = worse["identical"] <= least
    passed["5% outliers"] = worse["50% outliers"] > least and worse["5% outliers"] <= worse["50% outliers"] / 5 + least
    if "half as many" in worse:
        # Both are means over four sets, and half as many images have sqrt(2) times the spread: sqrt(1/4 + 2/4) of it.
        passed["n and 2n"] = abs(worse["half as many"]) <= np.sqrt(3) / 2 * least
    return Checked({"unseen": centre, **values}, passed)


def tables(found: dict[str, Checked]) -> Iterator[str]:
    """Yield the lines of two Markdown tables: the checks that each number passes, and its values."""
    yield "| number | " + " | ".join(CHECKS) + " |"
    yield "|---|" + ":-:|" * len(CHECKS)
    for number, checked in found.items():
        marks = [_mark(number, name, checked.passed.get(name)) for name in CHECKS]
        yield f"| `{number}` | " + " | ".join(marks) + " |"
    names = list(next(iter(found.values())).values)
    yield ""
    yield "| number | " + " | ".join(names) + " |"
    yield "|---|" + "---:|" * len(names)
    for number, checked in found.items():
        cells = [f"{checked.values[name]:.4g}" if name in checked.values else "" for name in names]
        yield f"| `{number}` | " + " | ".join(cells) + " |"


def rules() -> Iterator[str]:
    """Yield the lines of a Markdown list that explains the tables."""
    for name, meaning in CHECKS.items():
        yield f"- {name}: {meaning}."
    yield (
        f"- Worse: by more than {WIDTH} standard deviations of {UNSEEN} sets of unseen real images, whose mean is "
        f"`unseen`, and by more than {SMALL:.0%} of that mean. (✗): fails, and is not meant to see it. Metrics of "
        "codes and reconstructions need a model and are not checked here."
    )


def _mark(number: str, name: str, passed: bool | None) -> str:
    if passed is None:
        return ""
    if passed:
        return "✓"
    elsewhere = {"half the modes": number in FIDELITY | COPIES, "copies": number not in COPIES}
    asked = not (elsewhere.get(name, False) or (number in COPIES and name in ("blur", "noise", "5% outliers")))
    return "✗" if asked else "(✗)"
