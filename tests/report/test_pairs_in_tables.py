"""Pairs of trunk and prior in tables: their costs, and which trunks are rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from records import evaluation, make, put, stage, timing

from aegen_bench import report, results
from aegen_bench.report import Only
from aegen_bench.report.cells import Table
from aegen_bench.results import timings
from aegen_bench.study.staleness import Present

A = "aaaaaaaaaaaa"
FLOW = {
    "epochs": 5,
    "steps": 935,
    "images": 59_840,
    "seconds": 10.0,
    "seconds_per_epoch": 2.0,
}


def trunk(row: str = "ae", seed: int = 0, **fields: Any) -> dict[str, Any]:
    """Return the record of an auto-encoder that was trained for 10 epochs, in 290 s."""
    scored = {A: evaluation([{"fd": 900.0}])}
    known = {"key": f"{seed:016x}", "weights_sha256": f"{seed:064x}", "metrics": scored}
    return make(row=row, seed=seed, **(known | fields))


def pair(row: str, below: dict[str, Any], prior: str = "flow", **fields: Any) -> dict[str, Any]:
    """Return the record of a pair on a trunk; its prior takes 5 epochs of 2 s, and extracting the codes takes 1 s."""
    own = {"stages": {"prior": {"epochs": 5, "batch": 64}}, "trunk": {"row": below["row"], **below["config"]}}
    known = {
        "row": row,
        "seed": below["seed"],
        "key": "f" * 16,
        "trunk": {"key": below["key"], "weights_sha256": below["weights_sha256"]},
        "config": below["config"] | own | {"prior": prior},
        "stages": {"prior": FLOW},
        "seconds": {"train": 10.0, "extract": 1.0, "fit": 0.0, "sample": 5.0},
        "peak_memory": 2**20,
        "metrics": {A: evaluation([{"fd": 500.0}])},
    }
    return make(**(known | fields))


def built(root: Path, name: str, **options: Any) -> Table:
    [chapter] = report.make(root, [name], profile="lite", **options).chapters
    [table] = chapter.tables
    return table


def costs(root: Path, row: str) -> dict[str, float]:
    frame = results.load(root)
    mine = frame[(frame["row"] == row) & (frame["kind"] == "cost")]
    return dict(zip(mine["metric"], mine["value"], strict=True))


def test_the_cost_of_a_pair_is_that_of_its_trunk_and_its_prior(tmp_path: Path) -> None:
    below = trunk()
    put(tmp_path, below, pair("glf_two_step", below))
    found = costs(tmp_path, "glf_two_step")
    assert found["train_seconds"] == 290.0 + 10.0 + 1.0 and found["sample_seconds"] == 5.0
    assert found["images_per_second"] == (119_680 + 59_840) / 300.0
    assert found["peak_memory"] == below["peak_memory"]
    assert costs(tmp_path, "ae")["train_seconds"] == 290.0
    five = built(tmp_path, "5")
    [line] = [line for line in five.texts() if line[0] == "GLF, two-step"]
    assert line[1:3] == ["train 10, prior 5", "train 10, prior 5"]
    timings.write(tmp_path, timing("glf_two_step", key="f" * 16, stages={"train": stage(28.9), "prior": stage(2.0)}))
    six = built(tmp_path, "6")
    told = [line[1:5] for line in six.texts()]
    assert told == [["GLF, two-step", "train", "28.9 (1)", "312"], ["", "prior", "2.00 (1)", ""]]
    assert all(
        any(note.startswith("A row that combines a trunk with a prior") for note in table.notes)
        for table in (five, six)
    )


@pytest.mark.parametrize("there", ["gone", "other weights", "another device", "another profile"])
def test_no_total_is_given_if_the_training_of_the_trunk_is_unknown(tmp_path: Path, there: str) -> None:
    below = trunk()
    put(tmp_path, pair("glf_two_step", below))
    changed = {
        "gone": None,
        "other weights": {"weights_sha256": "9" * 64},
        "another device": {"environment": {"device": "H200", "device_type": "cuda"}},
        "another profile": {"profile": "paper"},
    }[there]
    if changed:
        put(tmp_path, below | changed)
    found = costs(tmp_path, "glf_two_step")
    assert not {"train_seconds", "images_per_second", "peak_memory", "seconds_per_epoch.train"} & set(found)
    assert found["seconds_per_epoch.prior"] == 2.0 and found["configured_epochs.train"] == 10
    [line] = [line for line in built(tmp_path, "5").texts() if line[0] == "GLF, two-step"]
    ran = "train 10, prior 5" if there == "another device" else "—"
    assert line[1:3] == ["train 10, prior 5", ran]


def test_a_stage_of_the_trunk_with_the_name_of_the_priors_stage_is_kept() -> None:
    assert results.stages_with_trunk({"prior": 1, "train": 2}, {"prior": 3}) == {
        "trunk prior": 1,
        "train": 2,
        "prior": 3,
    }


def test_the_share_of_the_papers_training_counts_trunk_and_prior(tmp_path: Path) -> None:
    """By hand: the paper trains trunk and prior for 100 epochs of 60,000 images each, in 234 steps of 256. Together,
    they see 11,980,800 images there and 119,680 + 59,840 here.
    """
    below = trunk()
    full = {"unscaled": {"epochs": 100, "batch": 256}}
    below["config"]["stages"]["train"] |= full
    above = pair("glf_two_step", below)
    above["config"]["stages"]["prior"] |= full
    put(tmp_path, below, above)
    [note] = [note for note in built(tmp_path, "1").notes if note.startswith("Training budget")]
    assert "1.5%, 6% (GLF, two-step)" in note


def models(table: Table) -> list[str]:
    return [line[0] for line in table.texts()]


def test_a_trunk_that_nobody_asked_for_is_not_a_row(tmp_path: Path) -> None:
    """`ae` is `by_name`; `vae` is in `all` and so a row, even if it is also a trunk."""
    ae, vae = trunk(), trunk("vae", seed=1)
    put(tmp_path, ae, vae, pair("glf_two_step", ae), pair("vae+flow", vae), trunk("glf", seed=2))
    table = built(tmp_path, "1", unasked=Present().unasked)
    assert models(table) == ["VAE", "GLF", "GLF, two-step", "VAE + flow"]
    assert "Trained only as trunks of these rows, and not shown: AE (to show: `--models ae`)." in table.notes
    assert any(note == "Trials: 4 (4 ok)." for note in table.notes)
    assert models(built(tmp_path, "1")) == ["VAE", "GLF", "AE", "GLF, two-step", "VAE + flow"]
    named = built(tmp_path, "1", unasked=Present().unasked, only=Only({"ae": ["ae"], "glf": ["glf"]}))
    assert models(named) == ["GLF", "AE"]
    pairs = built(tmp_path, "1", unasked=Present().unasked, only=Only({"vae+flow": ["vae+flow"]}))
    assert models(pairs) == ["VAE + flow"] and any("VAE (to show: `--models vae`)." in note for note in pairs.notes)
    costs = [line[2:] for line in built(tmp_path, "5", unasked=Present().unasked).texts() if "two-step" in line[0]]
    assert costs == [["train 10, prior 5"]]


def test_a_trunk_without_pairs_is_a_row_and_so_is_one_among_the_profiles_models(tmp_path: Path) -> None:
    ae = trunk()
    put(tmp_path, ae, trunk("glf", seed=2))
    assert models(built(tmp_path, "1", unasked=Present().unasked)) == ["GLF", "AE"]
    for record in (ae | {"profile": "mine"}, pair("glf_two_step", ae, profile="mine")):
        put(tmp_path / "mine", record)
    study = Path("benchmarks.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for models_, unasked in (("[glf_two_step]", {("mine", "ae")}), ("[ae, glf_two_step]", set())):
            mine = f"{{models: {models_}, datasets: [fashion], seeds: 1, protocols: [lite]}}"
            study.write_text(f"profiles: {{mine: {mine}}}")
            assert Present().unasked(results.load(tmp_path / "mine")) == unasked


@pytest.mark.parametrize("only", [None, Only({"matrix": ["ae+flow", "ae+gmm", "rae+flow", "rae+gmm"]})], ids=str)
def test_the_matrix_has_the_floors_of_trunks_that_are_not_rows(tmp_path: Path, only: Only | None) -> None:
    for seed, row in enumerate(("ae", "rae")):
        below = trunk(row, seed)
        below["metrics"][A]["model"]["reconstruction_fd"] = 50.0 + seed
        put(tmp_path, below, *(pair(f"{row}+{prior}", below, prior) for prior in ("flow", "gmm")))
    options: dict[str, Any] = {"unasked": Present().unasked, **({"only": only} if only else {})}
    assert [line[:2] for line in built(tmp_path, "matrix", **options).texts()] == [
        ["AE", "50.0 (1)"],
        ["RAE", "51.0 (1)"],
    ]
    assert set(models(built(tmp_path, "1", **options))) == {"AE + flow", "AE + GMM", "RAE + flow", "RAE + GMM"}
    [page] = report.make(tmp_path, ["1", "matrix"], unasked=Present().unasked).write(tmp_path / "out", ["html"])
    assert 'data-row="AE + flow"' in page.read_text() and 'data-row="AE"' in page.read_text(), "both can be opened"


@pytest.mark.slow
def test_pairs_of_a_matrix_appear_only_in_its_tables(tmp_path: Path) -> None:
    for seed, row in enumerate(("ae", "rae")):
        below = trunk(row, seed)
        put(tmp_path, below, *(pair(f"{row}+{prior}", below, prior) for prior in ("flow", "gmm")))
    put(tmp_path, trunk("glf", seed=2))
    unasked: dict[str, Any] = {"unasked": Present().unasked}
    table = built(tmp_path, "1", **unasked)
    assert models(table) == ["GLF"] and any(
        "4 pairs of a trunk and a prior appear only in" in note for note in table.notes
    )
    assert any(note == "Trials: 1 (1 ok)." for note in table.notes)
    for name in ("5", "scores", "comparisons"):
        assert models(built(tmp_path, name, **unasked)) == ["GLF"]
    assert models(built(tmp_path, "matrix", **unasked)) == ["AE", "RAE"]
    named = built(tmp_path, "1", **unasked, only=Only({"ae+gmm": ["ae+gmm"], "glf": ["glf"]}))
    assert models(named) == ["GLF", "AE + GMM"]
    put(tmp_path / "few", below, *(pair(f"rae+{prior}", below, prior) for prior in ("flow", "gmm")), trunk("glf", 2))
    assert models(built(tmp_path / "few", "1", **unasked)) == ["GLF", "RAE + flow", "RAE + GMM"], "not a matrix"
    [page] = report.make(tmp_path, ["1", "matrix"], **unasked).write(tmp_path / "out", ["html"])
    assert 'data-row="AE + flow"' in page.read_text()
