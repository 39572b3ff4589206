from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from fake_data import CELEBA, Array, random_images, write_celeba, write_idx, write_npz, write_png

from aegen_bench import data
from aegen_bench.data import Recipe, sources
from aegen_bench.errors import UserError


def test_digits_are_the_1797_of_scikit_learn_each_in_one_split_at_full_contrast(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    recipe = Recipe(source="digits")
    train, test = (data.load("digits", recipe, tmp_path, split) for split in ("train", "test"))
    assert train.shape == (1297, 1, 8, 8) and test.shape == (500, 1, 8, 8)
    assert train.dtype == np.uint8 and train.max() == 255
    expected = [tuple(round(v * 255 / 16) for v in image.ravel()) for image in load_digits().images]
    assert sorted(map(tuple, np.concatenate([train, test]).reshape(1797, 64).tolist())) == sorted(expected)


def test_the_digits_split_never_changes(tmp_path: Path) -> None:
    assert data.fingerprint("digits", Recipe(source="digits"), tmp_path, "test").startswith("a3864cb7")


def test_idx_files_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    from torchvision.datasets.mnist import read_image_file

    for split, n in (("train", 9), ("t10k", 4)):
        write_idx(tmp_path, split, random_images(n, 28, 28, seed=n))
    for split, prefix in (("train", "train"), ("test", "t10k")):
        path = tmp_path / f"FashionMNIST/raw/{prefix}-images-idx3-ubyte"
        images = data.load("fashion", Recipe(source="fashion"), tmp_path, split)  # type: ignore[arg-type]
        np.testing.assert_array_equal(images[:, 0], read_image_file(str(path)).numpy())


def test_cifar_pickles_written_by_python_2_are_read_in_batch_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    batches = [random_images(4, 3072, seed=i) for i in range(6)]
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    known = []
    (tmp_path / "cifar-10-batches-py").mkdir()
    for name, batch in zip(names, batches, strict=True):
        raw = pickle.dumps({"data": batch}, protocol=2).replace(b"numpy._core.multi", b"numpy.core.multi")
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(raw)
        known.append([name, hashlib.md5(raw).hexdigest()])
    monkeypatch.setattr(CIFAR10, "train_list", known[:5])
    monkeypatch.setattr(CIFAR10, "test_list", known[5:])
    recipe = Recipe(source="cifar10", size=32)
    train = data.load("cifar10", recipe, tmp_path, "train")
    assert train.shape == (20, 3, 32, 32)
    np.testing.assert_array_equal(train.reshape(20, 3072), np.concatenate(batches[:5]))
    test = data.load("cifar10", recipe, tmp_path, "test")
    np.testing.assert_array_equal(test.reshape(4, 3072), batches[5])

    damaged = tmp_path / "cifar-10-batches-py/data_batch_3"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"data_batch_3: expected md5 .*`aegen-bench fetch cifar10 --data .*`"):
        data.load("cifar10", recipe, tmp_path, "train")


def test_an_npz_is_preferred_to_the_source_and_keeps_its_pixels(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", random_images(9, 28, 28))
    grey, colour = random_images(5, 12, 12), random_images(6, 12, 12, 3)
    write_npz(tmp_path, "fashion", x_train=grey, x_test=grey[:2])
    write_npz(tmp_path, "mine", x_train=colour, x_test=colour[:2])
    fashion = data.load("fashion", Recipe(source="fashion"), tmp_path, "train")
    np.testing.assert_array_equal(fashion, grey[:, None])
    mine = data.load("mine", Recipe(source="npz", size=12), tmp_path, "test")
    np.testing.assert_array_equal(mine, colour[:2].transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"x_train": np.zeros((4, 8, 8), np.float32)}, r"found x_train of float32 \(4, 8, 8\)"),
        ({"x_train": np.zeros((4, 3, 8, 8), np.uint8)}, r"found x_train of uint8 \(4, 3, 8, 8\)"),
        ({"x_test": np.zeros((4, 12, 12, 3), np.uint8)}, r"found \(8, 8, 3\) in x_train, \(12, 12, 3\) in"),
        ({k: np.zeros((4, 8, 12), np.uint8) for k in ("x_train", "x_test")}, r"found 4 of 8x12"),
        ({k: np.zeros((4, 10, 10), np.uint8) for k in ("x_train", "x_test")}, r"divisible by 4 .* 10x10"),
        ({k: np.zeros((0, 8, 8), np.uint8) for k in ("x_train", "x_test")}, r"found 0 of 8x8"),
        ({"x_train": np.array([None])}, r"toy\.npz: expected an npz file with x_train and x_test"),
    ],
)
def test_an_npz_that_does_not_fit_is_named_with_what_was_found(
    tmp_path: Path, arrays: dict[str, Array], found: str
) -> None:
    path = write_npz(tmp_path, **arrays)
    with pytest.raises(UserError, match=found) as error:
        data.load("toy", Recipe(source="npz"), tmp_path, "train")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["truncated", "noise", "empty", "bare array", "no x_test"])
def test_a_file_that_is_not_a_valid_npz_is_named(tmp_path: Path, damage: str) -> None:
    path = write_npz(tmp_path)
    raw = path.read_bytes()
    if damage == "bare array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "no x_test":
        np.savez(path, x_train=random_images(4, 8, 8))
    else:
        path.write_bytes({"truncated": raw[:200], "noise": b"\x80" * 200, "empty": b""}[damage])
    with pytest.raises(UserError, match=r"toy\.npz: expected an npz file with x_train and x_test, uint8"):
        data.load("toy", Recipe(source="npz"), tmp_path, "train")


def test_an_npz_of_images_not_of_the_declared_size_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path)
    with pytest.raises(UserError, match=r"toy\.npz: expected square images of side 16 .* found 7 of 8x8"):
        data.load("toy", Recipe(source="npz", size=16), tmp_path, "train")


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_a_truncated_idx_file_is_named(tmp_path: Path, keep: int) -> None:
    path = write_idx(tmp_path, "train", random_images(3, 28, 28))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=rf"train-images-idx3-ubyte: expected an idx .* found {keep} bytes"):
        data.load("fashion", Recipe(source="fashion"), tmp_path, "train")


# ---- data in the layouts that people have ------------------------------------------------------


def test_the_keys_of_medmnist_are_read(tmp_path: Path) -> None:
    train, test = random_images(5, 28, 28), random_images(3, 28, 28, seed=1)
    labels = np.zeros((5, 1), np.uint8)
    np.savez(tmp_path / "pneumonia.npz", train_images=train, val_images=test, test_images=test, train_labels=labels)
    for split, images in (("train", train), ("test", test)):
        loaded = data.load("pneumonia", Recipe(source="npz"), tmp_path, split)  # type: ignore[arg-type]
        np.testing.assert_array_equal(loaded[:, 0], images)


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "bmp"])
def test_a_folder_for_each_class_is_read_as_torchvision_reads_it(tmp_path: Path, suffix: str) -> None:
    from torchvision.datasets import ImageFolder

    for split in ("train", "test"):
        for label, count in (("cats", 3), ("dogs", 2)):
            for i in range(count):
                write_png(tmp_path / "pets" / split / label / f"{i}.{suffix}", random_images(8, 8, 3, seed=i))
    assert data.discover(tmp_path) == {"pets": Recipe(source="folder")}
    train = data.load("pets", Recipe(source="folder"), tmp_path, "train")
    theirs = ImageFolder(str(tmp_path / "pets/train"))
    np.testing.assert_array_equal(train, [np.asarray(image).transpose(2, 0, 1) for image, _ in theirs])


def test_an_image_moved_to_another_class_counts_only_if_the_order_changes(tmp_path: Path) -> None:
    for seed, label in enumerate(("cats", "dogs")):
        for split in ("train", "test"):
            write_png(tmp_path / "pets" / split / label / "1.png", random_images(8, 8, seed=seed))
    before = data.fingerprint("pets", Recipe(source="folder"), tmp_path, "train")
    (tmp_path / "pets/train/dogs/1.png").rename(tmp_path / "pets/train/cats/2.png")
    after = data.fingerprint("pets", Recipe(source="folder"), tmp_path, "train")
    assert after == before, "the same images in the same order"
    (tmp_path / "pets/train/cats/2.png").rename(tmp_path / "pets/train/cats/0.png")
    assert data.fingerprint("pets", Recipe(source="folder"), tmp_path, "train") != before


@pytest.mark.parametrize("place", ["cifar10/train/{}.png", "cifar10/train/frogs/{}.png", "cifar10/{}.png"])
def test_a_folder_named_like_a_declared_dataset_is_used(tmp_path: Path, place: str) -> None:
    images = [write_png(tmp_path / place.format(i), random_images(32, 32, 3, seed=i)) for i in range(5)]
    if "train" in place:
        write_png(tmp_path / place.replace("train", "test").format(0), random_images(32, 32, 3, seed=9))
    recipe = Recipe(source="cifar10")
    assert data.missing("cifar10", recipe, tmp_path) is None
    train = data.load("cifar10", recipe, tmp_path, "train")
    np.testing.assert_array_equal(train, np.transpose(images, (0, 3, 1, 2))[: len(train)])
    assert str(tmp_path / "cifar10") in data.fetch("cifar10", recipe, tmp_path)


LAYOUTS = {
    "torchvision": ("celeba/list_eval_partition.txt", "celeba/img_align_celeba"),
    "Kaggle": ("celeba/list_eval_partition.csv", "celeba/img_align_celeba/img_align_celeba"),
    "Kaggle in the data folder": ("list_eval_partition.csv", "img_align_celeba/img_align_celeba"),
    "official": ("CelebA/Eval/list_eval_partition.txt", "CelebA/Img/img_align_celeba"),
    "capital": ("CelebA/list_eval_partition.txt", "CelebA/img_align_celeba"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_celeba_is_found_wherever_an_archive_puts_it(tmp_path: Path, layout: str) -> None:
    write_celeba(tmp_path / "made")
    partition, images = (tmp_path / "data" / place for place in LAYOUTS[layout])
    expected = data.load("celeba", CELEBA, tmp_path / "made", "train").copy()
    lines = (tmp_path / "made/celeba/list_eval_partition.txt").read_text()
    images.parent.mkdir(parents=True)
    partition.parent.mkdir(parents=True, exist_ok=True)
    if partition.suffix == ".csv":
        lines = "image_id,partition\n" + lines.replace(" ", ",")
    partition.write_text(lines)
    (tmp_path / "made/celeba/img_align_celeba").rename(images)
    assert data.discover(tmp_path / "data") == {}
    assert "nothing to fetch" in data.fetch("celeba", CELEBA, tmp_path / "data")
    np.testing.assert_array_equal(data.load("celeba", CELEBA, tmp_path / "data", "train"), expected)


def test_a_folder_of_images_is_preferred_to_celebas_own_files(tmp_path: Path) -> None:
    write_celeba(tmp_path / "celeba")
    write_png(tmp_path / "celeba_crop128/train/1.png", random_images(64, 64, 3))
    recipe = Recipe(source="celeba", crop=128, size=64)
    assert sources.source("celeba_crop128", recipe, tmp_path) == "folder"
    assert sources.source("celeba", recipe, tmp_path) == "celeba"


def test_only_the_missing_part_of_an_incomplete_celeba_is_named(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    (tmp_path / "celeba/list_eval_partition.txt").unlink()
    told = data.missing("celeba", CELEBA, tmp_path)
    assert told is not None and str(tmp_path / "celeba/list_eval_partition.txt") in told
    assert "img_align" not in told
    nowhere = data.missing("celeba", CELEBA, tmp_path / "nowhere")
    assert nowhere is not None and "list_eval_partition.txt and no " in nowhere and "img_align_celeba" in nowhere


def test_a_partition_file_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    (tmp_path / "celeba/list_eval_partition.txt").write_text("../../secret.jpg 0\n")
    with pytest.raises(UserError, match=r"list_eval_partition\.txt:1: expected a file name"):
        data.load("celeba", CELEBA, tmp_path, "train")
