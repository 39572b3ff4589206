"""The results of a run, how the next run treats them, and their use from Python."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Bench, Ended
from PIL import Image
from torch import Tensor, nn

import aegen_bench
from aegen_bench import data, report
from aegen_bench.baseline import Baseline
from aegen_bench.blocks.nets import Nets
from aegen_bench.errors import MissingError, UserError
from aegen_bench.evaluation import extractors, metrics
from aegen_bench.results import locks
from aegen_bench.runner import workers
from aegen_bench.trial import artefacts, sampling
from aegen_bench.trial.scoring import Samples

RUN = ("run", "--profile", "tiny")
TWO = (("one", 32), ("two", 16))  # two protocols that differ in their batch, so in their ids
HEAD = """
import torch
from torch import nn
from aegen_bench.baseline import Baseline

class Toy(Baseline):
    '''A toy.'''

    def __init__(self, nets):
        super().__init__(nets)
        self.decoder = nets.decoder()

    def decode(self, z):
        return self.decoder(z)

    def step(self, x, index):
"""
FAULTS = {
    "raises": HEAD + "        raise ValueError('no such luck')\n        yield\n",
    "diverges": HEAD
    + "        yield 'model', {'loss': self.decoder(self.randn(len(x), self.nets.d)).sum() * float('nan')}\n",
    "syntax": "def (",
    "needs": "import no_such_package\n" + HEAD + "        yield",
    "breaks": "1 / 0\n" + HEAD + "        yield",
}


def alter(bench: Bench, row: str, **fields: Any) -> bytes:
    """Change fields of a record by hand, and return the new content of the file."""
    path = bench.trial(row) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return path.read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- what a trial leaves ---------------------------------------------------------------------------------


def test_a_record_is_small_and_holds_what_the_format_promises(shared_run: tuple[Bench, Ended]) -> None:
    bench, _ = shared_run
    for row in ("vae", "rae_gmm", "glf"):
        assert (bench.trial(row) / "record.json").stat().st_size < 20_000
        assert {path.name for path in bench.trial(row).iterdir()} == {
            "record.json",
            "history.json",
            "samples.png",
            "artefacts.npz",
            "log.txt",
            "record.lock",
        }
    record = bench.record("glf")
    (protocol,) = record["metrics"]
    entry = record["metrics"][protocol]
    assert set(entry) == {"draws", "model", "settings", "failed"} and entry["failed"] == {}
    assert set(entry["draws"][0]) == {"fd", "f8", "f1_8"} and entry["model"]["reconstruction_mse"] > 0
    assert record["stages"]["train"] | {"seconds": 0, "seconds_per_epoch": 0} == {
        "epochs": 1,
        "steps": 4,
        "images": 256,
        "seconds": 0,
        "seconds_per_epoch": 0,
    }
    assert set(record["seconds"]) == {"train", "extract", "fit", "sample", "features", "metrics"}
    assert set(record["parameters"]) == {"total", "encoder", "decoder", "flow"}
    assert record["parameters"]["total"] == sum(record["parameters"][p] for p in ("encoder", "decoder", "flow"))
    assert set(record["layers"]) == {"encoder", "decoder", "flow"}
    assert {"device", "threads", "versions", "git"} <= set(record["environment"])
    assert record["peak_memory"] > 1e6
    assert bench.record("rae_gmm")["facts"]["mixture_iterations"] >= 1


def test_history_has_terms_logs_images_and_training_seconds_by_epoch(shared_run: tuple[Bench, Ended]) -> None:
    bench, _ = shared_run
    history = json.loads((bench.trial("glf") / "history.json").read_text())
    (epoch,) = history["epochs"]
    assert (epoch["stage"], epoch["epoch"], epoch["images"]) == ("train", 1, 256) and epoch["seconds"] > 0
    assert set(epoch["terms"]["model"]) == {"reconstruction", "nll"}
    assert set(epoch["logs"]) == {"half_sse", "code_std"}
    assert history["probes"] == []


def test_weights_are_in_the_data_folder_named_by_key_and_content(shared_run: tuple[Bench, Ended]) -> None:
    bench, _ = shared_run
    kept = {bench.weights(row) for row in ("vae", "rae_gmm", "glf")}
    assert {*(bench.data / "weights").iterdir()} == kept
    for path in kept:
        key, start = path.stem.split("-")
        assert len(key) == 16 and hashlib.sha256(path.read_bytes()).hexdigest().startswith(start)


def test_other_weights_of_the_same_key_do_not_replace_the_first_ones(finished: Bench) -> None:
    ours = finished.weights("glf")
    before = ours.read_bytes()
    record = finished.trial("glf") / "record.json"
    theirs = ours.with_name(f"{finished.record('glf')['key']}-00000000.safetensors")
    theirs.write_bytes(b"of another machine")
    assert aegen_bench.load(record.parent, weights=ours.parent) is not None and ours.read_bytes() == before


def test_artefacts_hold_uint8_images_by_name_and_the_prd_curve(shared_run: tuple[Bench, Ended]) -> None:
    bench, _ = shared_run
    with np.load(bench.trial("glf") / "artefacts.npz") as made:
        shapes = {name: (made[name].shape, made[name].dtype.name) for name in made.files}
        train = made["neighbours"][:, 1:]
    assert shapes == {
        "samples": ((100, 1, 8, 8), "uint8"),
        "interpolations": ((6, 10, 1, 8, 8), "uint8"),
        "reconstructions": ((16, 2, 1, 8, 8), "uint8"),
        "neighbours": ((10, 6, 1, 8, 8), "uint8"),
        "prd": ((2, 1001), "float32"),
    }
    assert train.max() == 255, "neighbours are real images, with full contrast"
    with Image.open(bench.trial("glf") / "samples.png") as picture:
        assert picture.size == (89, 89), "10 by 10 images of 8 pixels, 1 pixel between them"


class Incompressible(Baseline):
    """Generates pure noise, which cannot be compressed."""

    def decode(self, z: Tensor) -> Tensor:
        return torch.rand(len(z), *self.nets.shape, generator=torch.Generator().manual_seed(int(z.sum() * 1e6)))

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :8]


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "side", "limit"), [(1, 28, 2e6), (3, 32, 2e6), (3, 64, 2e6), (3, 256, 12e6)])
def test_artefacts_stay_within_their_size_limit_whatever_the_images(
    tmp_path: Path, channels: int, side: int, limit: float
) -> None:
    shape = (channels, side, side)
    model = Incompressible(Nets(shape, d=8, flow_width=8, n_train=30))
    images = np.random.default_rng(0).integers(0, 256, (30, *shape), dtype=np.uint8)
    curves = {"prd": np.random.default_rng(1).random((2, 1001))}
    artefacts.write(tmp_path, artefacts.make(model, torch.from_numpy(images), images, 0, torch.device("cpu")))
    artefacts.add_curves(tmp_path, curves)
    artefacts.add_curves(tmp_path, {"prd": np.zeros(3)})
    assert (tmp_path / "artefacts.npz").stat().st_size <= limit
    with np.load(tmp_path / "artefacts.npz") as made:
        assert set(made) == {"samples", "interpolations", "reconstructions", "neighbours", "prd"}
        np.testing.assert_allclose(made["prd"], curves["prd"], rtol=1e-6, err_msg="the first curve is kept")


# ---- what the next run does ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_changed_protocol_is_evaluated_from_the_kept_weights_without_training(finished: Bench) -> None:
    before, weights = contents(finished.trial("glf")), contents(finished.data / "weights")
    old = finished.record("glf")
    finished.declare(profiles=finished.tiny(protocols=["other"]))
    ended = finished(*RUN)
    assert ended.code == 0 and "tiny: 3 trials: 3 to score\n" in ended.out
    after, new = contents(finished.trial("glf")), finished.record("glf")
    assert {name for name in after if after[name] != before.get(name)} == {"record.json", "log.txt"}
    assert contents(finished.data / "weights") == weights
    told = next(line for line in ended.err.splitlines() if "] glf on digits, seed 0: collapsed, fd" in line)
    drawn = {p["settings"]["protocol"]["name"]: p["draws"] for p in new["metrics"].values()}
    of_trial = [f"fd {sum(d['fd'] for d in draws) / len(draws):.4g} ({name})" for name, draws in drawn.items()]
    assert f"{', '.join(of_trial)}, " in told and "f8" not in told, "the distances, not every metric"
    assert len(new["metrics"]) == 2 and new == {**old, "metrics": {**new["metrics"], **old["metrics"]}}
    assert "tiny: 3 trials: 3 done" in finished(*RUN).out


@pytest.mark.slow
def test_a_record_keeps_its_number_of_draws_whatever_the_profile_says_now(finished: Bench) -> None:
    before = finished.record("glf")
    tiny = {"extractor": "random_conv", "count": 64, "metrics": ["fd", "prd", "reconstruction", "kid"]}
    finished.declare(protocols={"tiny": tiny}, profiles=finished.tiny(models=["glf"], draws=3))
    assert finished(*RUN).code == 0
    ((old,), (new,)) = (record["metrics"].values() for record in (before, finished.record("glf")))
    (draw,) = new["draws"]
    assert "kid" in draw and "kid" not in old["draws"][0] and draw | old["draws"][0] == draw


@pytest.mark.slow
def test_a_record_is_not_completed_with_other_test_images(bench: Bench) -> None:
    def put(seed: int) -> None:
        made = np.random.default_rng(seed).integers(256, size=(300, 8, 8)).astype(np.uint8)
        first = np.random.default_rng(0).integers(256, size=(300, 8, 8)).astype(np.uint8)
        np.savez(bench.data / "mine.npz", x_train=first, x_test=made)

    bench.data.mkdir()
    put(1)
    bench.declare(profiles=bench.tiny(models=["glf"], datasets=["mine"]))
    assert bench(*RUN).code == 0
    before = bench.record("glf", dataset="mine")
    put(2)
    tiny = {"extractor": "random_conv", "count": 64, "metrics": ["fd", "prd", "reconstruction", "kid"]}
    bench.declare(protocols={"tiny": tiny}, profiles=bench.tiny(models=["glf"], datasets=["mine"]))
    ended = bench(*RUN)
    assert ended.code == 1 and bench.record("glf", dataset="mine") == before
    assert (
        "glf on mine, seed 0 was compared under tiny with test images of mine that differ from those here" in ended.err
    )


@pytest.mark.slow
def test_scores_are_kept_if_the_artefacts_are_damaged(finished: Bench) -> None:
    finished.declare(profiles=finished.tiny(models=["glf"], protocols=["other"]))
    damaged = finished.trial("glf") / "artefacts.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    ended = finished(*RUN)
    assert ended.code == 1 and "artefacts.npz is damaged" in ended.err
    assert len(finished.record("glf")["metrics"]) == 2
    assert "tiny: 1 trial: 1 done\n" in finished(*RUN).out


def test_integer_codes_are_not_sampled_for_the_code_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "encode", lambda *args, **more: torch.zeros(5, 4, dtype=torch.long))
    monkeypatch.setattr(sampling, "sample_codes", lambda *args, **more: pytest.fail("no metric needs sampled codes"))
    images, cpu = np.zeros((5, 1, 8, 8)), torch.device("cpu")
    asked: Any = SimpleNamespace(training_set=images, trial=SimpleNamespace(seed=0), device=cpu)
    assert Samples(asked, nn.Identity(), None).codes(5) is None  # type: ignore[arg-type]


@pytest.mark.slow
def test_two_protocols_are_never_in_one_table(finished: Bench) -> None:
    finished.declare(profiles=finished.tiny(protocols=["other"]))
    assert finished(*RUN).code == 0
    both = finished("report", "--profile", "tiny", "--tables", "1,3").tables
    tables = [table for table in both.split("### ") if table.startswith(("Table 1", "Table 3"))]
    assert len(tables) == 4
    assert all(table.count("- Protocol ") == 1 for table in tables)


@pytest.mark.slow
def test_a_trial_whose_evaluation_fails_is_completed_without_training(
    finished: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished.declare(profiles=finished.tiny(models=["glf"]))
    undisturbed, weights = finished.record("glf"), contents(finished.data / "weights")
    shutil.rmtree(finished.trial("glf"))

    def die(*args: Any, **rest: Any) -> None:
        raise MemoryError("no room for features")

    with monkeypatch.context() as broken:
        broken.setattr(sampling, "generate", die)
        ended = finished(*RUN)
    told = "glf on digits, seed 0: evaluation failed: no room for features"
    assert ended.code == 1 and told in ended.err
    trained = finished.record("glf")
    assert trained["status"] == "ok" and trained["metrics"] == {} and trained["seconds"]["train"] > 0
    assert contents(finished.data / "weights") == weights
    assert "tiny: 1 trial: 1 to score\n" in finished(*RUN).out
    completed = finished.record("glf")
    assert completed["metrics"] == undisturbed["metrics"] and completed["stages"] == trained["stages"]
    assert set(completed["seconds"]) == set(undisturbed["seconds"])
    with np.load(finished.trial("glf") / "artefacts.npz") as made:
        assert "prd" in made


@pytest.mark.slow
def test_without_weights_a_changed_protocol_leaves_the_record_and_retrain_sets_it_aside(
    finished: Bench,
) -> None:
    finished.declare(profiles=finished.tiny(models=["glf"], protocols=["other"]))
    key = finished.record("glf")["key"]
    finished.weights("glf").unlink()
    before = contents(finished.trial("glf"))
    ended = finished(*RUN)
    assert "weights gone: glf on digits, seed 0" in ended.out and " --retrain" in ended.out
    assert contents(finished.trial("glf")) == before
    assert finished(*RUN, "--retrain").code == 0
    assert (finished.trial("glf") / f"record.{key}.1.json").read_bytes() == before["record.json"]
    again = finished.record("glf")
    assert again["key"] == key and list(again["metrics"]) != list(json.loads(before["record.json"])["metrics"])
    assert finished.weights("glf").is_file()


@pytest.mark.slow
def test_a_trial_that_lacks_only_its_weights_is_retrained_only_when_asked(finished: Bench) -> None:
    weights = finished.weights("glf")
    before = weights.read_bytes()
    assert "tiny: 3 trials: 3 done\n" in finished(*RUN, "--retrain").out
    weights.unlink()
    assert "tiny: 3 trials: 3 done\n" in finished(*RUN).out and not weights.exists()
    assert "tiny: 3 trials: 2 done, 1 to retrain\n" in finished(*RUN, "--retrain").out
    assert weights.read_bytes() == before


@pytest.mark.slow
def test_a_trial_whose_key_changed_is_stale_and_retrained_only_when_asked(finished: Bench) -> None:
    finished.declare(profiles=finished.tiny(models=["glf"]), rows={"glf": {"with": {"beta": 2}}})
    before, old = contents(finished.trial("glf")), finished.record("glf")
    ended = finished(*RUN)
    assert (
        "stale: glf on digits, seed 0" in ended.out and "--models glf --datasets digits --seeds 0, --stale" in ended.out
    )
    said = finished("list", "--profile", "tiny", "--why", "glf").out.splitlines()
    assert said[0].startswith(f"glf on digits, seed 0: key {old['key']} is now ")
    assert said[1:] == ["  with.beta: 1.0 -> 2.0"]
    changed = finished.record("glf")
    changed["config"]["perceptual_precision"] = "bf16"  # as if a profile had since lost the setting
    (finished.trial("glf") / "record.json").write_text(json.dumps(changed))
    said = finished("list", "--profile", "tiny", "--why", "glf").out.splitlines()
    assert said[1:] == ["  perceptual_precision: bf16 -> absent", "  with.beta: 1.0 -> 2.0"]
    (finished.trial("glf") / "record.json").write_bytes(before["record.json"])
    assert "no trial of vae is stale" in finished("list", "--profile", "tiny", "--why", "vae").out
    assert contents(finished.trial("glf")) == before
    assert finished(*RUN, "--stale").code == 0
    assert finished.record("glf")["config"]["with"]["beta"] == 2.0
    assert (finished.trial("glf") / f"record.{old['key']}.1.json").read_bytes() == before["record.json"]
    kept = aegen_bench.results.load(finished.folder / "results", profile="tiny")
    assert len(list(kept["key"].unique())) == 3, "the old record is set aside"


@pytest.mark.slow
def test_a_trial_whose_images_changed_is_stale_and_retrained_only_when_asked(bench: Bench) -> None:
    def put(seed: int) -> None:
        images = np.random.default_rng(seed).integers(0, 256, (80, 8, 8), dtype=np.uint8)
        bench.data.mkdir(exist_ok=True)
        np.savez(bench.data / "mine.npz", x_train=images, x_test=images[:64])

    run = ("run", "--profile", "tiny", "--models", "glf", "--datasets", "mine", "--set", "train_images=64")
    put(0)
    assert bench(*run).code == 0 and "1 done" in bench(*run).out
    put(1)
    ended = bench(*run)
    assert "stale: glf on mine, seed 0: its training images have changed; to train it again: `aegen" in ended.out
    assert "‡" in ended.tables
    assert "‡" not in bench(*run, "--stale").tables and "1 done" in bench(*run).out


@pytest.mark.slow
def test_a_trained_flow_is_inverted_on_the_codes_of_real_images(
    finished: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished.declare(profiles=finished.tiny(models=["glf"], stages={"*": {"epochs": 20, "batch": 64, "lr_at": {}}}))
    assert finished(*RUN, "--results", "trained").code == 0
    monkeypatch.setenv("AEGEN_BENCH_DATA", str(finished.data))
    model: Any = aegen_bench.load(finished.folder / "trained/tiny/digits/glf/seed-0")
    images = data.load("digits", data.Recipe(source="digits"), finished.data, "test")
    with torch.no_grad():
        z = model.encode(torch.from_numpy(np.array(images)).float() / 255)
        e, _ = model.flow(z)
        assert (e - z).abs().max() > 0.1, "the flow has learned something"
        assert (model.flow.inverse(e) - z).abs().max() < 1e-3


@pytest.mark.slow
def test_without_any_record_a_run_that_trains_nothing_prints_no_tables(bench: Bench) -> None:
    """The only trial is left to another run, which is working on it."""
    with locks.claim(locks.lock_path(bench.folder / "results", "tiny", "digits", "glf", "seed-0")):
        ended = bench(*RUN, "--models", "glf")
    assert (ended.code, ended.err.count("Error")) == (0, 0) and "### " not in ended.out


@pytest.mark.slow
def test_failed_trials_are_retried_but_diverged_or_timed_out_ones_are_not(finished: Bench) -> None:
    kept = [
        alter(finished, row, status=s, reason=f"it {s}", metrics={})
        for row, s in (("vae", "diverged"), ("rae_gmm", "timeout"))
    ]
    alter(finished, "glf", status="failed", reason="out of luck\nTraceback", metrics={})
    ended = finished(*RUN)
    assert "retry: glf on digits, seed 0: out of luck\n" in ended.out
    assert finished.record("glf")["status"] == "ok"
    assert [(finished.trial(row) / "record.json").read_bytes() for row in ("vae", "rae_gmm")] == kept
    assert "ended: 1 ok\n" in ended.out
    assert "diverged" in ended.tables


@pytest.mark.slow
def test_a_failed_trial_is_retried_unasked_when_its_code_changes(bench: Bench) -> None:
    path = bench.baseline("raises", FAULTS["raises"])
    bench.declare(profiles=bench.tiny(models=["raises"]))
    assert bench(*RUN).code == 1
    key = bench.record("raises")["key"]
    path.write_text(path.read_text().replace("no such luck", "luck"))
    assert "retry: raises on digits, seed 0: ValueError: no such luck (raises.py, line " in bench(*RUN).out
    record = bench.record("raises")
    assert record["key"] != key and record["reason"].startswith("ValueError: luck (raises.py, line ")
    assert not list(bench.trial("raises").glob("record.*.json")), "a failed record is not set aside"


@pytest.mark.slow
@pytest.mark.parametrize("status", ["ok", "failed"])
def test_a_record_of_another_key_written_since_the_plan_is_left_alone_unless_it_failed(
    finished: Bench, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    finished.declare(profiles=finished.tiny(models=["glf"]), rows={"glf": {"with": {"beta": 2}}})
    in_process, written = workers.in_process, list[bytes]()

    def meanwhile(*given: Any) -> Any:
        """Write the record that this run is about to write, as a run with other settings would."""
        written.append(alter(finished, "glf", key="f" * 16, status=status))
        return in_process(*given)

    monkeypatch.setattr(workers, "in_process", meanwhile)
    ended = finished(*RUN, "--stale")
    left = "left to another run: its record has another key (other settings)\n" in ended.err
    untouched = [(finished.trial("glf") / "record.json").read_bytes()] == written
    assert ended.code == 0 and left == untouched == (status == "ok")
    assert untouched or finished.record("glf")["config"]["with"]["beta"] == 2.0


@pytest.mark.parametrize("content", ["{", '{"schema": 0}', '["record"]', ""])
def test_a_corrupt_record_is_named_skipped_and_not_overwritten(finished: Bench, content: str) -> None:
    path = finished.trial("glf") / "record.json"
    path.write_text(content)
    ended = finished(*RUN, "--stale", "--retrain")
    assert ended.code == 1
    assert "tiny: 3 trials: 2 done, 1 corrupt\n" in ended.out
    assert f"corrupt: glf on digits, seed 0: {Path('results/tiny/digits/glf/seed-0/record.json')}" in ended.out
    assert "VAE" in ended.tables and path.read_text() == content


@pytest.mark.slow
def test_faulty_baselines_do_not_stop_others(bench: Bench) -> None:
    for name, source in FAULTS.items():
        bench.baseline(name, source)
    bench.declare(profiles=bench.tiny(models=[*FAULTS, "glf"]))
    ended = bench(*RUN)
    assert ended.code == 1 and "Traceback" not in ended.out + ended.err
    assert bench.record("glf")["status"] == "ok"
    failed, diverged = bench.record("raises"), bench.record("diverges")
    assert failed["status"] == "failed" and failed["reason"].startswith("ValueError: no such luck (raises.py, line ")
    assert "raises.py" in failed["reason"], "the record says where it happened"
    assert diverged["status"] == "diverged" and "not finite in epoch 1 of stage 'train'" in diverged["reason"]
    assert failed["metrics"] == diverged["metrics"] == {}
    assert "broken: syntax: " in ended.out and "syntax.py" in ended.out
    assert "broken: needs: model 'needs' needs the module no_such_package, which is neither installed nor" in ended.out
    assert "broken: breaks: " in ended.out and "ZeroDivisionError" in ended.out
    for name in ("syntax", "needs", "breaks"):
        assert not bench.trial(name).exists()
    assert "GLF" in ended.tables and "diverged" in ended.tables and "failed" in ended.tables
    again = bench(*RUN)
    assert again.code == 1 and "retry: raises" in again.out and "diverges on digits" not in again.err


@pytest.mark.slow
def test_a_baseline_that_shadows_a_shipped_one_is_named_in_the_plan_and_in_the_record(finished: Bench) -> None:
    shipped = Path(aegen_bench.__file__).parent.parent / "baselines" / "glf.py"
    finished.baseline("glf", shipped.read_text().replace("beta: float = 1.0", "beta: float = 2.0"))
    finished.declare(profiles=finished.tiny(models=["glf"]))
    ended = finished(*RUN, "--stale")
    assert f"shadowed: the local glf replaces the one in {shipped}\n" in ended.out
    assert finished.record("glf")["config"]["shadows"] == str(shipped)


@pytest.mark.slow
def test_seeds_give_different_numbers_and_a_rerun_gives_the_same(bench: Bench) -> None:
    bench = replace(bench, clusters=True)
    bench.declare(profiles=bench.tiny(models=["glf"], seeds=2))
    assert bench(*RUN).code == 0
    first = [bench.record("glf", seed)["metrics"] for seed in (0, 1)]
    assert first[0] != first[1]
    assert bench(*RUN, "--seeds", "1", "--results", "again").code == 0
    again = json.loads((bench.folder / "again/tiny/digits/glf/seed-0/record.json").read_text())
    assert again["metrics"] == first[0]
    samples = [
        np.load(p / "artefacts.npz")["samples"]
        for p in (bench.trial("glf"), bench.folder / "again/tiny/digits/glf/seed-0")
    ]
    np.testing.assert_array_equal(*samples)


@pytest.mark.slow
def test_a_setting_makes_a_separate_profile(finished: Bench) -> None:
    ended = finished(*RUN, "--models", "glf", "--set", "draws=2", "--set", "train_images=128")
    assert ended.code == 0
    name = "tiny+draws=2+train_images=128"
    record = finished.record("glf", profile=name)
    assert (record["profile"], record["config"]["n_train"]) == (name, 128)
    (entry,) = record["metrics"].values()
    assert len(entry["draws"]) == 2 and entry["draws"][0] != entry["draws"][1]
    assert f"Profile {name}" in ended.out and "VAE" not in ended.tables, "profiles are never merged"


@pytest.mark.slow
def test_a_probe_changes_no_weight(finished: Bench) -> None:
    plain = finished.record("glf")["key"]
    finished.declare(rows={"glf": {"probe": {"every": 1, "images": 40}}}, profiles=finished.tiny(models=["glf"]))
    assert finished(*RUN, "--results", "probed").code == 0
    folder = finished.folder / "probed/tiny/digits/glf/seed-0"
    assert json.loads((folder / "record.json").read_text())["key"] == plain
    assert (
        json.loads((folder / "record.json").read_text())["weights_sha256"] == finished.record("glf")["weights_sha256"]
    )
    (probe,) = json.loads((folder / "history.json").read_text())["probes"]
    assert set(probe["metrics"]) == {"fd"}
    assert set(probe["probe_test"]["terms"]["model"]) == {"reconstruction", "nll"}


@pytest.mark.slow
def test_a_probe_without_a_distance_says_why_in_the_log(finished: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(inputs: Any) -> Any:
        raise ValueError("no such luck")

    finished.declare(rows={"glf": {"probe": {"every": 1, "images": 40}}}, profiles=finished.tiny(models=["glf"]))
    monkeypatch.setattr(metrics.load("fd"), "measure", fails)
    finished(*RUN, "--results", "probed")
    folder = finished.folder / "probed/tiny/digits/glf/seed-0"
    assert "a probe has no distance: " in (log := (folder / "log.txt").read_text()) and "no such luck" in log
    assert [probe["metrics"] for probe in json.loads((folder / "history.json").read_text())["probes"]] == [{}]


@pytest.mark.slow
def test_a_density_that_is_not_a_number_for_each_code_fails_the_trial(bench: Bench) -> None:
    source = (Path(aegen_bench.__file__).parent.parent / "baselines" / "vae.py").read_text()
    bench.baseline("mean", f"{source}\n    def log_prior(self, z):\n        return -z.square().mean()\n")
    protocol = {"extractor": "random_conv", "count": 64, "metrics": ["fd", "code_nll"]}
    bench.declare(protocols={"tiny": protocol}, profiles=bench.tiny(models=["mean"]))
    assert bench(*RUN).code == 1 and bench.record("mean")["status"] == "failed"
    assert bench.record("mean")["reason"] == "log_prior returns shape () for 64 codes, but needs [n]"


@pytest.mark.slow
def test_images_and_codes_are_made_once_for_all_protocols(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(name: str) -> Any:
        make = getattr(sampling, name)
        return lambda *given, **more: made.append(name) or make(*given, **more)

    for name in ("generate", "encode", "decode", "halfway", "sample_codes"):
        monkeypatch.setattr(sampling, name, counted(name))
    metrics = ["fd", "reconstruction", "interpolation_fd", "code_gap"]
    scored = {name: {"extractor": "random_conv", "count": 64, "batch": b, "metrics": metrics} for name, b in TWO}
    bench.declare(protocols=scored, profiles=bench.tiny(models=["glf"], protocols=[name for name, _ in TWO]))
    assert bench(*RUN).code == 0
    # Test and training images are encoded, and the former decoded and interpolated twice; artefacts add one of each.
    assert sorted(made) == ["decode"] * 4 + ["encode"] * 3 + ["generate", "halfway", "sample_codes"]
    record = bench.record("glf")
    first, second = record["metrics"].values()
    assert [entry["settings"]["protocol"]["name"] for entry in (first, second)] == ["one", "two"]
    assert first["model"]["code_gap"] == second["model"]["code_gap"] and not first["failed"] and not second["failed"]


def test_training_images_are_no_floor_under_a_protocol_that_compares_with_them(bench: Bench) -> None:
    seen = {"extractor": "random_conv", "count": 64, "split": "train", "metrics": ["fd"]}
    bench.declare(protocols={"seen": seen}, profiles=bench.tiny(models=["vae"], protocols=["tiny", "seen"]))
    assert bench(*RUN).code == 0
    floor, ceiling = (bench.record(row, profile="anchors") for row in ("floor", "ceiling"))
    assert len(floor["metrics"]) == 1 and len(ceiling["metrics"]) == 2
    assert floor["metrics"].keys() < ceiling["metrics"].keys()


@pytest.fixture
def fashion_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """`tiny` with a second protocol, `apart`, whose extractor has a network for fashion but none for digits."""
    declared = extractors.recipe("inception")._replace(weights={"fashion": "inception"})
    recipes = {"random_conv": extractors.recipe("random_conv"), "inception": declared}
    recipe = extractors.recipe
    monkeypatch.setattr(extractors, "recipe", lambda name: recipes.get(name) or recipe(name))
    bench.declare(
        protocols={"apart": {"extractor": "inception", "count": 64, "metrics": ["fd"]}},
        profiles=bench.tiny(models=["vae"], protocols=["apart", "tiny"]),
    )
    return bench


@pytest.mark.slow
def test_a_protocol_without_weights_for_a_dataset_is_left_out_and_reported_once(fashion_only: Bench) -> None:
    ended = fashion_only(*RUN, "--seeds", "2")
    assert ended.code == 0 and "scored by tiny (" in ended.out
    assert ended.out.count("not scored by apart: digits: no weights for extractor inception\n") == 1
    for seed in (0, 1):
        (entry,) = fashion_only.record("vae", seed)["metrics"].values()
        assert entry["settings"]["protocol"]["name"] == "tiny" and entry["failed"] == {}
    assert "2 done" in fashion_only(*RUN, "--seeds", "2").out


def test_a_protocol_without_weights_is_refused_if_asked_for(
    fashion_only: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fashion_only.folder)
    with pytest.raises(UserError, match="'inception' has weights for fashion, none for digits"):
        aegen_bench.evaluate(np.zeros((64, 1, 8, 8), np.uint8), dataset="digits", protocol="apart")
    fashion_only.declare(
        protocols={"apart": {"extractor": "inception"}}, profiles=fashion_only.tiny(protocols=["apart"])
    )
    ended = fashion_only(*RUN)
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert "profile tiny cannot score digits: no extractor of its protocols (apart) has weights for it" in ended.err


# ---- from Python -----------------------------------------------------------------------------------------


@pytest.fixture
def place(shared_run: tuple[Bench, Ended], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The finished run as the working folder of this process."""
    bench, _ = shared_run
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("AEGEN_BENCH_DATA", str(bench.data))
    return bench


def test_images_of_any_generator_are_scored_like_those_of_a_trial(place: Bench) -> None:
    model = aegen_bench.load("results/tiny/digits/glf/seed-0")
    images = sampling.generate(model, 64, seed=0, draw=0, device=torch.device("cpu"))
    scores = aegen_bench.evaluate(images, dataset="digits", protocol="tiny")
    ((protocol, entry),) = place.record("glf")["metrics"].items()
    assert scores["protocol"] == protocol
    assert scores["draws"] == [pytest.approx(entry["draws"][0], rel=1e-6)]
    as_floats = aegen_bench.evaluate(torch.from_numpy(images).float() / 255, dataset="digits", protocol="tiny")
    assert as_floats["draws"] == scores["draws"]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.full((64, 1, 8, 8), 1.5), r"must be in \[0, 1\]"),
        (np.full((64, 1, 8, 8), np.nan), r"must be in \[0, 1\]"),
        (np.full((64, 1, 8, 8), -1.0, np.float32), r"must be in \[0, 1\]"),
        (np.zeros((63, 1, 8, 8), np.uint8), r"\(64, 1, 8, 8\)"),
        (np.zeros((64, 8, 8, 1), np.uint8), "shape"),
        (np.zeros((64, 8, 8), np.uint8), "shape"),
        (np.zeros((64, 1, 8, 8), np.int64), "int64"),
    ],
    ids=["above 1", "nan", "minus one", "too few", "NHWC", "no channel", "integers"],
)
def test_images_with_a_wrong_range_shape_or_type_are_refused(place: Bench, images: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        aegen_bench.evaluate(images, dataset="digits", protocol="tiny")


def test_wrong_names_and_missing_files_are_reported_in_python_too(place: Bench) -> None:
    images = np.zeros((64, 1, 8, 8), np.uint8)
    with pytest.raises(UserError, match=r"did you mean 'tiny'?"):
        aegen_bench.evaluate(images, dataset="digits", protocol="tinny")
    with pytest.raises(UserError, match=r"did you mean 'digits'?"):
        aegen_bench.evaluate(images, dataset="digts", protocol="tiny")
    with pytest.raises(MissingError, match="aegen-bench fetch inception"):
        aegen_bench.evaluate(images, dataset="digits", protocol="paper")
    with pytest.raises(MissingError, match="aegen-bench fetch fashion"):
        aegen_bench.evaluate(images, dataset="fashion", protocol="tiny")
    with pytest.raises(UserError, match="no record at"):
        aegen_bench.load("results/tiny/digits/glf/seed-9")


def test_a_loaded_trial_gives_the_samples_of_its_artefacts(place: Bench) -> None:
    for row in ("vae", "rae_gmm", "glf"):
        model = aegen_bench.load(f"results/tiny/digits/{row}/seed-0")
        assert not model.training
        noise = sampling.fixed_noise(model, 100, torch.device("cpu"))
        with np.load(place.trial(row) / "artefacts.npz") as made:
            np.testing.assert_array_equal(sampling.decode_noise(model, noise), made["samples"])
        with torch.no_grad():
            images = model.decode(model.prior(model.noise(5)))
        assert images.shape == (5, 1, 8, 8) and images.min() >= 0 and images.max() <= 1


def test_a_trial_whose_weights_are_gone_or_whose_code_differs_is_not_loaded(
    finished: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.folder)
    monkeypatch.setenv("AEGEN_BENCH_DATA", str(finished.data))
    shipped = Path(aegen_bench.__file__).parent.parent / "baselines" / "glf.py"
    path = finished.baseline("glf", shipped.read_text().replace("beta: float = 1.0", "beta: float = 2.0"))
    with pytest.raises(UserError, match="another version of") as error:
        aegen_bench.load("results/tiny/digits/glf/seed-0")
    assert path.name in str(error.value)
    path.unlink()
    assert aegen_bench.load(finished.trial("glf"), weights=finished.data / "weights") is not None
    shutil.rmtree(finished.data / "weights")
    root = re.escape(str(finished.folder / "results"))
    with pytest.raises(MissingError, match=rf"no weights at .* --results {root} .*--retrain"):
        aegen_bench.load("results/tiny/digits/glf/seed-0")
    diverged = finished.record("glf") | {"status": "diverged", "reason": "a loss of nan"}
    (finished.trial("glf") / "record.json").write_text(json.dumps(diverged))
    with pytest.raises(MissingError, match=r"since the trial ended as diverged; .*--retry diverged"):
        aegen_bench.load("results/tiny/digits/glf/seed-0")


def test_a_trial_that_runs_out_of_memory_fails_with_advice(bench: Bench) -> None:
    source = FAULTS["raises"].replace("ValueError('no such luck')", "torch.OutOfMemoryError('8 GiB')")
    bench.baseline("full", f"import torch\n{source}")
    bench.declare(profiles=bench.tiny(models=["full"]))
    assert bench(*RUN).code == 1
    said = "out of memory: full on digits, seed 0, batch {'train': 64}; lower it with --set 'stages.*.batch=...'"
    assert bench.record("full")["reason"] == said


def test_what_failed_is_listed_even_if_the_tables_cannot_be_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **options: Any) -> Any:
        raise UserError("a broken table")

    bench.baseline("raises", FAULTS["raises"])
    bench.declare(profiles=bench.tiny(models=["raises"]))
    monkeypatch.setattr(report, "make", refused)
    ended = bench(*RUN)
    assert ended.code == 1 and "no tables: a broken table\nraises on digits, seed 0: failed: " in ended.out


def test_a_quiet_run_prints_only_what_failed(bench: Bench) -> None:
    bench.baseline("raises", FAULTS["raises"])
    bench.declare(profiles=bench.tiny(models=["vae", "raises"]))
    good = bench(*RUN, "--models", "vae", "--quiet")
    assert (good.code, good.out, good.err) == (0, "", "") and bench.record("vae")["status"] == "ok"
    bad = bench(*RUN, "--quiet")
    assert bad.code == 1 and bad.out.startswith("raises on digits, seed 0: failed: ValueError: no such luck")
    assert "vae" not in bad.out and "Table 1" not in bad.out


def test_results_are_one_table_with_a_row_per_trial_and_metric(place: Bench) -> None:
    table = aegen_bench.results.load("results")
    fd = table[table["metric"] == "fd"].set_index(["profile", "row"])["value"]
    (entry,) = place.record("glf")["metrics"].values()
    assert sorted(fd["tiny"].index) == ["glf", "rae_gmm", "vae"] and fd["tiny", "glf"] == entry["draws"][0]["fd"]
    assert fd["anchors", "floor"] < fd["tiny"].min() and fd["anchors", "floor"] < fd["anchors", "ceiling"]
    with pytest.raises(UserError, match="no results at nowhere"):
        aegen_bench.results.load("nowhere")


@pytest.mark.slow
def test_an_evaluation_that_fails_does_not_stop_others(finished: Bench) -> None:
    finished.declare(profiles=finished.tiny(models=["glf", "vae"], protocols=["other"]))
    broken = finished.weights("glf")
    broken.write_bytes(broken.read_bytes()[:100])
    ended = finished(*RUN)
    assert ended.code == 1
    assert "evaluation failed" in ended.err and broken.name in ended.err
    assert "1 evaluation failed" in ended.out
    assert len(finished.record("glf")["metrics"]) == 1 and len(finished.record("vae")["metrics"]) == 2
