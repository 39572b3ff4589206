from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_data import CELEBA, cached, random_images, write_celeba, write_idx, write_npz, write_png
from pydantic import ValidationError

from aegen_bench import data
from aegen_bench.data import Recipe, folders
from aegen_bench.errors import MissingError, UserError


def test_the_cache_is_mapped_read_only_and_described_by_its_json(tmp_path: Path) -> None:
    write_npz(tmp_path)
    recipe = Recipe(source="npz")
    images = data.load("toy", recipe, tmp_path, "train")
    assert isinstance(images, np.memmap) and not images.flags.writeable
    note = json.loads(cached(tmp_path).with_suffix(".json").read_text())
    assert note["shape"] == [7, 3, 8, 8] and Recipe(**note["recipe"]) == recipe
    sha256 = hashlib.sha256(images.tobytes()).hexdigest()
    assert note["sha256"] == data.fingerprint("toy", recipe, tmp_path, "train") == sha256
    assert cached(tmp_path).parent.name == f"toy-{recipe.digest}"


def test_an_intact_cache_is_not_made_again(tmp_path: Path) -> None:
    write_npz(tmp_path)
    data.load("toy", Recipe(source="npz"), tmp_path, "train")
    before = cached(tmp_path).stat()
    data.load("toy", Recipe(source="npz"), tmp_path, "train")
    after = cached(tmp_path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_cache_is_used_without_its_source_and_with_new_file_times(tmp_path: Path) -> None:
    path = write_npz(tmp_path)
    for split in ("train", "test"):
        before = data.load("toy", Recipe(source="npz"), tmp_path, split).copy()  # type: ignore[arg-type]
    path.unlink()
    os.utime(cached(tmp_path, "test"), ns=(1, 1))
    assert data.missing("toy", Recipe(source="npz"), tmp_path) is None
    np.testing.assert_array_equal(data.load("toy", Recipe(source="npz"), tmp_path, "test"), before)


@pytest.mark.parametrize("damage", ["flipped byte", "truncated", "no json", "broken json", "leftover part"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    write_npz(tmp_path)
    before = data.load("toy", Recipe(source="npz"), tmp_path, "train").copy()
    array = cached(tmp_path)
    raw = array.read_bytes()
    if damage == "flipped byte":
        array.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif damage == "truncated":
        array.write_bytes(raw[:-100])
    elif damage == "no json":
        array.with_suffix(".json").unlink()
    elif damage == "broken json":
        array.with_suffix(".json").write_text('{"sha256": ')
    else:
        array.unlink()
        array.with_suffix(".part").write_bytes(raw[:150])
    np.testing.assert_array_equal(data.load("toy", Recipe(source="npz"), tmp_path, "train"), before)
    assert not array.with_suffix(".part").exists()


def test_a_damaged_cache_without_its_source_counts_as_missing(tmp_path: Path) -> None:
    path = write_npz(tmp_path)
    data.load("toy", Recipe(source="npz"), tmp_path, "train")
    path.unlink()
    cached(tmp_path).write_bytes(b"")
    with pytest.raises(MissingError, match=r"toy: no .*toy\.npz; put it there"):
        data.load("toy", Recipe(source="npz"), tmp_path, "train")


def test_a_changed_source_is_read_again_and_a_corrupt_one_leaves_the_cache_alone(tmp_path: Path) -> None:
    recipe, new = Recipe(source="npz"), random_images(9, 8, 8, 3, seed=5)
    path = write_npz(tmp_path)
    data.load("toy", recipe, tmp_path, "train")
    write_npz(tmp_path, x_train=new)
    np.testing.assert_array_equal(data.load("toy", recipe, tmp_path, "train"), new.transpose(0, 3, 1, 2))
    path.write_bytes(b"damaged")
    kept = cached(tmp_path).read_bytes()
    with pytest.raises(UserError, match=r"toy\.npz: expected"):
        data.load("toy", recipe, tmp_path, "train")
    assert cached(tmp_path).read_bytes() == kept


def test_an_interrupted_preparation_leaves_nothing_behind(tmp_path: Path) -> None:
    write_celeba(tmp_path)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.load("celeba", CELEBA, tmp_path, "train", progress=interrupt)
    assert [p.name for p in tmp_path.glob("prepared/*/*") if p.suffix != ".lock"] == []


@pytest.mark.slow
def test_processes_that_prepare_the_same_set_at_once_agree(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    script = (
        "import sys, pathlib; from aegen_bench.data import Recipe, fingerprint;"
        "recipe = Recipe.model_validate_json(sys.argv[1]);"
        "print(fingerprint('celeba', recipe, pathlib.Path(sys.argv[2]), 'train'))"
    )
    command = [sys.executable, "-c", script, CELEBA.model_dump_json(), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {process.communicate(timeout=300)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert found == {data.fingerprint("celeba", CELEBA, tmp_path, "train")}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_reported_before_the_images_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    write_npz(tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"they take 1\.3 kB\): .*AEGEN_BENCH_CACHE") as error:
        data.load("toy", Recipe(source="npz"), tmp_path, "train")
    assert os.strerror(number) in str(error.value)
    assert not [path for path in (tmp_path / "prepared").rglob("*") if path.suffix in (".npy", ".part", ".json")]


def test_images_are_written_in_full_where_space_cannot_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npz(tmp_path)
    monkeypatch.delattr(os, "posix_fallocate")
    images = data.load("toy", Recipe(source="npz"), tmp_path, "train")
    np.testing.assert_array_equal(images, np.load(path)["x_train"].transpose(0, 3, 1, 2))


def test_a_cache_elsewhere_keeps_two_data_folders_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    cache = tmp_path / "cache"
    monkeypatch.setenv("AEGEN_BENCH_CACHE", str(cache))
    expected = []
    for seed, folder in enumerate(folders):
        folder.mkdir()
        expected.append(random_images(7, 8, 8, 3, seed=seed))
        write_npz(folder, x_train=expected[-1])
    for folder, images in zip(folders, expected, strict=True):
        for _ in range(2):
            for split in ("train", "test"):
                loaded = data.load("toy", Recipe(source="npz"), folder, split)  # type: ignore[arg-type]
                if split == "train":
                    np.testing.assert_array_equal(loaded, images.transpose(0, 3, 1, 2))
        assert not (folder / "prepared").exists()
    assert len(list(cache.glob("prepared/toy-*"))) == 2
    for folder in folders:
        (folder / "toy.npz").unlink()
        assert data.missing("toy", Recipe(source="npz"), folder) is None, "the prepared images are enough"
    assert data.missing("toy", Recipe(source="npz"), tmp_path / "three") is not None


def test_images_prepared_in_the_data_folder_are_used_with_a_cache_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_npz(tmp_path)
    for split in ("train", "test"):
        data.load("toy", Recipe(source="npz"), tmp_path, split)  # type: ignore[arg-type]
    monkeypatch.setenv("AEGEN_BENCH_CACHE", str(tmp_path / "elsewhere"))
    data.load("toy", Recipe(source="npz"), tmp_path, "train")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("xdg", [True, False])
def test_a_read_only_data_folder_has_its_cache_in_the_users_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xdg: bool
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if xdg:
        monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    folder = tmp_path / "data"
    folder.mkdir()
    write_npz(folder)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(folder)))
    data.load("toy", Recipe(source="npz"), folder, "train")
    assert sorted(path.name for path in folder.iterdir()) == ["toy.npz"]
    place = home / ("xdg" if xdg else ".cache") / "aegen-bench"
    assert folders.cache_folder(folder) == place and list(place.glob("prepared/toy-*/train.npy"))


def test_an_unknown_home_folder_is_an_error_unless_the_data_folder_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "AEGEN_BENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(UserError, match="the home folder is unknown: set HOME"):
        data.default_folder()
    monkeypatch.setenv("AEGEN_BENCH_DATA", "/somewhere")
    assert data.default_folder() == Path("/somewhere")


@pytest.mark.parametrize("named", ["data folder", "one of its folders"])
def test_a_folder_that_cannot_be_listed_is_skipped_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, named: str
) -> None:
    lost = tmp_path / ("lost+found" if named == "one of its folders" else "")
    write_png(tmp_path / "mine" / "0.png", random_images(8, 8))
    (tmp_path / "lost+found").mkdir()
    listed = os.scandir, os.listdir

    def refuse(path: object = ".") -> object:
        if Path(str(path)) == lost:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed[0](path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "listdir", lambda path: [entry.name for entry in refuse(path)])  # type: ignore[attr-defined]
    found = data.discover(tmp_path)
    assert list(found) == (["mine"] if named == "one of its folders" else [])
    assert "cannot be listed: Permission denied" in caplog.text and str(lost) in caplog.text


@pytest.mark.parametrize(
    ("name", "recipe", "hint"),
    [
        ("fashion", Recipe(source="fashion"), r"`aegen-bench fetch fashion --data .*nowhere` downloads them \(or put"),
        ("celeba", CELEBA, r"`aegen-bench fetch celeba --data .*nowhere` downloads them"),
        ("toy", Recipe(source="npz"), r"no .*toy\.npz; put it there"),
        ("toy", Recipe(source="folder"), r"no images in .*toy; put them there"),
    ],
)
def test_the_error_for_missing_data_says_in_one_line_how_to_get_them(
    tmp_path: Path, name: str, recipe: Recipe, hint: str
) -> None:
    told = data.missing(name, recipe, tmp_path / "nowhere")
    assert told is not None and "\n" not in told
    with pytest.raises(MissingError, match=hint) as error:
        data.load(name, recipe, tmp_path / "nowhere", "train")
    assert str(error.value) == told


def test_nothing_is_missing_if_the_sources_exist(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    write_idx(tmp_path, "train", random_images(2, 28, 28))
    assert data.missing("celeba", CELEBA, tmp_path) is None
    assert data.missing("digits", Recipe(source="digits"), tmp_path) is None
    assert data.missing("fashion", Recipe(source="fashion"), tmp_path) is not None, "there is no test split yet"
    write_idx(tmp_path, "t10k", random_images(2, 28, 28))
    assert data.missing("fashion", Recipe(source="fashion"), tmp_path) is None


def test_discover_finds_the_users_data_and_nothing_else(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    write_npz(tmp_path, "arrays")
    write_npz(tmp_path, "both")
    for name in ("both", "flat", "split/train", "prepared", "weights", "cache", ".hidden"):
        write_png(tmp_path / name / "0.png", random_images(8, 8))
    (tmp_path / "empty").mkdir()
    npz, folder = Recipe(source="npz"), Recipe(source="folder")
    assert data.discover(tmp_path) == {"arrays": npz, "both": npz, "flat": folder, "split": folder}
    assert data.discover(tmp_path / "nowhere") == {}


def test_a_failed_download_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def no_network(self: object, root: Path, download: bool) -> None:
        raise RuntimeError("first mirror:\nno route to host")

    monkeypatch.setattr(datasets.FashionMNIST, "__init__", no_network)
    with pytest.raises(UserError) as error:
        data.fetch("fashion", Recipe(source="fashion"), tmp_path)
    assert str(error.value).endswith("failed: RuntimeError: first mirror: no route to host")


def test_fetch_says_when_there_is_nothing_to_fetch(tmp_path: Path) -> None:
    write_npz(tmp_path, "cifar10")
    assert "scikit-learn" in data.fetch("digits", Recipe(source="digits"), tmp_path)
    assert "cifar10.npz are used" in data.fetch("cifar10", Recipe(source="cifar10"), tmp_path)
    with pytest.raises(MissingError, match="put them there"):
        data.fetch("toy", Recipe(source="folder"), tmp_path)


def test_recipes_have_different_digests_and_refuse_settings_without_effect() -> None:
    others = (Recipe(source="celeba", crop=140, size=64), Recipe(source="mnist"))
    assert len({CELEBA.digest, *(recipe.digest for recipe in others)}) == 3
    # A digest is part of the names of folders that stay on disk, so it must not change over time.
    assert CELEBA.digest == "3479cfeab253"
    tf1 = {"source": "npz", "resize": "tf1_bilinear"}
    for wrong in ({"source": "mnist", "crop": 20}, tf1, {"source": "nowhere"}):
        with pytest.raises(ValidationError):
            Recipe(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Recipe(source="folder", size=30)


def test_importing_data_weights_and_doctor_imports_no_heavy_package() -> None:
    script = "import sys, aegen_bench.data, aegen_bench.weights, aegen_bench.commands.doctor; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "torchvision", "sklearn", "scipy", "pandas", "PIL"} & set(found.stdout.split())


def test_the_shape_of_the_training_split_is_known_before_and_after_it_is_prepared(tmp_path: Path) -> None:
    recipe = Recipe(source="npz")
    write_npz(tmp_path, "mine", x_train=random_images(7, 12, 12, 3), x_test=random_images(2, 12, 12, 3))
    assert data.shape("mine", recipe, tmp_path, "train") == (7, 3, 12, 12)
    assert not (tmp_path / "prepared").exists()
    assert data.load("mine", recipe, tmp_path, "train").shape == data.shape("mine", recipe, tmp_path, "train")
    (tmp_path / "mine.npz").write_bytes(b"no archive")
    assert data.shape("mine", recipe, tmp_path, "train") == (7, 3, 12, 12), "the shape is taken from the cache"
