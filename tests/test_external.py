"""Images from elsewhere: `evaluate` on folders, arrays and trials, `sample`, and every wrong input in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Bench, Ended
from PIL import Image

from aegen_bench import data

DIGITS = data.Recipe(source="digits")


def real(bench: Bench, split: data.Split = "train", n: int = 64) -> np.ndarray:
    return np.array(data.load("digits", DIGITS, bench.data, split)[:n])


def save(folder: Path, images: np.ndarray, mode: str = "L", ending: str = "png") -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image[0]).convert(mode).save(folder / f"{i:03}.{ending}")
    return folder


def score(bench: Bench, path: Path | str, *args: str, dataset: str = "digits") -> Ended:
    return bench("evaluate", str(path), "--dataset", dataset, "--protocol", "tiny", *args)


def record(bench: Bench, name: str, dataset: str = "digits", seed: int = 0) -> dict[str, Any]:
    return json.loads((bench.folder / f"results/external/{dataset}/{name}/seed-{seed}/record.json").read_text())


def fd(found: dict[str, Any]) -> float:
    (entry,) = found["metrics"].values()
    return entry["draws"][0]["fd"]


def refused(ended: Ended, *said: str) -> None:
    assert ended.code == 2 and ended.err.count("\n") == 1 and ended.err.startswith("aegen-bench: "), ended.err
    for words in said:
        assert words in ended.err


# ---- what is scored --------------------------------------------------------------------------------------


def test_a_folder_of_images_is_scored_and_joins_the_table_of_its_dataset_and_protocol(finished: Bench) -> None:
    folder = save(finished.folder / "mine", real(finished))
    ended = score(finished, folder)
    assert ended.code == 0 and "64 images a side" in ended.out and "lower is better" in ended.out
    found = record(finished, "mine")
    assert (found["profile"], found["row"], found["status"]) == ("external", "mine", "ok")
    assert set(found["metrics"]) == set(finished.record("glf")["metrics"])
    table = finished("report", "--profile", "tiny", "--tables", "1").out
    (line,) = (line for line in table.splitlines() if line.startswith("| mine (external)"))
    assert f" {fd(found):.1f} (1) " in line or f" {fd(found):.3f} (1) " in line
    assert table.index("GLF") < table.index("mine (external)") < table.index("training images (floor)")
    assert "made elsewhere" in table and "noise (ceiling)" in table
    alone = finished("report", "--profile", "external", "--tables", "1,5").out
    assert "Profile external" in alone and "mine" in alone and "Table 5" not in alone


def test_a_folder_an_npz_and_an_npy_of_the_same_images_have_the_same_scores(finished: Bench) -> None:
    images = real(finished)
    save(finished.folder / "png", images)
    save(finished.folder / "colour", images, "RGB")  # grey saved with three equal channels
    np.savez(finished.folder / "adm.npz", arr_0=images.transpose(0, 2, 3, 1), labels=np.zeros(64))
    np.savez(finished.folder / "grey.npz", images[:, 0])
    np.save(finished.folder / "floats.npy", images / np.float32(255))
    for path in ("png", "colour", "adm.npz", "grey.npz", "floats.npy"):
        assert score(finished, path).code == 0, path
    scores = [record(finished, name)["metrics"] for name in ("png", "colour", "adm", "grey", "floats")]
    drawn = [[entry["draws"] for entry in metrics.values()] for metrics in scores]
    assert drawn[1:] == drawn[:-1]


def test_of_more_images_a_seeded_subset_in_name_order_and_of_fewer_a_count(finished: Bench) -> None:
    save(finished.folder / "many", real(finished, n=80))
    ended = score(finished, "many")
    assert "64 of 80 images" in ended.err and ended.code == 0
    first = fd(record(finished, "many"))
    refused(score(finished, "many", "--count", "100"), "holds 80 images", "takes 100", "--count 80")
    assert score(finished, "many", "--count", "50").code == 0
    ids = list(record(finished, "many")["metrics"])
    assert len(set(ids)) == 2, "another count is another protocol"
    assert score(finished, "many", "--results", "again").code == 0
    again = json.loads((finished.folder / "again/external/digits/many/seed-0/record.json").read_text())
    assert fd(again) == first


def test_scored_again_nothing_is_computed_and_other_images_keep_the_old_record_aside(finished: Bench) -> None:
    folder = save(finished.folder / "mine", real(finished))
    score(finished, folder)
    place = finished.folder / "results/external/digits/mine/seed-0"
    before = (place / "record.json").read_bytes()
    assert score(finished, folder).code == 0 and (place / "record.json").read_bytes() == before
    shutil.rmtree(folder)
    save(folder, real(finished, "test"))
    assert score(finished, folder).code == 0
    assert [path.read_bytes() for path in place.glob("record.*.1.json")] == [before]
    assert score(finished, folder, "--name", "other", "--seed", "3").code == 0
    assert record(finished, "other", seed=3)["seed"] == 3


def test_two_folders_against_each_other(finished: Bench) -> None:
    a, b = save(finished.folder / "a", real(finished)), save(finished.folder / "b", real(finished, "test"))
    ended = finished("evaluate", str(a), "--against", str(b), "--protocol", "tiny")
    assert ended.code == 0 and "against vs_b" in ended.out
    same = finished("evaluate", str(b), "--against", str(b), "--protocol", "tiny")
    assert same.code == 0 and fd(record(finished, "b", "vs_b")) < 1e-6 < fd(record(finished, "a", "vs_b"))


def test_a_trial_is_completed_by_a_named_protocol_and_trains_nothing(finished: Bench) -> None:
    before = finished.record("glf")
    trial = "results/tiny/digits/glf/seed-0"
    ended = finished("evaluate", "--trial", trial, "--protocol", "other")
    assert ended.code == 0 and "Protocol" in ended.out and "fd" in ended.out
    after = finished.record("glf")
    assert len(after["metrics"]) == 2 and {**after, "metrics": before["metrics"]} == before
    assert finished("evaluate", "--trial", trial).code == 0, "nothing lacks, nothing changes"
    assert finished.record("glf") == after
    refused(finished("evaluate", "--trial", "results/tiny/digits/glf/seed-9"), "no record at")
    refused(finished("evaluate", "--trial", trial, "--protocol", "othr"), "did you mean 'other'?")
    shutil.rmtree(finished.data / "weights")
    refused(finished("evaluate", "--trial", trial, "--protocol", "smoke"), "no weights", "--retrain")


def test_samples_of_a_trial_are_the_images_that_were_scored(finished: Bench) -> None:
    assert finished("sample", "glf", "--dataset", "digits", "-n", "64", "--out", "drawn").code == 0
    assert len(list((finished.folder / "drawn").glob("*.png"))) == 64
    assert finished("sample", "glf", "--dataset", "digits", "-n", "64", "--out", "drawn.npz").code == 0
    assert score(finished, "drawn").code == score(finished, "drawn.npz", "--name", "packed").code == 0
    (entry,) = finished.record("glf")["metrics"].values()
    assert fd(record(finished, "drawn")) == fd(record(finished, "packed")) == entry["draws"][0]["fd"]
    finished("sample", "glf", "--dataset", "digits", "-n", "64", "--draw", "1", "--out", "more.npz")
    assert not np.array_equal(*(np.load(finished.folder / f)["images"] for f in ("drawn.npz", "more.npz")))
    refused(finished("sample", "glf", "--dataset", "digits", "--out", "drawn"), "drawn holds files already")
    refused(finished("sample", "glg", "--dataset", "digits", "--out", "x"), "profiles with it under results: none")
    refused(finished("sample", "glf", "--dataset", "digits", "--profile", "smoke", "--out", "x"), "no record at")


# ---- wrong input -----------------------------------------------------------------------------------------


def test_wrong_images_are_one_line_with_the_file_or_number_at_fault(finished: Bench) -> None:
    images = real(finished)
    small = save(finished.folder / "small", images[:63])
    refused(score(finished, small), "small holds 63 images, protocol tiny takes 64", "--count 63")
    mixed = save(finished.folder / "mixed", images)
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(mixed / "010.png")
    refused(score(finished, mixed), "010.png: expected 8x8 pixels, found 8x9")
    colour = save(finished.folder / "colours", images)
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(colour / "011.png")
    refused(score(finished, colour), "011.png: expected a grey image (1 channel), found a colour image")
    clear = save(finished.folder / "clear", images)
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(clear / "012.png")
    refused(score(finished, clear), "012.png: expected no transparency, found mode RGBA")
    cut = save(finished.folder / "cut", images)
    (cut / "013.png").write_bytes((cut / "013.png").read_bytes()[:40])
    refused(score(finished, cut), "013.png: expected a whole image")
    (finished.folder / "empty").mkdir()
    refused(score(finished, "empty"), "empty: no images directly in this folder")
    refused(score(finished, "nowhere"), "nowhere: no such folder or file")
    (finished.folder / "note.txt").write_text("images")
    refused(score(finished, "note.txt"), "note.txt: expected a folder of images, an .npz or an .npy")
    assert list((finished.folder / "results").rglob("external/**/record.json")) == [], "what was refused leaves nothing"


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": np.full((64, 8, 8), 2.0)}, "must lie in [0, 1]; these span [2, 2]"),
        ({"images": np.full((64, 8, 8), -0.1)}, "must lie in [0, 1]"),
        ({"images": np.zeros((64, 8, 8), np.int64)}, "found int64 (64, 8, 8)"),
        ({"images": np.zeros((64, 3, 8, 8), np.uint8)}, "do not fit (1, 8, 8)"),
        ({"images": np.zeros((64, 16, 16), np.uint8)}, "do not fit (1, 8, 8)"),
        ({"a": np.zeros((64, 8, 8), np.uint8), "b": np.zeros(64)}, "called images, samples or arr_0, found a, b"),
        ({"images": np.zeros(64, np.uint8)}, "found uint8 (64,)"),
    ],
)
def test_wrong_arrays_are_one_line(finished: Bench, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(finished.folder / "wrong.npz", **arrays)
    refused(score(finished, "wrong.npz"), "wrong.npz", said)


def test_a_wrong_request_is_one_line(finished: Bench) -> None:
    save(finished.folder / "mine", real(finished))
    (finished.folder / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    refused(score(finished, "broken.npz"), "broken.npz", "does not load")
    refused(score(finished, "mine", dataset="digts"), "did you mean 'digits'?")
    refused(score(finished, "mine", dataset="fashion"), "aegen-bench fetch fashion")
    refused(finished("evaluate", "mine", "--dataset", "digits", "--protocol", "tinny"), "did you mean 'tiny'?")
    refused(finished("evaluate", "mine", "--dataset", "digits", "--protocol", "paper"), "aegen-bench fetch inception")
    refused(finished("evaluate", "mine", "--dataset", "digits"), "--protocol NAME")
    refused(finished("evaluate", "mine", "--protocol", "tiny"), "either --dataset NAME or --against PATH")
    refused(finished("evaluate"), "say what to evaluate")
    refused(score(finished, "mine", "--count", "1"), "at least 2 images")
    refused(score(finished, "mine", "--device", "cuda:7"), "--device cuda:7")
