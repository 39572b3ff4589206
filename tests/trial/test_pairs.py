"""Pairs of trunk and prior: the trunk is trained once and then read, and all commands support pairs."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Bench
from test_cli import refused

from aegen_bench import results, seeding
from aegen_bench.progress import Progress
from aegen_bench.results import locks
from aegen_bench.results.record import TrunkUsed
from aegen_bench.runner import single_trial
from aegen_bench.runner.execution import GOOD
from aegen_bench.runner.planning import plan
from aegen_bench.study import Study
from aegen_bench.trial import lifecycle, scoring, trunk_codes
from aegen_bench.trial import model as models
from aegen_bench.trial.job import Place

pytestmark = pytest.mark.slow

PAIRS = "rae+gaussian,rae+normal,rae+flow"
RUN = ("run", "--profile", "tiny", "--models", PAIRS)


def trained(out: str) -> list[str]:
    """Return the rows that a run began to train, in order."""
    return re.findall(r"^.*\[\d+/\d+\] (\S+) on digits, seed \d+: (?:run|retrain|retry|resume)$", out, re.M)


def weights_of(bench: Bench, row: str) -> Path:
    record = bench.record(row)
    return bench.data / "weights" / f"{record['key']}-{record['weights_sha256'][:8]}.safetensors"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Any]:
    place = tmp_path_factory.mktemp("pairs")
    made = Bench(place / "work", place / "data")
    made.folder.mkdir()
    made.declare()
    return made, made(*RUN)


@pytest.fixture
def paired(shared: tuple[Bench, Any], tmp_path: Path) -> Bench:
    """A copy of a finished run of three pairs with the same trunk."""
    import shutil

    made = Bench(tmp_path / "work", tmp_path / "data")
    shutil.copytree(shared[0].folder, made.folder)
    shutil.copytree(shared[0].data, made.data)
    return made


def test_a_run_of_a_matrix_ends_with_its_table(paired: Bench) -> None:
    paired.declare(rows={"small": {"trunks": ["rae", "ae"], "priors": ["gaussian", "normal"]}})
    ended = paired("run", "--profile", "tiny", "--models", "small")
    assert ended.code == 0 and "### Matrix on digits" in ended.tables and "### Table 1" not in ended.tables
    assert all(re.search(rf"^\| {trunk} +\|", ended.tables, re.M) for trunk in ("RAE", "AE"))


def test_a_trunk_that_nobody_asked_for_is_trained_first_and_once(shared: tuple[Bench, Any]) -> None:
    bench, ended = shared
    assert ended.code == 0, ended
    assert "1 trunk, 3 pairs; each trunk is trained once\n" in ended.out
    assert trained(ended.out + ended.err) == ["rae", "rae+gaussian", "rae+normal", "rae+flow"]
    assert "| RAE + flow " in ended.tables and not re.search(r"^\| RAE +\|", ended.tables, re.M), (
        "the trunk is not a row of the tables"
    )
    trunk = bench.record("rae")
    for row in PAIRS.split(","):
        record = bench.record(row)
        assert record["status"] == "ok"
        assert record["trunk"] == {"key": trunk["key"], "weights_sha256": trunk["weights_sha256"]}
        assert set(record["stages"]) == ({"prior"} if row == "rae+flow" else set())
        assert record["collapsed"] == trunk["collapsed"]
    assert "trunk" not in trunk


def test_a_pair_with_the_trunk_s_own_prior_has_the_trunk_s_numbers(shared: tuple[Bench, Any]) -> None:
    (one,), (other,) = (bench_metrics(shared[0], row) for row in ("rae", "rae+normal"))
    assert one == other


def test_metrics_that_depend_only_on_the_trunk_are_measured_once_for_its_pairs(
    shared: tuple[Bench, Any], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk, pair = (shared[0].record(row) for row in ("rae", "rae+gaussian"))
    for entry in pair["metrics"].values():
        assert entry["settings"]["reconstruction"]["measured_of"] == trunk["key"]
        assert "measured_of" not in entry["settings"]["fd"]
    monkeypatch.setattr(scoring.Samples, "known", scoring.Subject.known)
    assert bench("run", "--profile", "tiny", "--models", "rae+gaussian").code == 0
    alone = bench.record("rae+gaussian")["metrics"]
    assert all("measured_of" not in entry["settings"]["reconstruction"] for entry in alone.values())
    assert [(e["draws"], e["model"]) for e in alone.values()] == bench_metrics(shared[0], "rae+gaussian")


def test_rae_gmm_is_a_mixture_on_the_trunk_rae(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAE+GMM and the pair are mathematically the same, so their weights, codes and mixtures are equal except for
    rounding: the pair standardises codes in float32.
    """
    assert bench("run", "--profile", "tiny", "--models", "rae_gmm,rae+gmm").code == 0
    monkeypatch.chdir(bench.folder)
    kept = bench.data / "weights"
    own, pair = (models.restore(bench.trial(row), kept, bench.data) for row in ("rae_gmm", "rae+gmm"))
    mine, its = own.decoder.state_dict(), pair.trunk.decoder.state_dict()
    assert all(torch.equal(mine[name], its[name]) for name in mine)
    center, scale, mixture = pair.standard.center, pair.standard.scale, pair.density
    assert torch.allclose(own.weights, mixture.weights, atol=1e-4)
    assert torch.allclose(own.means, mixture.means * scale + center, atol=1e-3 * float(scale.max()))
    assert torch.allclose(own.factors, scale[:, None] * mixture.factors, atol=1e-3 * float(scale.max()))
    with torch.no_grad(), own.using(seeding.stream(0, "noise")):
        e = own.noise(500)
        one, other = own.prior(e), pair.prior(e)
    assert torch.allclose(one, other, atol=1e-3 * float(one.std())) and one.std() > 0


def bench_metrics(bench: Bench, row: str) -> list[Any]:
    return [(entry["draws"], entry["model"]) for entry in bench.record(row)["metrics"].values()]


def test_codes_are_extracted_once_per_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk_codes, "_kept", {})
    made: list[torch.Tensor] = []

    def codes(weights: str, images: str = "digits", split: Any = "train") -> torch.Tensor:
        def extract() -> torch.Tensor:
            made.append(torch.full((5, 2), float(len(made))))
            return made[-1]

        trunk = TrunkUsed(key="0" * 16, weights_sha256=weights * 64)
        return trunk_codes.kept(split, trunk, images, 5, torch.device("cpu"), extract)

    assert [float(codes(weights)[0, 0]) for weights in "aabb"] == [0, 0, 1, 1]
    assert float(codes("b", split="test")[0, 0]) == 2 and float(codes("b")[0, 0]) == 1, "each split has its own"
    assert float(codes("b", images="others")[0, 0]) == 3
    assert float(codes("a")[0, 0]) == 4, "only those of the last trunk are kept"


def test_a_named_row_and_the_same_pair_of_the_matrix_are_one_trial(bench: Bench) -> None:
    ended = bench("run", "--profile", "tiny", "--models", "glf_two_step,ae+flow")
    assert "1 trunk, 2 pairs; each trunk is trained once\n" in ended.out
    assert trained(ended.out + ended.err) == ["ae", "glf_two_step", "ae+flow"]
    one, other = bench.record("glf_two_step"), bench.record("ae+flow")
    assert one["trunk"] == other["trunk"] and one["trunk"]["key"] == bench.record("ae")["key"]
    assert "ae+flow on digits, seed 0: the same trial as glf_two_step on digits, seed 0" in ended.out + ended.err
    assert contents(bench.trial("ae+flow")) == contents(bench.trial("glf_two_step"))
    assert other == one | {"row": "ae+flow"} and bench.trial("ae+flow").joinpath("artefacts.npz").is_file()
    log = (bench.trial("ae+flow") / "log.txt").read_text()
    assert "epoch 1/1" not in log and "epoch 1/1" in (bench.trial("glf_two_step") / "log.txt").read_text()
    assert bench("sample", "ae+flow", "--dataset", "digits", "-n", "3", "--out", "three.npz").code == 0


def test_a_trunk_s_weights_are_only_in_its_own_file(shared: tuple[Bench, Any]) -> None:
    from safetensors.torch import load_file

    bench, _ = shared
    own = load_file(weights_of(bench, "rae+flow"))
    assert own and not [name for name in own if name.startswith("trunk.")]
    assert weights_of(bench, "rae+flow").stat().st_size < weights_of(bench, "rae").stat().st_size / 20


def test_a_pair_is_restored_with_its_trunk_and_can_sample(paired: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(paired.folder)
    kept = paired.data / "weights"
    pair, trunk = (models.restore(paired.trial(row), kept, paired.data) for row in ("rae+flow", "rae"))
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(pair.decode(pair.encode(x)), trunk.decode(trunk.encode(x)))
    assert paired("sample", "rae+flow", "--dataset", "digits", "-n", "3", "--out", "three.npz").code == 0
    assert np.load(paired.folder / "three.npz")["images"].shape[:3] == (3, 8, 8)


def test_a_finished_pair_is_done_and_a_new_one_trains_only_its_prior(paired: Bench) -> None:
    again = paired(*RUN)
    assert "tiny: 3 trials: 3 done\n" in again.out and trained(again.out + again.err) == []
    more = paired("run", "--profile", "tiny", "--models", "rae+kde,rae")
    assert "tiny: 2 trials: 1 to train, 1 done\n" in more.out and trained(more.out + more.err) == ["rae+kde"]


def test_a_pair_is_evaluated_from_both_weights_files(paired: Bench) -> None:
    ended = paired("evaluate", "--trial", str(paired.trial("rae+flow")), "--protocol", "other")
    assert ended.code == 0, ended
    assert len(paired.record("rae+flow")["metrics"]) == 2


def test_a_changed_trunk_makes_its_pairs_stale_and_one_run_retrains_them_all(paired: Bench) -> None:
    paired.declare(rows={"rae": {"with": {"gamma": 0.1}}})
    told = paired("list", "--profile", "tiny", "--why", "rae+flow").out
    assert "  trunk.with.gamma: 0.5 -> 0.1\n" in told
    before = paired.record("rae")
    plain = paired(*RUN)
    assert "tiny: 3 trials: 3 stale\n" in plain.out and trained(plain.out + plain.err) == []
    ended = paired(*RUN, "--stale")
    assert trained(ended.out + ended.err) == ["rae", "rae+gaussian", "rae+normal", "rae+flow"]
    assert paired.record("rae")["key"] != before["key"]
    assert paired.record("rae+flow")["trunk"]["key"] == paired.record("rae")["key"]


def test_a_changed_prior_does_not_retrain_its_trunk(paired: Bench) -> None:
    paired.declare(rows={"rae+flow": {"trunk": "rae", "prior": "flow", "with": {"decay": 0.1}}})
    ended = paired(*RUN, "--stale")
    assert trained(ended.out + ended.err) == ["rae+flow"]


def test_a_trunk_without_weights_is_retrained_only_when_asked(paired: Bench) -> None:
    before = weights_of(paired, "rae").read_bytes()
    weights_of(paired, "rae").unlink()
    refused(paired("sample", "rae+flow", "--dataset", "digits", "--out", "images"), "no weights at ")
    blocked = paired("run", "--profile", "tiny", "--models", "rae+kde")
    said = "blocked: rae+kde on digits, seed 0: its trunk, rae on digits, seed 0: weights gone; to train both: "
    assert said in blocked.out and blocked.code == 1, "the pair has no record, so the run is incomplete"
    assert not paired.trial("rae+kde").exists()
    ended = paired("run", "--profile", "tiny", "--models", "rae+kde", "--retrain")
    assert ended.code == 0 and trained(ended.out + ended.err) == ["rae", "rae+kde"]
    assert weights_of(paired, "rae").read_bytes() == before, "on a CPU they are the same, bit for bit"
    assert paired("sample", "rae+flow", "--dataset", "digits", "--out", "images").code == 0


def test_clean_keeps_the_weights_of_a_trunk_whose_own_record_is_gone(paired: Bench) -> None:
    (paired.trial("rae") / "record.json").unlink()
    assert paired("clean", "--yes").code == 0
    assert len(list((paired.data / "weights").iterdir())) == 4


def test_a_pack_has_a_pair_s_trunk_and_verify_knows_its_key(paired: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import aegen_bench

    assert paired("pack", "results", "-o", "all.zip").code == 0
    (paired.trial("rae") / "record.json").unlink()
    assert paired("pack", "results", "-o", "pairs.zip").code == 0
    monkeypatch.chdir(paired.folder)
    model = aegen_bench.load("pairs.zip#rae+flow/digits/0")
    whole = models.restore(paired.trial("rae+flow"), paired.data / "weights", paired.data)
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(model.decode(model.encode(x)), whole.decode(whole.encode(x)))
    verified = paired("verify", "results", "--weights", str(paired.data / "weights")).out
    assert all(re.search(rf"^pass +{one} ", verified, re.M) for one in ("keys", "code", "scores")), verified


def test_pairs_of_a_failed_trunk_say_so_and_train_nothing(bench: Bench) -> None:
    bench.baseline(
        "bad",
        (Path(__file__).parents[2] / "baselines" / "ae.py")
        .read_text()
        .replace("self.recon(self.decoder(z), x)}", "self.recon(self.decoder(z), x) * float('nan')}"),
    )
    bench.declare(rows={"bad+flow": {"trunk": "bad", "prior": "flow"}})
    ended = bench("run", "--profile", "tiny", "--models", "bad+flow")
    said = "bad+flow on digits, seed 0: blocked: its trunk, bad on digits, seed 0, is not trained"
    assert ended.code == 1 and said in ended.out + ended.err
    assert bench.record("bad")["status"] == "diverged" and not bench.trial("bad+flow").exists()
    again = bench("run", "--profile", "tiny", "--models", "bad+flow")
    assert "blocked: bad+flow on digits, seed 0: its trunk, bad on digits, seed 0: diverged" in again.out
    assert again.code == 1


def test_a_prior_with_codes_of_another_width_fails_without_affecting_its_trunk(bench: Bench) -> None:
    source = (Path(__file__).parents[2] / "baselines/priors/normal.py").read_text()
    bench.baseline("priors/narrow", source.replace("return e", "return e[:, 1:]"))
    bench.declare(rows={"ae+narrow": {"trunk": "ae", "prior": "narrow"}})
    ended = bench("run", "--profile", "tiny", "--models", "ae+narrow")
    assert ended.code == 1 and bench.record("ae")["status"] == "ok"
    record = bench.record("ae+narrow")
    assert record["status"] == "failed"
    assert re.search(r"\.sample returns codes of shape \(\d+, 7\), not \(\d+, 8\)", record["reason"])


def test_a_local_prior_or_trunk_replaces_the_shipped_one_and_the_run_says_so(paired: Bench) -> None:
    shipped = Path(__file__).parents[2] / "baselines"
    for name, old, new in (("priors/flow", "2e-5", "3e-5"), ("rae", "gamma: float = 0.5", "gamma: float = 0.25")):
        paired.baseline(name, (shipped / f"{name}.py").read_text().replace(old, new))
        told = paired(*RUN, "--dry-run", "--no-forecast").out
        assert f"shadowed: the local {Path(name).name} replaces the one in {shipped / name}.py\n" in told
        assert f"tiny: 3 trials: {'2 done, 1 stale' if 'flow' in name else '3 stale'}\n" in told
    ended = paired(*RUN, "--stale")
    assert ended.code == 0 and trained(ended.out + ended.err) == ["rae", "rae+gaussian", "rae+normal", "rae+flow"]
    assert paired.record("rae+flow")["config"]["shadows"] == f"{shipped}/priors/flow.py, {shipped}/rae.py"


@pytest.mark.parametrize("elsewhere", [["rae"], ["rae+gaussian", "rae+normal", "rae+flow"]], ids=["trunk", "pairs"])
def test_a_trunk_and_its_pairs_from_two_results_folders_are_one_grid_when_merged(
    paired: Bench, elsewhere: list[str]
) -> None:
    theirs = paired.folder / "theirs/tiny/digits"
    theirs.mkdir(parents=True)
    for row in elsewhere:
        paired.trial(row).parent.rename(theirs / row)
    merged = paired("merge", "theirs")
    assert merged.code == 0 and merged.out.count("new: ") == len(elsewhere), merged
    again = paired("run", "--profile", "tiny", "--models", f"rae,{PAIRS},rae+kde")
    assert "tiny: 5 trials: 4 done, 1 to train\n" in again.out and trained(again.out + again.err) == ["rae+kde"]
    assert paired.record("rae+kde")["trunk"] == paired.record("rae+flow")["trunk"]


def test_a_pair_on_a_trunk_with_other_weights_is_a_conflict_when_merged(paired: Bench) -> None:
    """This holds even for a prior whose own weights are always the same, such as N(0, I)."""
    theirs = paired.folder / "theirs/tiny/digits/rae+normal/seed-0"
    theirs.mkdir(parents=True)
    record = paired.record("rae+normal")
    other = {**record, "trunk": {**record["trunk"], "weights_sha256": "0" * 64}, "metrics": {}}
    (theirs / "record.json").write_text(json.dumps(other))
    merged = paired("merge", "theirs")
    assert merged.code == 1 and "conflict: tiny/digits/rae+normal/seed-0: a different 'trunk' in " in merged.out
    assert paired.record("rae+normal") == record


def test_integer_codes_are_refused_before_the_trunk_is_trained(bench: Bench) -> None:
    bench.declare(rows={"vq": {"trunk": "vqvae_ar", "prior": "gaussian"}})
    ended = bench("run", "--profile", "tiny", "--models", "vq,rae")
    assert ended.code == 1 and "broken: vq: a prior needs codes that are floats [n, 8]; this trunk's are" in ended.out
    assert not bench.trial("vqvae_ar").exists() and not bench.trial("vq").exists()
    assert bench.record("rae")["status"] == "ok", "the other row is trained"
    asked = bench("run", "--profile", "tiny", "--models", "vq,vqvae_ar")
    assert asked.code == 1 and trained(asked.out + asked.err) == ["vqvae_ar"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"trunk": "glo", "prior": "flow"}, "its trunk glo has no encoder"),
        ({"trunk": "blind", "prior": "flow"}, "its trunk blind has no decoder"),
        ({"trunk": "gfl", "prior": "flow"}, "did you mean 'glf'?"),
        ({"trunk": "ae", "prior": "flwo"}, "did you mean 'flow'?"),
        ({"trunk": "ae+flow", "prior": "flow"}, "its trunk ae+flow is a pair itself"),
        ({"trunk": "ae"}, "a pair has a trunk and a prior"),
        ({"prior": "flow"}, "a pair has a trunk and a prior"),
        ({"trunk": "ae", "prior": "flow", "d": 3}, "d belongs to the trunk"),
        ({"trunk": "ae", "prior": "flow", "probe": {"every": 1}}, "probe belongs to the trunk"),
        ({"trunk": "ae", "prior": "flow", "baseline": "vae"}, "baseline belongs to the trunk"),
        ({"trunk": "ae", "prior": "flow", "with": {"decy": 1}}, "did you mean 'decay'?"),
        ({"trunk": "ae", "prior": "flow", "stages": {"train": {"epochs": 3}}}, "unknown stage of rows.mine 'train'"),
        ({"trunks": ["ae", "ae"], "priors": ["flow"]}, "is listed twice"),
        ({"trunks": ["ae"], "priors": ["flow", "flow"]}, "is listed twice"),
        ({"trunks": ["ae"], "priors": []}, "a pair has a trunk and a prior"),
        ({"trunks": ["ae"], "priors": ["flow"], "with": {"decay": 1}}, "write a row of one trunk and one prior"),
    ],
    ids=str,
)
def test_an_impossible_pair_is_refused_or_broken(bench: Bench, row: dict[str, Any], said: str) -> None:
    bench.baseline("blind", (Path(__file__).parents[2] / "baselines/ae.py").read_text().partition("    def decode")[0])
    bench.declare(rows={"mine": row})
    ended = bench("run", "--profile", "tiny", "--models", "mine", "--dry-run", "--no-forecast")
    assert said in ended.out + ended.err and "Traceback" not in ended.err
    assert ended.code == 2 or "broken: mine: " in ended.out


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files next to a record by name."""
    return {name: (folder / name).read_bytes() for name in ("history.json", "artefacts.npz", "samples.png")}


def test_a_pair_takes_over_metrics_only_of_the_trunk_that_it_uses(paired: Bench) -> None:
    job = jobs(paired, "rae+gaussian")[-1]
    record, model = results.read_record(job.record), models.restore(job.folder, paired.data / "weights", paired.data)
    [protocol] = job.protocols
    assert scoring.Samples(job, model, record.trunk).known(protocol).keys() == {"reconstruction"}
    other = record.trunk.model_copy(update={"weights_sha256": "0" * 64})
    assert scoring.Samples(job, model, other).known(protocol) == {}
    job.trunk.record.unlink()
    assert scoring.Samples(job, model, record.trunk).known(protocol) == {}


def test_floor_and_ceiling_have_all_metrics_even_if_the_last_row_has_few(bench: Bench) -> None:
    bench = replace(bench, clusters=True)
    bench.declare(profiles=bench.tiny(models=["vae", "glf"], scoring={"glf": {"metrics": ["fd"]}}))
    assert bench("run", "--profile", "tiny").code == 0
    numbers = {row: record_of(bench, row)["draws"][0].keys() for row in ("vae", "glf")}
    assert numbers == {"vae": {"fd", "f8", "f1_8"}, "glf": {"fd"}}
    for anchor in ("floor", "ceiling"):
        path = bench.folder / f"results/anchors/digits/{anchor}/seed-0/record.json"
        [entry] = json.loads(path.read_text())["metrics"].values()
        assert entry["draws"][0].keys() == {"fd", "f8", "f1_8"}


def record_of(bench: Bench, row: str) -> dict[str, Any]:
    [entry] = bench.record(row)["metrics"].values()
    return entry


def jobs(bench: Bench, *rows: str) -> list[Any]:
    study = Study("tiny", local=bench.folder, data=bench.data)
    place = Place(bench.data, bench.folder / "results", bench.data / "weights")
    return plan(study, study.trials(rows, ["digits"], [0]), place)


def test_the_job_of_a_trunk_leaves_it_to_the_process_of_a_pair_that_trains_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are of the same run. The trunk may take longer than one waits for a lost worker."""
    monkeypatch.chdir(bench.folder)
    monkeypatch.setattr(single_trial, "GIVEN_UP", 0.01)
    trunk, pair = (replace(job, run="this-run") for job in jobs(bench, "rae+normal"))
    begun, end, train = threading.Event(), threading.Event(), lifecycle.train

    def begins(job: Any) -> Any:
        begun.set()
        end.wait()
        return train(job)

    monkeypatch.setattr(lifecycle, "train", begins)
    other = threading.Thread(target=single_trial.do, args=(pair, Progress()))
    other.start()
    begun.wait()
    outcome = single_trial.do(trunk, Progress(), patience=0.01)
    end.set()
    other.join()
    assert outcome.status == locks.ELSEWHERE and bench.record("rae")["status"] == "ok"


def test_the_job_of_a_worker_that_was_lost_but_lives_has_not_ended_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    monkeypatch.setattr(single_trial, "GIVEN_UP", 0.01)
    trunk, _ = jobs(bench, "rae+normal")
    with locks.claim(single_trial.lock_of(trunk), run="this-run"):
        outcome = single_trial.do(replace(trunk, run="this-run"), Progress())
    assert outcome.status == "locked" and outcome.status not in GOOD and "run again" in outcome.text


@pytest.mark.parametrize("run", ["", "this-run"], ids=["another run", "another worker of the run"])
def test_a_pair_waits_for_the_process_that_trains_its_trunk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    monkeypatch.chdir(bench.folder)
    monkeypatch.setattr(single_trial, "GIVEN_UP", 0.01)
    trunk, pair = jobs(bench, "rae+normal")
    held, free, waited = threading.Event(), threading.Event(), list[bool]()
    train = lifecycle.train

    def elsewhere() -> None:
        with locks.claim(single_trial.lock_of(trunk), run=run):
            held.set()
            time.sleep(0.5)
            free.set()

    def begins(job: Any) -> Any:
        waited.append(free.is_set())
        return train(job)

    monkeypatch.setattr(lifecycle, "train", begins)
    other = threading.Thread(target=elsewhere)
    other.start()
    held.wait()
    outcome = single_trial.do(replace(pair, run=run), Progress())
    other.join()
    assert outcome.status == "ok" and bench.record("rae")["status"] == "ok"
    assert waited == [True, True], "first the trunk, then the pair"
    again = single_trial.do(trunk, Progress())
    assert again.text.startswith("another process did it"), (
        "the other process may be a worker of this run that needed the trunk for a pair"
    )


def test_a_process_with_another_working_folder_finds_the_trunk_where_the_pair_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A cluster worker has another folder. It gets the pair with absolute paths, but the trunk with relative ones."""
    monkeypatch.chdir(bench.folder)
    study = Study("tiny", local=bench.folder, data=bench.data)
    planned = plan(
        study, study.trials(["rae+normal"], ["digits"], [0]), Place(bench.data, Path("results"), Path("kept"))
    )
    pair = replace(planned[-1], place=planned[-1].place.absolute())
    monkeypatch.chdir(tmp_path)
    assert single_trial.do(pair, Progress()).status == "ok"
    assert bench.record("rae+normal")["trunk"]["key"] == bench.record("rae")["key"]


def test_a_pair_whose_trunk_has_a_new_key_trains_nothing(paired: Bench, monkeypatch: Any) -> None:
    monkeypatch.chdir(paired.folder)
    (pair,) = jobs(paired, "rae+kde")
    path = paired.trial("rae") / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": "0" * 16}))
    outcome = single_trial.do(pair, Progress())
    assert outcome.status == "blocked" and not paired.trial("rae+kde").exists()


def test_a_pair_fails_if_its_trunk_was_trained_on_other_images(paired: Bench, monkeypatch: Any) -> None:
    monkeypatch.chdir(paired.folder)
    (pair,) = jobs(paired, "rae+kde")
    record = paired.record("rae")
    record["config"]["data_sha256"] = "0" * 64
    (paired.trial("rae") / "record.json").write_text(json.dumps(record))
    outcome = single_trial.do(pair, Progress())
    assert outcome.status == "failed" and "was trained on different images" in paired.record("rae+kde")["reason"]


def test_a_pair_is_not_restored_with_other_weights_of_its_trunk(paired: Bench) -> None:
    record = paired.record("rae+flow")
    path = paired.data / "weights" / f"{record['trunk']['key']}-{record['trunk']['weights_sha256'][:8]}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    refused(paired("sample", "rae+flow", "--dataset", "digits", "--out", "images"), "another training of")


def test_the_matrix_has_seven_trunks_and_ten_priors_and_is_not_in_all(bench: Bench) -> None:
    ended = bench("run", "--profile", "smoke", "--models", "matrix", "--seeds", "1", "--dry-run", "--no-forecast")
    assert "7 trunks, 70 pairs; each trunk is trained once\n" in ended.out
    assert "smoke: 77 trials: 77 to train\n" in ended.out
    study = Study("lite", local=bench.folder, data=bench.data)
    assert len(study.models(["matrix"])) == 70 and not set(study.models(["matrix"])) & set(study.models(["all"]))


def test_a_pair_s_key_depends_on_its_trunk(bench: Bench) -> None:
    def key(row: str, **rows: Any) -> str:
        bench.declare(rows=rows)
        (trial,) = Study("tiny", local=bench.folder, data=bench.data).trials([row], ["digits"], [0])
        return trial.key

    plain = key("rae+flow")
    assert key("rae+flow", rae={"with": {"gamma": 0.1}}) != plain
    assert key("rae+flow", rae={"stages": {"train": {"lr": 0.5}}}) != plain
    assert key("rae+flow", **{"rae+flow": {"trunk": "rae", "prior": "flow", "with": {"decay": 1}}}) != plain
    assert key("rae+flow", vae={"d": 3}) == plain
    assert len({key(row) for row in ("rae", "rae+flow", "rae+spline", "ae+flow", "ae+normal")}) == 5
    assert results.trial_folder("r", "p", "d", "rae+flow", 0).parts[-2] == "rae+flow"


def test_with_two_jobs_a_trunk_is_trained_once_and_its_pairs_wait(bench: Bench) -> None:
    ended = bench.process("run", "--profile", "tiny", "--models", "rae+normal,rae+gaussian", "--jobs", "2")
    assert ended.code == 0, ended
    log = (bench.trial("rae") / "log.txt").read_text()
    assert log.count("epoch 1/1") == 1
    sha = bench.record("rae")["weights_sha256"]
    assert {bench.record(row)["trunk"]["weights_sha256"] for row in ("rae+normal", "rae+gaussian")} == {sha}
