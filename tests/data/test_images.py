from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_data import CELEBA, random_images, write_celeba, write_png
from PIL import Image

from aegen_bench import data
from aegen_bench.data import Recipe
from aegen_bench.data.images import tf1_bilinear
from aegen_bench.errors import UserError


@pytest.mark.parametrize(
    ("crop", "rows", "columns"),
    [(160, (29, 189), (9, 169)), (128, (45, 173), (25, 153)), (140, (39, 179), (19, 159))],
)
def test_celeba_crops_are_the_boxes_of_the_papers(
    tmp_path: Path, crop: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    decoded = write_celeba(tmp_path)
    images = data.load("celeba", Recipe(source="celeba", crop=crop), tmp_path, "test")
    expected = [x[slice(*rows), slice(*columns)].transpose(2, 0, 1) for x in decoded[9:]]
    np.testing.assert_array_equal(images, expected)


def test_celeba_follows_the_partition_file_and_reports_progress(tmp_path: Path) -> None:
    decoded = write_celeba(tmp_path)
    calls: list[tuple[int, int]] = []
    train = data.load("celeba", CELEBA, tmp_path, "train", progress=lambda *done: calls.append(done))
    box = (9, 29, 169, 189)
    bilinear = Image.Resampling.BILINEAR
    expected = [np.asarray(Image.fromarray(x).crop(box).resize((64, 64), bilinear)) for x in decoded[:8]]
    np.testing.assert_array_equal(train, np.transpose(expected, (0, 3, 1, 2)))
    assert calls == [(8, 8)]


def test_training_images_with_transparency_are_refused_like_scored_ones(tmp_path: Path) -> None:
    for i in range(10):
        alpha = np.full((8, 8, 1), 255 if i else 0, np.uint8)
        (tmp_path / "sprites").mkdir(exist_ok=True)
        Image.fromarray(np.concatenate([random_images(8, 8, 3), alpha], 2)).save(tmp_path / f"sprites/{i}.png")
    with pytest.raises(UserError, match=r"0\.png: expected no transparency, found mode RGBA"):
        data.load("sprites", Recipe(source="folder", size=8), tmp_path, "train")
    (tmp_path / "sprites/0.png").unlink()
    assert data.load("sprites", Recipe(source="folder", size=8), tmp_path, "train").shape == (8, 3, 8, 8)


def test_celeba_resized_by_tf1_bilinear_is_aliased(tmp_path: Path) -> None:
    decoded = write_celeba(tmp_path)
    recipe = CELEBA.model_copy(update={"resize": "tf1_bilinear"})
    test = data.load("celeba", recipe, tmp_path, "test")
    # 160 / 64 = 2.5, so every even output pixel is a copy of one source pixel.
    expected = [x[29:189:5, 9:169:5].transpose(2, 0, 1) for x in decoded[9:]]
    np.testing.assert_array_equal(test[:, :, ::2, ::2], expected)


def test_tf1_bilinear_has_its_origin_in_the_corner_and_no_antialiasing() -> None:
    row = np.array([[0, 10, 20, 30, 40]], np.uint8).repeat(5, axis=0)
    # The source columns are 0 and 2.5; the second is the mean of 20 and 30.
    np.testing.assert_array_equal(tf1_bilinear(row, 2), [[0, 25], [0, 25]])
    square = np.array([[0, 100], [50, 200]], np.uint8)
    # The source rows and columns are 0, 0.5, 1, 1.5; beyond the last pixel, it repeats. 87.5 is rounded to even.
    np.testing.assert_array_equal(
        tf1_bilinear(square, 4),
        [[0, 50, 100, 100], [25, 88, 150, 150], [50, 125, 200, 200], [50, 125, 200, 200]],
    )
    assert tf1_bilinear(square[..., None], 4).shape == (4, 4, 1)


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_bad_celeba_file_is_named_and_leaves_no_cache(tmp_path: Path, damage: str) -> None:
    write_celeba(tmp_path)
    path = tmp_path / "celeba/img_align_celeba/000005.jpg"
    raw = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError, match=r"000005\.jpg: expected"):
        data.load("celeba", CELEBA, tmp_path, "train")
    assert not [p for p in tmp_path.glob("prepared/*/*") if p.suffix != ".lock"]
    path.write_bytes(raw)
    assert data.load("celeba", CELEBA, tmp_path, "train").shape == (8, 3, 64, 64)


def test_a_bad_line_of_the_partition_file_is_named(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    path = tmp_path / "celeba/list_eval_partition.txt"
    path.write_text("000001.jpg 0\n000002.jpg 7\n")
    with pytest.raises(UserError, match=r"list_eval_partition\.txt:2: expected a file name and 0, 1 or 2"):
        data.load("celeba", CELEBA, tmp_path, "train")


def test_a_folder_with_train_and_test_keeps_them_apart(tmp_path: Path) -> None:
    train = [write_png(tmp_path / f"toy/train/{i}.png", random_images(8, 8, 3, seed=i)) for i in (0, 1)]
    test = [write_png(tmp_path / "toy/test/0.png", random_images(8, 8, 3, seed=9))]
    for split, images in (("train", train), ("test", test)):
        loaded = data.load("toy", Recipe(source="folder"), tmp_path, split)  # type: ignore[arg-type]
        np.testing.assert_array_equal(loaded, np.transpose(images, (0, 3, 1, 2)))


def test_the_last_tenth_of_a_flat_folder_is_its_test_split(tmp_path: Path) -> None:
    images = [write_png(tmp_path / f"toy/{i:02d}.png", random_images(8, 8, seed=i)) for i in range(20)]
    (tmp_path / "toy/notes.txt").write_text("no image")
    recipe = Recipe(source="folder")
    np.testing.assert_array_equal(data.load("toy", recipe, tmp_path, "train")[:, 0], images[:18])
    np.testing.assert_array_equal(data.load("toy", recipe, tmp_path, "test")[:, 0], images[18:])


def test_one_coloured_image_makes_the_whole_folder_coloured(tmp_path: Path) -> None:
    grey = write_png(tmp_path / "toy/train/0.png", random_images(8, 8))
    write_png(tmp_path / "toy/test/0.png", random_images(8, 8, 3))
    train = data.load("toy", Recipe(source="folder"), tmp_path, "train")
    np.testing.assert_array_equal(train, np.stack([grey] * 3)[None])


def test_a_folder_is_cropped_and_resized_to_the_declared_size(tmp_path: Path) -> None:
    for i in range(2):
        write_png(tmp_path / f"toy/{i}.png", random_images(20, 30, 3, seed=i))
    recipe = Recipe(source="folder", crop=16, size=8)
    with Image.open(tmp_path / "toy/0.png") as image:
        expected = np.asarray(image.crop((7, 2, 23, 18)).resize((8, 8), Image.Resampling.BILINEAR))
    train = data.load("toy", recipe, tmp_path, "train")
    np.testing.assert_array_equal(train[0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("shape", "recipe", "message"),
    [
        ((12, 12, 3), Recipe(source="folder"), r"2\.png: expected square images of one side .* found 12x12"),
        ((8, 12, 3), Recipe(source="folder"), r"2\.png: expected square .* found 12x8: declare a size"),
        ((8, 12, 3), Recipe(source="folder", size=8), r"2\.png: expected a square image, found 12x8"),
        ((4, 12, 3), Recipe(source="folder", crop=8), r"2\.png: expected at least the crop of 8, found 12x4"),
    ],
)
def test_the_first_image_of_a_wrong_size_is_named(
    tmp_path: Path, shape: tuple[int, ...], recipe: Recipe, message: str
) -> None:
    for i in range(20):
        write_png(tmp_path / f"toy/{i:02d}.png", random_images(*((8, 8, 3) if i != 12 else shape)))
    with pytest.raises(UserError, match=message):
        data.load("toy", recipe, tmp_path, "train")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_truncated_image_is_named_in_every_format(tmp_path: Path, suffix: str) -> None:
    for i in range(4):
        write_png(tmp_path / f"toy/{i}.{suffix}", random_images(32, 32, 3))
    path = tmp_path / f"toy/1.{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"1\.{suffix}: expected a whole image"):
        data.load("toy", Recipe(source="folder", size=16), tmp_path, "train")


def test_sixteen_bit_images_are_refused_not_clipped(tmp_path: Path) -> None:
    for i in range(2):
        path = tmp_path / f"toy/{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 60000, np.uint16)).save(path)
    with pytest.raises(UserError, match=r"[01]\.png: expected 8 bits per channel"):
        data.load("toy", Recipe(source="folder"), tmp_path, "train")
