"""Exchange of results: pack and unpack, export, verify."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import Bench
from records import evaluation, make, put, timing

import aegen_bench
from aegen_bench.errors import MissingError, UserError
from aegen_bench.exchange.pack import open_trial
from aegen_bench.exchange.verify import Finding, verify
from aegen_bench.results import timings


@pytest.fixture
def packed(finished: Bench) -> Path:
    assert finished("pack", "results", "-o", "all.zip").code == 0
    return finished.folder / "all.zip"


# ---- pack and unpack ----------------------------------------------------------------------------


def test_unpacking_restores_what_was_packed(finished: Bench, packed: Path) -> None:
    ended = finished("unpack", "all.zip", "-o", "copy")
    assert ended.code == 0 and "3 trials" in ended.out and "weights of 3" in ended.out
    for row in ("vae", "rae_gmm", "glf"):
        for name in ("record.json", "history.json", "samples.png", "artefacts.npz"):
            ours = finished.trial(row) / name
            theirs = finished.folder / "copy" / ours.relative_to(finished.folder)
            assert theirs.read_bytes() == ours.read_bytes()
        assert (finished.folder / "copy" / "weights" / finished.weights(row).name).is_file()
    table = pd.read_parquet(finished.folder / "copy" / "frame.parquet")
    assert set(table["row"]) >= {"vae", "rae_gmm", "glf"} and "fd" in set(table["metric"])


def test_equal_results_make_identical_packs(finished: Bench, packed: Path) -> None:
    finished("pack", "results", "-o", "again.zip")
    assert (finished.folder / "again.zip").read_bytes() == packed.read_bytes()


def test_times_and_external_images_are_packed_with_the_trials_of_a_profile(tmp_path: Path, bench: Bench) -> None:
    root = bench.folder / "results"
    put(root, make(), make(profile="external", row="mine"), make(profile="smoke"))
    mine, _ = (timings.write(root, timing("glf", 8.0, profile=profile)) for profile in ("lite", "smoke"))
    ended = bench("pack", "results", "--profile", "lite", "-o", "lite.zip")
    assert "1 trials, 0 with their weights, 1 other sets of images, 1 timing runs" in ended.out
    assert bench("unpack", "lite.zip", "-o", "copy").code == 0
    copied = {
        path.relative_to(bench.folder / "copy/results") for path in (bench.folder / "copy/results").rglob("*.json")
    }
    assert copied == {
        mine.relative_to(root),
        *(Path(name, "record.json") for name in ("lite/fashion/glf/seed-0", "external/fashion/mine/seed-0")),
    }


def test_a_model_is_loaded_from_a_pack(finished: Bench, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.folder)
    kept = aegen_bench.load(finished.trial("glf"), weights=finished.data / "weights")
    for words in ("glf/digits/0", "tiny/glf/digits/0"):
        loaded = aegen_bench.load(f"{packed}#{words}")
        assert all(
            torch.equal(a, b) for a, b in zip(kept.state_dict().values(), loaded.state_dict().values(), strict=True)
        )
    with pytest.raises(UserError, match="tiny/glf/digits/0"):
        aegen_bench.load(f"{packed}#glf/digits/7")


def test_a_pack_without_weights_says_so_and_loads_no_model(finished: Bench, tmp_path: Path) -> None:
    ended = finished("pack", "results", "-o", "light.zip", "--weights", str(tmp_path / "none"))
    assert ended.code == 0 and "3 trials have no weights" in ended.out
    with pytest.raises(UserError, match="no weights"):
        aegen_bench.load(f"{finished.folder / 'light.zip'}#glf/digits/0")


def rewritten(file: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> None:
    """Rewrite a pack after `change(members, manifest)` has modified its contents."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    change(members, manifest)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("manifest.json", json.dumps(manifest))


def _other_content(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    name = next(name for name in members if name.endswith("history.json"))
    members[name] += b" "


@pytest.mark.parametrize(
    "name", ["results/../../../../out/record.json", "{folder}/x.safetensors", "weights/run.sh", "evil.txt"]
)
def test_a_pack_whose_members_do_not_belong_there_is_refused_even_if_their_hashes_are_right(
    finished: Bench, packed: Path, name: str
) -> None:
    name = name.format(folder=finished.folder.parent)

    def added(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        members[name] = b"{}"
        manifest["files"][name] = hashlib.sha256(b"{}").hexdigest()

    before = {path for path in finished.folder.parent.rglob("*") if path.is_file()}
    rewritten(packed, added)
    ended = finished("unpack", "all.zip", "-o", "copy")
    assert ended.code == 2 and "does not belong in a pack" in ended.err
    assert {path for path in finished.folder.parent.rglob("*") if path.is_file()} == before


def _not_listed(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["weights/extra.safetensors"] = b""


def _later_format(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["format"] = 2


@pytest.mark.parametrize("change", [_other_content, _not_listed, _later_format])
def test_a_tampered_pack_is_refused_and_nothing_is_written(
    finished: Bench, packed: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]
) -> None:
    rewritten(packed, change)
    ended = finished("unpack", "all.zip", "-o", "copy")
    assert ended.code == 2 and ended.err.count("\n") == 1 and "all.zip" in ended.err
    assert not (finished.folder / "copy").exists()


@pytest.mark.parametrize("name", ["history.json", "samples.png", "manifest.json"])
def test_a_damaged_member_is_refused_and_nothing_is_written(finished: Bench, packed: Path, name: str) -> None:
    with zipfile.ZipFile(packed) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        damaged = next(info for info in archive.infolist() if info.filename.endswith(name))
    content = bytearray(packed.read_bytes())
    content[damaged.header_offset + 30 + len(damaged.filename)] = 0xFF  # the first byte: no such kind of block
    packed.write_bytes(content)
    ended = finished("unpack", "all.zip", "-o", "copy")
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert "all.zip" in ended.err and "cannot be read" in ended.err and "invalid block type" in ended.err
    assert not (finished.folder / "copy").exists()


def test_an_error_of_the_code_that_uses_a_pack_is_not_called_an_error_of_the_pack(packed: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^mine$"), open_trial(packed, "glf/digits/0"):
        raise RuntimeError("mine")


def test_a_link_is_not_packed_but_named(finished: Bench) -> None:
    image = finished.trial("glf") / "samples.png"
    image.rename(image.with_name("elsewhere.png"))
    image.symlink_to("elsewhere.png")
    ended = finished("pack", "results", "-o", "all.zip")
    told = f"aegen-bench: cannot read {image.relative_to(finished.folder)}: it is a link\n"
    assert (ended.code, ended.err) == (2, told) and not (finished.folder / "all.zip").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all"])
def test_a_file_that_is_not_a_pack_is_refused_in_one_line(finished: Bench, content: bytes) -> None:
    (finished.folder / "x.zip").write_bytes(content)
    ended = finished("unpack", "x.zip", "-o", "copy")
    assert ended.code == 2 and "x.zip" in ended.err and ended.err.count("\n") == 1


def test_pack_and_unpack_overwrite_nothing(finished: Bench, packed: Path) -> None:
    before = packed.read_bytes()
    assert finished("pack", "results", "-o", "all.zip").code == 2 and packed.read_bytes() == before
    (finished.folder / "there").mkdir()
    assert finished("unpack", "all.zip", "-o", "there").code == 2


def test_a_file_that_another_program_made_meanwhile_is_kept(finished: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (finished.folder / "all.zip").write_bytes(b"theirs")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert finished("pack", "results", "-o", "all.zip").code == 2
    assert (finished.folder / "all.zip").read_bytes() == b"theirs"


def test_without_trials_there_is_nothing_to_pack(bench: Bench) -> None:
    ended = bench("pack", "results", "-o", "all.zip")
    assert ended.code == 2 and "no trials" in ended.err and not (bench.folder / "all.zip").exists()


# ---- export ----------------------------------------------------------------------------------------


def test_tensorboard_reads_the_loss_and_the_scores_of_every_trial(finished: Bench) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    ended = finished("export", "results", "--to", "tensorboard", "-o", "runs")
    assert ended.code == 0 and "3 trials" in ended.out
    events = accumulator.EventAccumulator(str(finished.folder / "runs" / "tiny" / "digits" / "glf" / "seed-0"))
    events.Reload()
    history = json.loads((finished.trial("glf") / "history.json").read_text())
    (loss,) = events.Scalars("train/model/reconstruction")
    last = history["epochs"][-1]
    assert loss.value == pytest.approx(last["terms"]["model"]["reconstruction"], rel=1e-6)
    assert loss.step == last["images"]
    recorded = next(iter(finished.record("glf")["metrics"].values()))["draws"][0]["fd"]
    assert events.Scalars("score/tiny/fd")[0].value == pytest.approx(recorded, rel=1e-6)


def test_without_any_readable_history_each_damaged_one_is_named(finished: Bench) -> None:
    damaged = [finished.trial(row) / "history.json" for row in ("vae", "rae_gmm", "glf")]
    for path in damaged:
        path.write_text('{"epochs": 5}')
    ended = finished("export", "results", "-o", "runs")
    assert ended.code == 2 and "has a finished epoch" in ended.err
    for path in damaged:
        assert f"skipped: {path.parent.relative_to(finished.folder)}: 'epochs' cannot be 5" in ended.out


# ---- verify ----------------------------------------------------------------------------------------


def verdicts(bench: Bench, *options: str) -> dict[str, str]:
    ended = bench("verify", "results", *options)
    found = {line[6:23].strip(): line[:4].strip() for line in ended.out.splitlines()}
    assert ended.code == (1 if "fail" in found.values() else 0) and found
    return found


def change_record(bench: Bench, change: Callable[[dict[str, Any]], None]) -> None:
    path = bench.trial("glf") / "record.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_honest_results_pass_every_check_and_their_scores_are_measured_again(finished: Bench) -> None:
    found = verdicts(finished, "--reference", "results", "--weights", str(finished.data / "weights"))
    assert found.pop("leading group") == "open", "one seed per row"
    assert set(found.values()) == {"pass"}, found


def findings(root: Path) -> dict[str, Finding]:
    return {found.check: found for found in verify(root, data=root / "data")}


def test_rows_that_lead_with_too_few_seeds_are_left_open(tmp_path: Path) -> None:
    def leading(seeds: int) -> str:
        root = tmp_path / str(seeds)
        for row, distance in (("glf", 10.0), ("vae", 100.0)):
            metrics = [{"aaaaaaaaaaaa": evaluation([{"fd": distance + 0.1 * seed}])} for seed in range(seeds)]
            put(root, *(make(row=row, seed=seed, metrics=one) for seed, one in enumerate(metrics)))
        found = verify(root, data=tmp_path)
        return next(one.verdict for one in found if one.check == "leading group")

    assert (leading(1), leading(2), leading(3)) == ("open", "open", "pass")


def test_pairs_of_a_matrix_which_table_1_does_not_show_do_not_lead_it(tmp_path: Path) -> None:
    rows = {"glf": 10.0, "vae": 100.0, "ae": 50.0, "rae": 60.0}
    rows |= {f"{trunk}+{prior}": 1.0 for trunk in ("ae", "rae") for prior in ("kde", "gmm")}
    for row, distance in rows.items():
        trunk, _, prior = row.partition("+")
        config = make()["config"] | ({"trunk": {"row": trunk}, "prior": prior} if prior else {})
        for seed in range(3 if prior else 2):
            metrics = {"aaaaaaaaaaaa": evaluation([{"fd": distance + 0.01 * seed}])}
            put(tmp_path, make(row=row, seed=seed, metrics=metrics, config=config))
    [found] = [one for one in verify(tmp_path, data=tmp_path) if one.check == "leading group"]
    assert found.verdict == "open" and "glf on fashion" in found.detail and "+" not in found.detail


def _another_learning_rate(record: dict[str, Any]) -> None:
    record["config"]["stages"]["train"]["lr"] = 0.5


def _better_than_real(record: dict[str, Any]) -> None:
    for entry in record["metrics"].values():
        entry["draws"][0]["fd"] = 1e-6


def _other_real_images(record: dict[str, Any]) -> None:
    for entry in record["metrics"].values():
        entry["settings"]["protocol"]["real_sha256"] = "0" * 64


def _other_training_images(record: dict[str, Any]) -> None:
    record["config"]["data_sha256"] = "0" * 64


def _made_up_protocol(record: dict[str, Any]) -> None:
    record["metrics"]["0123456789ab"] = next(iter(record["metrics"].values()))


def _no_number(record: dict[str, Any]) -> None:
    next(iter(record["metrics"].values()))["draws"][0]["f8"] = None


def _no_record(record: dict[str, Any]) -> None:
    record["seed"] = "zero"


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (_another_learning_rate, "keys"),
        (_better_than_real, "floor"),
        (_other_real_images, "real images"),
        (_other_training_images, "training images"),
        (_made_up_protocol, "protocols"),
        (_no_number, "numbers"),
        (_no_record, "records"),
    ],
)
def test_a_tampered_record_fails_the_matching_check(
    finished: Bench, change: Callable[[dict[str, Any]], None], check: str
) -> None:
    change_record(finished, change)
    assert verdicts(finished)[check] == "fail"


def test_a_seed_that_is_a_copy_of_another_fails(finished: Bench) -> None:
    copy = finished.trial("glf", seed=1)
    shutil.copytree(finished.trial("glf"), copy)
    record = json.loads((copy / "record.json").read_text()) | {"seed": 1}
    (copy / "record.json").write_text(json.dumps(record))
    found = verdicts(finished)
    assert found["seeds"] == "fail" and found["keys"] == "fail"


def test_seeds_of_a_pair_without_weights_of_its_own_are_told_apart_by_their_trunks(tmp_path: Path) -> None:
    empty = hashlib.sha256(b"").hexdigest()

    def pair(seed: int, trunk: str) -> dict[str, Any]:
        below = {"key": str(seed) * 16, "weights_sha256": trunk * 64}
        metrics = {"aaaaaaaaaaaa": evaluation([{"fd": 10.0 + seed}])}
        config = make()["config"] | {"prior": "normal", "trunk": {"row": "ae"}}
        fields = {"config": config, "trunk": below, "weights_sha256": empty, "metrics": metrics}
        return make(row="ae+normal", seed=seed, **fields)

    put(tmp_path, pair(0, "a"), pair(1, "b"))
    assert findings(tmp_path)["seeds"].verdict == "pass"
    put(tmp_path, pair(2, "b"))
    assert findings(tmp_path)["seeds"].verdict == "fail"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"row": "nobody"}, "there is no model 'nobody' here"),
        ({"dataset": "nowhere"}, "there is no dataset 'nowhere' here"),
        ({"profile": "nothing"}, "unknown profile 'nothing'"),
    ],
)
def test_a_trial_that_this_version_cannot_run_fails_as_other_code(
    tmp_path: Path, fields: dict[str, str], why: str
) -> None:
    put(tmp_path / "results", make(weights_sha256="0" * 64, **fields))
    (tmp_path / "3f2a000000000000-00000000.safetensors").touch()
    found = {one.check: one for one in verify(tmp_path / "results", data=tmp_path, weights=tmp_path)}
    assert found["code"].verdict == "fail" and why in found["code"].detail
    assert found["scores"].verdict == "open" and why in found["scores"].detail


def test_records_none_of_which_can_be_read_fail(finished: Bench) -> None:
    for row in ("vae", "rae_gmm", "glf"):
        (finished.trial(row) / "record.json").write_text("{")
    shutil.rmtree(finished.folder / "results" / "anchors")
    found = verdicts(finished)
    assert found["records"] == "fail" and found["leading group"] == "open" and len(found) == 12


def test_a_trial_whose_method_is_broken_here_fails_as_other_code(finished: Bench) -> None:
    finished.baseline("glf", "def (")
    found = verdicts(finished, "--weights", str(finished.data / "weights"))
    assert (found["code"], found["scores"]) == ("fail", "open")


def test_weights_that_cannot_be_measured_again_with_this_code_fail(finished: Bench) -> None:
    from aegen_bench.study import catalog

    finished.baseline("glf", (catalog.shipped() / "baselines" / "glf.py").read_text() + "\nOTHER = 1\n")
    ended = finished("verify", "results", "--weights", str(finished.data / "weights"))
    assert ended.code == 1 and "was trained with another version of" in ended.out.splitlines()[-1]


def test_another_file_in_the_place_of_the_weights_fails(finished: Bench) -> None:
    finished.weights("glf").write_bytes(b"others")
    ended = finished("verify", "results", "--weights", str(finished.data / "weights"))
    told = ended.out.splitlines()[-1]
    assert ended.code == 1 and told.startswith("fail  scores") and "contains the weights of another training" in told


def test_scores_are_left_open_without_the_images_to_compare_with(
    finished: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*args: object) -> None:
        raise MissingError("no images of digits")

    monkeypatch.setattr("aegen_bench.evaluation.scorer.real_images", missing)
    ended = finished("verify", "results", "--weights", str(finished.data / "weights"))
    told = ended.out.splitlines()[-1]
    assert ended.code == 0 and told.startswith("open  scores") and "no images of digits" in told


def test_scores_that_the_weights_do_not_reproduce_fail(finished: Bench) -> None:
    change_record(finished, lambda r: next(iter(r["metrics"].values()))["draws"][0].update(fd=123.0))
    assert verdicts(finished, "--weights", str(finished.data / "weights"))["scores"] == "fail"


def test_verify_without_results_is_refused(bench: Bench) -> None:
    ended = bench("verify", "results")
    assert ended.code == 2 and "no trials" in ended.err
