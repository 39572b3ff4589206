"""External images: `evaluate` on folders, arrays and trials, `sample`, and one-line messages for wrong input."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Bench, Ended
from PIL import Image

from aegen_bench import data, results
from aegen_bench.evaluation import metrics
from aegen_bench.trial import lifecycle, sampling

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
    assert "generated elsewhere" in table and "noise (ceiling)" in table
    alone = finished("report", "--profile", "external", "--tables", "1,5").out
    assert "Profile external" in alone and "mine" in alone and "Table 5" not in alone


def test_images_worse_than_noise_are_flagged_by_evaluate_and_below_the_table(finished: Bench) -> None:
    save(finished.folder / "white", np.full_like(real(finished), 255))
    assert "note: the distance is larger than that of uniform noise (" in score(finished, "white").out
    table = finished("report", "--profile", "tiny", "--tables", "1").out
    [line] = [
        line for line in table.splitlines() if "Caution: the distance is larger than that of uniform noise" in line
    ]
    assert "white (external) on digits" in line


@pytest.mark.slow
def test_a_folder_an_npz_and_an_npy_of_the_same_images_have_the_same_scores(finished: Bench) -> None:
    images = real(finished)
    save(finished.folder / "png", images)
    save(finished.folder / "colour", images, "RGB")  # grey saved with three equal channels
    save(finished.folder / "opaque", images, "RGBA")  # and with a fully opaque alpha channel
    np.savez(finished.folder / "adm.npz", arr_0=images.transpose(0, 2, 3, 1), labels=np.zeros(64))
    np.savez(finished.folder / "grey.npz", images[:, 0])
    np.save(finished.folder / "floats.npy", images / np.float32(255))
    for path in ("png", "colour", "opaque", "adm.npz", "grey.npz", "floats.npy"):
        assert score(finished, path).code == 0, path
    scores = [record(finished, name)["metrics"] for name in ("png", "colour", "opaque", "adm", "grey", "floats")]
    drawn = [[entry["draws"] for entry in metrics.values()] for metrics in scores]
    assert drawn[1:] == drawn[:-1]


@pytest.mark.slow
def test_a_seeded_subset_of_extra_images_is_scored_and_too_few_are_refused(finished: Bench) -> None:
    save(finished.folder / "many", real(finished, n=80))
    ended = score(finished, "many")
    assert "64 of 80 images" in ended.err and ended.code == 0
    first = fd(record(finished, "many"))
    refused(score(finished, "many", "--count", "100"), "has 80 images", "needs 100", "--count 80")
    assert score(finished, "many", "--count", "50").code == 0
    ids = list(record(finished, "many")["metrics"])
    assert len(set(ids)) == 2, "a different count makes a different protocol"
    assert score(finished, "many", "--results", "again").code == 0
    again = json.loads((finished.folder / "again/external/digits/many/seed-0/record.json").read_text())
    assert fd(again) == first


def test_the_same_images_are_not_scored_again_and_other_images_need_a_name(finished: Bench) -> None:
    folder = save(finished.folder / "mine", real(finished))
    score(finished, folder)
    place = finished.folder / "results/external/digits/mine/seed-0"
    before = (place / "record.json").read_bytes()
    assert score(finished, folder).code == 0 and (place / "record.json").read_bytes() == before
    shutil.rmtree(folder)
    save(folder, real(finished, "test"))
    refused(score(finished, folder), "mine/seed-0/record.json is the record of other images: use --name OTHER")
    assert (place / "record.json").read_bytes() == before and list(place.glob("record.*.json")) == []
    ended = score(finished, folder, "--name", "mine")
    (aside,) = place.glob("record.*.1.json")
    assert ended.code == 0 and aside.read_bytes() == before
    kept = aside.relative_to(finished.folder)
    assert ended.err.endswith(f"mine, seed 0: the record of other images is kept aside as {kept}\n")
    assert score(finished, folder, "--name", "other", "--seed", "3").code == 0
    assert record(finished, "other", seed=3)["seed"] == 3


def test_a_second_folder_of_the_same_name_needs_another_name(finished: Bench) -> None:
    for generator, split in (("gan", "train"), ("vae", "test")):
        save(finished.folder / generator / "samples", real(finished, split))
    assert score(finished, "gan/samples").code == 0
    refused(score(finished, "vae/samples"), "is the record of other images: use --name OTHER")
    assert score(finished, "vae/samples", "--name", "vae").code == 0
    assert score(finished, "gan/samples").code == 0, "the same images are accepted again"
    assert fd(record(finished, "samples")) != fd(record(finished, "vae"))


def test_the_name_is_the_one_that_was_typed(finished: Bench) -> None:
    save(finished.folder / "gan" / "samples", real(finished))
    (finished.folder / "mymodel").symlink_to("gan/samples")
    assert score(finished, "mymodel").code == 0
    assert record(finished, "mymodel")["row"] == "mymodel"
    assert score(finished, "gan/../gan/samples/").code == 0 and record(finished, "samples")


@pytest.mark.parametrize("name", [".x", "a/b", "..", "x" * 300, "a\nb"])
def test_a_name_that_cannot_be_a_folder_of_results_is_refused(finished: Bench, name: str) -> None:
    save(finished.folder / "mine", real(finished)[:2])
    refused(score(finished, "mine", "--name", name), "--name")


@pytest.mark.parametrize("name", [b".hidden", b"\xff"])
def test_a_folder_whose_name_cannot_be_used_asks_for_another(finished: Bench, name: bytes) -> None:
    folder = save(finished.folder / os.fsdecode(name), real(finished))
    refused(score(finished, folder), "--name")
    assert score(finished, folder, "--name", "mine").code == 0
    assert finished("report", "--profile", "tiny", "--tables", "1").code == 0


@pytest.mark.parametrize("against", ["{}/train", "{}/real.npy"])
def test_the_images_compared_with_are_named_by_the_last_two_parts_of_their_path(finished: Bench, against: str) -> None:
    for place, split in (("a", "train"), ("b", "test")):
        save(finished.folder / place / "test", real(finished, "test"))
        save(finished.folder / place / "train", real(finished, split))
        np.save(finished.folder / place / "real.npy", real(finished, split))
        where = against.format(place)
        ended = finished("evaluate", f"{place}/test", "--against", where, "--protocol", "tiny")
        assert ended.code == 0, ended.err
    last = "train" if against.endswith("train") else "real"
    assert fd(record(finished, "test", f"vs_b-{last}")) < 1e-6 < fd(record(finished, "test", f"vs_a-{last}"))


def test_the_default_name_is_the_whole_name_of_the_folder(finished: Bench) -> None:
    for name, split in (("s_beta0.5", "train"), ("s_beta0.7", "test")):
        assert score(finished, save(finished.folder / name, real(finished, split))).code == 0
    assert fd(record(finished, "s_beta0.5")) != fd(record(finished, "s_beta0.7"))


def test_two_folders_are_compared_with_each_other(finished: Bench) -> None:
    a, b = save(finished.folder / "a", real(finished)), save(finished.folder / "b", real(finished, "test"))
    ended = finished("evaluate", str(a), "--against", str(b), "--protocol", "tiny")
    vs_b = f"vs_{finished.folder.name}-b"
    assert ended.code == 0 and f"against {vs_b}" in ended.out
    same = finished("evaluate", str(b), "--against", str(b), "--protocol", "tiny")
    assert same.code == 0 and fd(record(finished, "b", vs_b)) < 1e-6 < fd(record(finished, "a", vs_b))


def test_a_named_protocol_is_added_to_a_trial_without_training(finished: Bench) -> None:
    before = finished.record("glf")
    trial = "results/tiny/digits/glf/seed-0"
    ended = finished("evaluate", "--trial", trial, "--protocol", "other")
    assert ended.code == 0 and "Protocol" in ended.out and "fd" in ended.out
    after = finished.record("glf")
    assert len(after["metrics"]) == 2 and {**after, "metrics": before["metrics"]} == before
    assert finished("evaluate", "--trial", trial).code == 0, "nothing is missing, so nothing changes"
    assert finished.record("glf") == after
    refused(finished("evaluate", "--trial", "results/tiny/digits/glf/seed-9"), "no record at")
    refused(finished("evaluate", "--trial", trial, "--protocol", "othr"), "did you mean 'other'?")
    shutil.rmtree(finished.data / "weights")
    refused(finished("evaluate", "--trial", trial, "--protocol", "smoke"), "no weights", "--retrain")


@pytest.mark.slow
def test_samples_of_a_trial_are_the_images_that_were_scored(finished: Bench) -> None:
    assert finished("sample", "glf", "--dataset", "digits", "-n", "64", "--out", "drawn").code == 0
    assert len(list((finished.folder / "drawn").glob("*.png"))) == 64
    assert finished("sample", "glf", "--dataset", "digits", "-n", "64", "--out", "drawn.npz").code == 0
    assert score(finished, "drawn").code == score(finished, "drawn.npz", "--name", "packed").code == 0
    (entry,) = finished.record("glf")["metrics"].values()
    assert fd(record(finished, "drawn")) == fd(record(finished, "packed")) == entry["draws"][0]["fd"]
    finished("sample", "glf", "--dataset", "digits", "-n", "64", "--draw", "1", "--out", "more.npz")
    assert not np.array_equal(*(np.load(finished.folder / f)["images"] for f in ("drawn.npz", "more.npz")))
    refused(finished("sample", "glf", "--dataset", "digits", "--out", "drawn"), "drawn exists already")
    refused(finished("sample", "glf", "--dataset", "digits", "--out", "drawn.npz"), "drawn.npz exists already")
    refused(finished("sample", "glg", "--dataset", "digits", "--out", "x"), "no finished trial under results")
    refused(finished("sample", "*", "--dataset", "digits", "--out", "x"), "no finished trial under results")
    refused(finished("sample", "../x", "--dataset", "digits", "--out", "x"), "cannot be the name of a folder")
    refused(finished("sample", "glf", "--dataset", "digits", "--profile", "smoke", "--out", "x"), "no record at")
    assert not (finished.folder / "x").exists()


def test_samples_that_cannot_all_be_written_leave_nothing(finished: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    written, save = [], Image.Image.save

    def full(image: Image.Image, path: Path) -> None:
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(path)
        save(image, path)

    monkeypatch.setattr(Image.Image, "save", full)
    ended = finished("sample", "glf", "--dataset", "digits", "-n", "9", "--out", "drawn")
    assert ended.code == 2 and ended.err.endswith("aegen-bench: cannot write drawn: No space left on device\n")
    assert len(written) == 5 and not list(finished.folder.glob("*drawn*"))


# ---- wrong input -----------------------------------------------------------------------------------------


def test_wrong_images_are_reported_in_one_line_with_the_file_or_number_at_fault(finished: Bench) -> None:
    images = real(finished)
    small = save(finished.folder / "small", images[:63])
    refused(score(finished, small), "small has 63 images, protocol tiny needs 64", "--count 63")
    mixed = save(finished.folder / "mixed", images)
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(mixed / "010.png")
    refused(score(finished, mixed), "010.png: expected 8x8 pixels, found 8x9")
    colour = save(finished.folder / "colours", images)
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(colour / "011.png")
    refused(score(finished, colour), "011.png: expected a grey image (1 channel), found a colour image")
    printed = save(finished.folder / "printed", images)
    Image.open(colour / "011.png").convert("CMYK").save(printed / "011.jpg")
    (printed / "011.png").unlink()
    refused(score(finished, printed), "011.jpg: expected a grey or RGB image, found mode CMYK")
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
    assert list((finished.folder / "results").rglob("external/**/record.json")) == [], "refused images leave no record"


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": np.full((64, 8, 8), 2.0)}, "must be in [0, 1]; these span [2, 2]"),
        ({"images": np.full((64, 8, 8), -0.1)}, "must be in [0, 1]"),
        ({"images": np.zeros((64, 8, 8), np.int64)}, "found int64 (64, 8, 8)"),
        ({"images": np.zeros((64, 3, 8, 8), np.uint8)}, "do not fit (1, 8, 8)"),
        ({"images": np.zeros((64, 16, 16), np.uint8)}, "do not fit (1, 8, 8)"),
        ({"a": np.zeros((64, 8, 8), np.uint8), "b": np.zeros(64)}, "called images, samples or arr_0, found a, b"),
        ({"images": np.zeros(64, np.uint8)}, "found uint8 (64,)"),
        ({"images": np.zeros((64, 8, 8, 4), np.uint8)}, "with 1 or 3 channels"),
        ({"images": np.full((64, 8, 8), np.nan)}, "must be in [0, 1]"),
        ({"images": np.zeros((1, 8, 8), np.uint8)}, "expected 2 images or more, found 1"),
        ({"c": np.zeros(3), "images": np.zeros((64, 16, 16), np.uint8)}, "do not fit (1, 8, 8)"),
    ],
)
def test_wrong_arrays_are_reported_in_one_line(finished: Bench, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(finished.folder / "wrong.npz", **arrays)
    refused(score(finished, "wrong.npz"), "wrong.npz", said)


@pytest.mark.slow
def test_a_wrong_request_is_reported_in_one_line(finished: Bench) -> None:
    save(finished.folder / "mine", real(finished))
    (finished.folder / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    refused(score(finished, "broken.npz"), "broken.npz", "does not load")
    (finished.folder / "inside").mkdir()
    save(finished.folder / "inside" / "deeper", real(finished)[:2])
    refused(score(finished, "inside"), "no images directly in this folder", "deeper has some")
    refused(score(finished, "mine", dataset="digts"), "did you mean 'digits'?")
    refused(score(finished, "mine", dataset="fashion"), "aegen-bench fetch fashion")
    refused(finished("evaluate", "mine", "--dataset", "digits", "--protocol", "tinny"), "did you mean 'tiny'?")
    refused(finished("evaluate", "mine", "--dataset", "digits", "--protocol", "paper"), "aegen-bench fetch inception")
    refused(finished("evaluate", "mine", "--dataset", "digits"), "--protocol NAME")
    refused(finished("evaluate", "mine", "--protocol", "tiny"), "either --dataset NAME or --against PATH")
    refused(finished("evaluate"), "nothing to evaluate")
    refused(
        finished("evaluate", "mine", "--trial", "results/tiny/digits/vae/seed-0"), "name images or --trial, not both"
    )
    refused(score(finished, "mine", "--count", "1"), "at least 2 images")
    refused(score(finished, "mine", "--device", "cuda:7"), "--device cuda:7")
    refused(score(finished, "mine", dataset="all"), "unknown dataset 'all'")
    refused(score(finished, "mine", "--name", "../up"), "'../up' cannot be the name of a folder")
    refused(score(finished, "mine", "--data", "broken.npz", dataset="fashion"), "no images under broken.npz")
    refused(score(finished, "mine", "--results", "broken.npz"), "cannot write to the folder broken.npz")
    assert score(finished, "mine", "--seed", "-1").code == 2
    own = ("evaluate", "mine", "--against", "mine", "--protocol", "lite_classifier")
    refused(finished(*own), "none for vs_work-mine: use another protocol")
    trial = ("evaluate", "--trial", "results/tiny/digits/glf/seed-0")
    refused(finished(*trial, "--count", "9"), "cannot be combined with --count")
    refused(finished(*trial, "--seed", "0", "--results", "results"), "cannot be combined with --seed, --results")
    refused(score(finished, "mine", "--weights", "weights"), "--weights is only for --trial")
    assert not (finished.folder / "results/external").exists()


def test_a_trial_whose_first_evaluation_finds_it_diverged_says_so(
    finished: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(job: Any) -> Any:
        record = results.read_record(job.record)
        record.status, record.reason, record.metrics = "diverged", "an image is not finite", {}
        return record

    monkeypatch.setattr(lifecycle, "evaluate", evaluate)
    ended = finished("evaluate", "--trial", "results/tiny/digits/vae/seed-0")
    assert ended.code == 1 and "vae on digits, seed 0 ended as diverged: an image is not finite" in ended.err


def test_images_and_anchors_are_not_trials_and_a_moved_trial_is_refused(finished: Bench) -> None:
    save(finished.folder / "mine", real(finished))
    score(finished, "mine")
    for place in ("external/digits/mine", "anchors/digits/floor"):
        refused(finished("evaluate", "--trial", f"results/{place}/seed-0"), "external images or an anchor")
    drawn = finished("sample", "mine", "--dataset", "digits", "--profile", "external", "--out", "x")
    refused(drawn, "external images or an anchor")
    shutil.copytree(finished.trial("glf"), finished.folder / "moved")
    refused(finished("evaluate", "--trial", "moved"), "moved is the record of tiny/digits/glf/seed-0: move it")


def test_a_weights_file_with_another_sha256_is_refused_before_anything_is_scored(finished: Bench) -> None:
    save(finished.folder / "mine", real(finished))
    file = finished.data / "weights" / "dinov2_vits14_pretrain.pth"
    file.write_bytes(b"other weights")
    ended = finished("evaluate", "mine", "--dataset", "digits", "--protocol", "dinov2_small")
    refused(ended, str(file), "expected sha256 b938bf1b", "delete it and run `aegen-bench fetch dinov2_small`")


# ---- failures, caches, images that change, interrupts ---------------------------------------------------


def test_a_failed_metric_is_recorded_reported_in_one_line_and_tried_again(
    finished: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(finished.folder / "few", real(finished, n=19))
    ended = score(finished, "few", "--count", "19")
    assert ended.code == 1 and "aegen-bench: failed: prd: recorded with the reason" in ended.err
    assert "PRD needs at least 20 images a set, there are 19" in ended.out
    assert "fd " in ended.out and "note: 19 images for 64 features: the covariance is singular" in ended.out
    (entry,) = record(finished, "few")["metrics"].values()
    assert set(entry["failed"]) == {"prd"} and set(entry["draws"][0]) == {"fd"}
    monkeypatch.setattr(metrics.load("prd"), "measure", lambda inputs: {"f8": 0.5, "f1_8": 0.5})
    assert score(finished, "few", "--count", "19").code == 0
    (entry,) = record(finished, "few")["metrics"].values()
    assert entry["failed"] == {} and entry["draws"][0].keys() == {"fd", "f8", "f1_8"}


def test_distances_are_computed_even_if_their_features_cannot_be_cached(
    finished: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    save(finished.folder / "mine", real(finished, n=40))
    shutil.rmtree(finished.data / "cache")
    (finished.data / "cache").write_text("no folder")
    ended = score(finished, "mine", "--count", "40")
    assert ended.code == 0 and fd(record(finished, "mine")) > 0
    assert "cannot cache" in caplog.text and "AEGEN_BENCH_CACHE" in caplog.text


def test_features_are_kept_in_the_cache_folder(finished: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    save(finished.folder / "mine", real(finished))
    monkeypatch.setenv("AEGEN_BENCH_CACHE", str(finished.folder / "kept"))
    before = set((finished.data / "cache").iterdir())
    assert score(finished, "mine", "--count", "40").code == 0
    assert len(list((finished.folder / "kept/cache").glob("*/real.npy"))) == 1
    assert set((finished.data / "cache").iterdir()) == before
    assert score(finished, "mine").code == 0, "the features in the data folder are used"
    assert len(list((finished.folder / "kept/cache").glob("*/real.npy"))) == 1


def test_other_real_images_under_an_old_name_are_not_taken_for_the_old_ones(finished: Bench) -> None:
    save(finished.folder / "mine", real(finished))
    command = ("evaluate", "mine", "--against", "here/real", "--protocol", "tiny")
    save(finished.folder / "here/real", real(finished))
    assert finished(*command).code == 0
    shutil.rmtree(finished.folder / "here")
    save(finished.folder / "here/real", real(finished, "test"))
    refused(finished(*command), "is the record of other images")
    assert finished(*command, "--name", "mine").code == 0
    assert fd(record(finished, "mine", "vs_here-real")) > 1e-3
    (aside,) = (finished.folder / "results/external/vs_here-real/mine/seed-0").glob("record.*.1.json")
    assert fd(json.loads(aside.read_text())) < 1e-6, "the first folder held the same images as the scored one"


def test_real_images_in_grey_with_alpha_count_as_grey(finished: Bench) -> None:
    save(finished.folder / "mine", real(finished))
    save(finished.folder / "real", real(finished), "LA")
    assert finished("evaluate", "mine", "--against", "real", "--protocol", "tiny").code == 0


def test_ctrl_c_is_reported_in_one_line_and_leaves_nothing(finished: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from aegen_bench.evaluation.metrics import prd

    def interrupted(inputs: Any) -> None:
        raise KeyboardInterrupt

    save(finished.folder / "mine", real(finished))
    with monkeypatch.context() as patch:
        patch.setattr(prd, "measure", interrupted)
        ended = score(finished, "mine")
    assert ended.code == 130 and "aegen-bench: stopped; what was recorded is kept" in ended.err
    assert not (finished.folder / "results/external").exists()
    assert score(finished, "mine").code == 0


def test_ctrl_c_while_sampling_says_that_nothing_was_written(finished: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sampling, "generate", interrupted)
    ended = finished("sample", "glf", "--dataset", "digits", "--out", "drawn")
    assert ended.code == 130 and "aegen-bench: stopped; no images were written\n" in ended.err
    assert not (finished.folder / "drawn").exists()
