"""The script that trains the networks of the extractor `classifier`, on a few synthetic images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from aegen_bench import seeding
from aegen_bench.errors import MissingError, UserError
from aegen_bench.evaluation import train_classifier
from aegen_bench.evaluation.train_classifier import PLANS, Plan, augmented, main


def bars(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n grey 12 x 12 images of noise, with a bright row or column that shows the class, and their classes."""
    draw = np.random.default_rng(seed)
    classes = draw.integers(10, size=n).astype(np.uint8)
    images = draw.integers(100, size=(n, 12, 12)).astype(np.uint8)
    for image, k in zip(images, classes, strict=True):
        (image if k < 5 else image.T)[2 * (k % 5) + 1] = 255
    return images, classes


def write(folder: Path, **changes: np.ndarray) -> None:
    (x_train, y_train), (x_test, y_test) = bars(640, 0), bars(200, 1)
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test, **changes}
    np.savez(folder / "mnist.npz", **{name: array for name, array in arrays.items() if array is not None})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that trains on `bars`, with the given arrays replaced, and returns the file of weights."""
    monkeypatch.setitem(PLANS, "mnist", Plan(3, 0, False))  # a shift would change what the bars mean

    def trained(*options: str, **changes: np.ndarray) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        write(folder, **changes)
        return main(["mnist", "--data", str(folder), "--out", str(folder), *options])

    return trained


def test_the_script_trains_reports_and_writes_a_file_for_the_extractor(run, capsys) -> None:
    file = run()
    out = capsys.readouterr().out
    with safe_open(file, "pt") as held:
        about = held.metadata()
    assert float(about["test_accuracy"]) > 0.9
    assert f"test accuracy {float(about['test_accuracy']):.4f} on 200 images, trained on 640" in out
    assert hashlib.sha256(file.read_bytes()).hexdigest() in out
    assert {
        "dataset": "mnist",
        "n_train": "640",
        "n_test": "200",
        "epochs": "3",
        "seed": "0",
    }.items() <= about.items()
    assert about["command"].endswith("train_classifier mnist --epochs 3 --seed 0")
    network = train_classifier.Classifier()
    network.load_state_dict(load_file(file))
    assert sum(parameter.numel() for parameter in network.parameters()) <= 400_000


def test_the_weights_are_reproducible_and_independent_of_test_images_and_labels(run) -> None:
    first = load_file(run("--epochs", "1"))
    other = bars(200, 2)
    again = load_file(run("--epochs", "1", x_test=other[0], y_test=other[1][::-1]))
    assert all(torch.equal(first[name], again[name]) for name in first)
    seeded = load_file(run("--epochs", "1", "--seed", "1"))
    assert not torch.equal(first["head.weight"], seeded["head.weight"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y_train": None}, "mnist.npz has no y_train"),
        ({"y_train": np.zeros(639, np.uint8)}, "expected 640 whole numbers from 0 to 9"),
        ({"y_train": np.full(640, 10, np.uint8)}, "expected 640 whole numbers from 0 to 9"),
        ({"y_train": np.full(640, "x")}, "expected 640 whole numbers from 0 to 9"),
        ({"y_train": np.full(640, None)}, "holds Python objects, which are never unpickled"),
    ],
)
def test_images_without_classes_are_refused(run, changes, said) -> None:
    with pytest.raises(UserError, match=said):
        run(**changes)


def test_missing_images_are_reported_with_how_to_fetch_them(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="aegen-bench fetch mnist"):
        main(["mnist", "--data", str(tmp_path)])
    with pytest.raises(MissingError, match="aegen-bench fetch fashion"):
        main(["fashion", "--data", str(tmp_path)])


def test_augmentation_shifts_on_black_and_mirrors_if_the_plan_says_so() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(1, 256, size=(400, 3, 6, 5)).astype(np.uint8))
    padded = torch.nn.functional.pad(images, [2] * 4)
    for mirror in (False, True):
        changed = augmented(images, Plan(1, 2, mirror), seeding.stream(0, "test"))
        assert changed.shape == images.shape and changed.dtype == torch.uint8
        found = set()
        for x, whole in zip(changed, padded, strict=True):
            at = [
                (top, left, flipped)
                for flipped in (False, True)
                for top in range(5)
                for left in range(5)
                if torch.equal(x.flip(2) if flipped else x, whole[:, top : top + 6, left : left + 5])
            ]
            assert len(at) == 1
            found.add(at[0])
        assert len(found) == (50 if mirror else 25), "expected every shift, mirrored and not"
