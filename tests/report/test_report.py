"""The tables of a fixed set of records: nothing is mixed up or invented."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import INCEPTION, ended, evaluation, make, put, stage, timing

from aegen_bench import report, results
from aegen_bench.errors import UserError
from aegen_bench.report import notes, published, tables
from aegen_bench.report.cells import Cell, Column, Number, Table, fixed, measured, words
from aegen_bench.report.render import latex, machine, markdown
from aegen_bench.report.summary import plan
from aegen_bench.results import timings
from aegen_bench.study import Study
from aegen_bench.study.staleness import Present

PUBLISHED = Path(__file__).parents[2] / "baselines" / "published.yaml"
PAPER = published.load(PUBLISHED)
A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def trial(row: str, seed: int, fd: float, f8: float = 0.9, f1_8: float = 0.8, **fields: Any) -> dict[str, Any]:
    draws = [{"fd": fd - 1, "f8": f8, "f1_8": f1_8}, {"fd": fd + 1, "f8": f8, "f1_8": f1_8}]
    return make(row=row, seed=seed, **({"metrics": {A: evaluation(draws)}} | fields))


def built(root: Path, *records: dict[str, Any], tables_: Sequence[str] = tables.TABLES, **options: Any) -> list[Table]:
    """Write the records and return the tables of their profile; `stale` are the entries (dataset, row) to mark."""
    put(root, *records)
    marked = {(records[0]["profile"] if records else "lite", *entry) for entry in options.pop("stale", [])}
    [chapter] = report.make(root, tables_, stale=lambda _: marked, **options).chapters
    return chapter.tables


def bold(table: Table) -> list[tuple[str, int]]:
    """Return the row of every bold number and its position in the cell."""
    return [(cell.row, i) for line in table.lines for cell in line for i, n in enumerate(cell.numbers) if n.leading]


def grid(table: Table) -> str:
    """Return the table as Markdown, without its heading and notes."""
    return "\n".join(line for line in markdown.render(table).splitlines() if line.startswith("|"))


@pytest.fixture
def lite(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        trial("glf", 0, 100.0, 0.90, 0.80),
        trial("glf", 1, 104.0, 0.94, 0.82, collapsed=True),
        trial("vae", 0, 300.0),
        ended("diverged", row="vae", seed=1),
        ended("diverged", row="wae_gan"),
        ended("timeout", row="mine"),
        trial("glf", 0, 250.0, dataset="digits"),
    ]


def test_table_1_shows_mean_spread_and_n_or_why_there_is_no_number(tmp_path: Path, lite: list[Any]) -> None:
    [table] = built(tmp_path, *lite, tables_=["1"], no_data={"celeba"})
    assert (
        grid(table)
        == """\
| Model   |  CelebA | paper's rank |                       Fashion | paper's rank |    digits |
| ------- | ------: | -----------: | ----------------------------: | -----------: | --------: |
| VAE     | no data |            9 |        300.0 (1) [1 diverged] |            9 |         — |
| WAE-GAN | no data |            7 |                      diverged |            6 |         — |
| GLF     | no data |            3 | 102.0 ± 2.8 (2) [1 collapsed] |            3 | 250.0 (1) |
| mine    | no data |              |                        failed |              |         — |"""
    )


def test_notes_under_a_quality_table_say_what_its_numbers_are(tmp_path: Path, lite: list[Any]) -> None:
    lite[0]["config"]["overrides"].append("beta 2")
    [table] = built(tmp_path, *lite, tables_=["1"])
    assert table.title == "Table 1. FD (efficientnet_lite0), lower is better. Profile lite, protocol lite"
    notes = "\n".join(table.notes)
    assert notes.startswith(f"Protocol {A}: EfficientNet-Lite0 at 224 px.")
    assert "sample standard deviation over seeds" in notes
    assert "Trials: 7 (4 ok, 2 diverged, 1 timeout, 1 collapsed)." in notes
    assert "departs from the paper's settings: epochs x 0.1; batch 64; beta 2 (GLF)." in notes


def test_the_present_description_of_a_protocol_is_shown(tmp_path: Path) -> None:
    study = Study("lite", local=tmp_path, data=tmp_path)
    assert Present().described.items() >= {(one.id, one.describe()) for one in study.protocols.values()}
    put(tmp_path, trial("glf", 0, 1.0))
    for described, first in (
        ({A: "Protocol, reworded."}, "Protocol, reworded."),
        ({B: "another"}, "EfficientNet-Lite0"),
    ):
        [table] = built(tmp_path, tables_=["1"], described=described)
        assert first in table.notes[0]


def test_table_3_shows_recall_and_precision_with_both_ranks(tmp_path: Path, lite: list[Any]) -> None:
    [table] = built(tmp_path, lite[0], lite[1], lite[6], tables_=["3"])
    assert (
        grid(table)
        == """\
| Model |                                        Fashion | paper's rank |           digits |
| ----- | ---------------------------------------------: | -----------: | ---------------: |
| GLF   | 0.920 ± 0.028, 0.810 ± 0.014 (2) [1 collapsed] |         4, 3 | 0.900, 0.800 (1) |"""
    )


def seeds(row: str, *distances: float, **fields: Any) -> list[dict[str, Any]]:
    return [trial(row, seed, fd, **fields) for seed, fd in enumerate(distances)]


def test_the_leading_group_is_bold_for_each_number(tmp_path: Path) -> None:
    """Rows with one seed, and rows scored by the network that trained them, are never bold, however good they are."""
    fair = [*seeds("glf", 100.0, 102.0, 98.0, f8=0.5), *seeds("vae", 300.0, 301.0, 299.0, f8=0.9)]
    near = seeds("rae_gmm", 101.0, 99.0, 103.0, f8=0.5)
    marked = seeds("glf_perceptual", 9.0, 10.0, 11.0, f8=0.99)
    for record in marked:
        record["config"]["dagger"] = ["efficientnet_lite0"]
    one, three = built(tmp_path, *fair, *near, *marked, trial("wae_gan", 0, 1.0, 0.99), tables_=["1", "3"])
    assert bold(one) == [("rae_gmm", 0), ("glf", 0)]
    assert [row for row, place in bold(three) if place == 0] == ["vae"]  # constant, so the rows can be told apart
    assert "| **100.0 ± 2.0** (3) |" in markdown.render(one)
    flawed = [*near[:2], ended("diverged", row="rae_gmm", seed=2)]
    [again] = built(tmp_path / "flawed", *fair, *flawed, *seeds("aae", 90.0, 91.0, collapsed=True), tables_=["1"])
    assert bold(again) == [("glf", 0)]
    assert any(note.startswith("Bold: ") and "on a log scale" in note for note in one.notes)
    assert any(note.startswith("Bold: ") and "scale of the scores" in note for note in three.notes)
    assert "| 1.0 (1)? |" in re.sub(" +", " ", markdown.render(one))  # WAE-GAN has one seed and is better than all


def test_nothing_is_bold_if_nothing_can_be_tested(tmp_path: Path) -> None:
    [table] = built(tmp_path, trial("glf", 0, 1.0), trial("vae", 0, 9.0), tables_=["1"])
    assert bold(table) == []
    assert any(note.startswith("Nothing is bold: ") for note in table.notes)


def test_a_table_says_how_much_of_the_papers_training_each_row_had(tmp_path: Path) -> None:
    """By hand: the paper trains for 100 epochs of 600 steps of 100 images. Here it is 1,200 steps of 50: 1% of the
    images and 2% of the steps.
    """
    short = {"stages": {"train": {"epochs": 10, "batch": 50, "unscaled": {"epochs": 100, "batch": 100}}}}
    stages = {"train": {"epochs": 10, "steps": 1200, "images": 60_000, "seconds_per_epoch": 1.0}}
    some = [make(row=row, config=make()["config"] | short, stages=stages) for row in ("glf", "vae")]
    [table] = built(tmp_path, *some, tables_=["1"])
    assert "Training budget as a share of the paper's (images seen, steps): 1%, 2% (VAE, GLF)." in table.notes
    full = {"train": {"epochs": 100, "steps": 60_000, "images": 6_000_000, "seconds_per_epoch": 1.0}}
    same = [record | {"stages": full} for record in some]
    [whole] = built(tmp_path / "whole", *same, tables_=["1"])
    assert not any(note.startswith("Training budget") for note in whole.notes)


def test_the_spread_after_plus_minus_can_be_chosen(tmp_path: Path) -> None:
    """By hand: seeds of 100 and 104 have s = 2.83, and half their interval is 12.706 s / sqrt 2 = 25.4. Draws that are
    1 away from their mean have s = 1.41.
    """
    texts, notes = {}, {}
    for spread in ("seeds", "interval", "draws"):
        [table] = built(tmp_path, *seeds("glf", 100.0, 104.0), tables_=["1"], spread=spread)
        texts[spread], notes[spread] = table.texts()[0][1], " ".join(table.notes)
    assert texts == {"seeds": "102.0 ± 2.8 (2)", "interval": "102.0 ± 25.4 (2)", "draws": "102.0 ± 1.4 (2)"}
    assert "95% interval" in notes["interval"] and "draws of a trial, pooled" in notes["draws"]
    [single] = built(tmp_path / "one", make(), tables_=["1"], spread="draws")
    assert single.texts()[0][1] == "674.1 (1)"
    with pytest.raises(UserError, match="unknown spread 'drwas': did you mean 'draws'"):
        built(tmp_path, tables_=["1"], spread="drwas")


def test_a_stale_entry_is_marked(tmp_path: Path) -> None:
    bad = ended("diverged", row="vae")
    stale = [("fashion", "glf"), ("fashion", "vae")]
    [table] = built(tmp_path, make(), make(row="aae"), bad, tables_=["1"], stale=stale)
    assert {row[0]: row[1] for row in table.texts()} == {"VAE": "diverged ‡", "GLF": "674.1 (1) ‡", "AAE": "674.1 (1)"}
    assert any(note.startswith("‡: ") and "--stale" in note for note in table.notes)
    assert {cell.row for cell in table.cells() if cell.stale} == {"glf", "vae"}


def test_table_4_has_the_papers_rows_with_the_gans_it_cites(tmp_path: Path) -> None:
    [table] = built(tmp_path, make(), make(row="mine"), tables_=["4"])
    assert [row[0] for row in table.texts()] == [
        *(f"{gan} (cited)" for gan in ("MM GAN", "NS GAN", "LSGAN", "WGAN", "WGAN GP", "DRAGAN", "BEGAN")),
        "GLF",
    ]
    assert table.texts()[0][1:] == ["", "11"] and table.texts()[-1][1:] == ["674.1 (1)", "3"]
    assert any("MM GAN, NS GAN" in note and "Lucic" in note for note in table.notes)


def test_table_2_has_a_line_for_each_network_and_names_the_models_with_it(tmp_path: Path) -> None:
    other = make(row="vae", layers={"encoder": "FC40", "decoder": "Linear 20->1024", "critic": "FC8, ReLU, FC8, ReLU"})
    [table] = built(
        tmp_path, make(), other, make(row="rae_gmm"), make(dataset="mnist"), ended("failed", row="aae"), tables_=["2"]
    )
    assert (
        grid(table)
        == """\
| Network | Dataset | Layers          | parameters | Models       |
| ------- | ------- | --------------- | ---------: | ------------ |
| encoder | MNIST   | Conv 1->64      |  6,578,644 | GLF          |
| encoder | Fashion | Conv 1->64      |  6,578,644 | RAE+GMM; GLF |
| encoder | Fashion | FC40            |  6,578,644 | VAE          |
| decoder | MNIST   | Linear 20->1024 |  6,597,185 | GLF          |
| decoder | Fashion | Linear 20->1024 |  6,597,185 | all          |
| flow    | MNIST   | 4 blocks        |     49,312 | GLF          |
| flow    | Fashion | 4 blocks        |     49,312 | RAE+GMM; GLF |
| critic  | Fashion | 2 x (FC8, ReLU) |            | VAE          |"""
    )


def looked_at(folder: Path, *distances: float) -> None:
    """Write a history with a probe every two epochs, one for each of these distances."""
    epochs = [
        {"stage": "train", "epoch": i + 1, "images": i, "seconds": 5.0 * i, "terms": {}, "logs": {}}
        for i in range(2 * len(distances))
    ]
    probes = [
        {"stage": "train", "epoch": 2 * i, "images": i, "seconds": 10.0 * i, "metrics": {"fd": distance}}
        for i, distance in enumerate(distances, 1)
    ]
    (folder / "history.json").write_text(json.dumps({"epochs": epochs, "probes": probes}))


def test_table_5_says_when_a_probed_row_was_near_its_final_value(tmp_path: Path) -> None:
    """Near means for good: 104 at epoch 4 is within 5% of the final 100, but 120 follows. A diverged run has no final
    value.
    """
    config = make()["config"] | {"probe": {"every": 2, "images": 100}}
    records = [make(row="curve_glf", seed=seed, config=config) for seed in (0, 1)]
    bad = ended("diverged", row="curve_glf", seed=2, config=config)
    folders = [path.parent for path in put(tmp_path / "results", *records, bad, make())]
    for folder, distances in zip(folders, [(150, 104, 120, 105, 100), (90, 95, 100, 110, 100), (1, 1)], strict=False):
        looked_at(folder, *distances)
    page = report.make(tmp_path / "results", ["5"]).text()
    (header, _, *lines) = [line for line in page.splitlines() if line.startswith("|")]
    assert "within 5%: epochs |" in header and "stays within 5% of its last value" in page
    assert " 9 ± 1 (2) |" in lines[1] and "curve" in lines[1]
    assert lines[0].rstrip("| ").endswith("10")  # this row has no probe and so no number


def test_table_5_shows_the_epochs_run_beside_those_configured(tmp_path: Path) -> None:
    two = make(row="two_stage_vae")
    two["stages"] = {"first": {"epochs": 400, "steps": 9}, "second": {"epochs": 3.5, "steps": 70000}}
    two["config"]["stages"] = {"first": {"epochs": 400}, "second": {"steps": 70000}}
    late = make(seed=1)
    late["stages"]["train"]["epochs"] = 9
    bad = ended("diverged", row="vae")
    [table] = built(tmp_path, make(), late, two, bad, tables_=["5"], planned=[("fashion", "vae"), ("mnist", "glf")])
    assert (
        grid(table)
        == """\
| Model         |                        Fashion |                            run | MNIST | run |
| ------------- | -----------------------------: | -----------------------------: | ----: | --: |
| VAE           |                             10 |                       diverged |     — |   — |
| GLF           |                             10 |                        9 to 10 |     — |   — |
| Two-Stage VAE | first 400, second 70,000 steps | first 400, second 70,000 steps |     — |   — |"""
    )


def test_table_6_has_a_line_per_stage_and_names_the_device(tmp_path: Path) -> None:
    stages = {"first": stage(5.0, epochs=4), "second": stage(2.0, epochs=8)}
    for one in (timing("glf", 28.9, 30.9), timing("two_stage_vae", stages=stages)):
        timings.write(tmp_path, one)
    [table] = built(tmp_path, make(), make(row="two_stage_vae"), make(row="vae"), tables_=["6"])
    assert table.title == f"Table 6. Training time on EPYC, 2 threads, timing {one.id}. Profile lite"
    assert grid(table).splitlines()[1] == (
        "| ------- | ------------- | ------ | -------------: | ----------: | ----------: | ----------: | ---------: |"
    )
    assert ["|".join(row) for row in [table.heads, *table.texts()]] == [
        "Dataset|Model|Stage|s/epoch|training, s|sampling, s|memory, MiB|parameters",
        "Fashion|Two-Stage VAE|first|5.00 (1)|39.0|4.00|1,024|13,225,141",
        "||second|2.00 (1)||||",
        "Fashion|GLF|train|29.9 ± 1.4 (2)|302|4.00|1,024|13,225,141",
    ]


def test_table_6_says_how_much_of_an_epoch_the_flow_takes(tmp_path: Path) -> None:
    """By hand: 1 - 27 / 30 = 10%. The logarithms have a pooled s of 0.0353, so their difference of 0.1054 has a
    standard error of 0.0288 and, with 4 degrees of freedom, an interval from 0.0255 to 0.1853.
    """
    records = make(), make(row="rae_gmm")
    for one in (timing("glf", 29.0, 30.0, 31.0), timing("rae_gmm", 26.0, 27.0, 28.0)):
        timings.write(tmp_path, one)
    [table] = built(tmp_path, *records, tables_=["6"])
    assert any("(GLF - RAE+GMM) / GLF" in n and "Fashion 10.0% (95% interval 2.5% to 16.9%)" in n for n in table.notes)
    timings.write(tmp_path, timing("rae_gmm", 36.0, 28.0))
    [odd] = built(tmp_path, *records, tables_=["6"])
    assert any(note.startswith("The flow's share is unknown on Fashion") for note in odd.notes)
    assert not any("%" in note for note in odd.notes if "hare of the flow" in note)
    timings.write(tmp_path, timing("rae_gmm", 9.0, 9.1))
    timings.write(tmp_path, timing("glf", 29.0, 31.0, others=0.6))
    [busy] = built(tmp_path, *records, tables_=["6"])
    assert not any("share" in note for note in busy.notes), "a run beside other work says nothing about the flow"
    timings.write(tmp_path / "alone", timing("glf", 29.0, 31.0))
    [alone] = built(tmp_path / "alone", make(), tables_=["6"])
    assert not any("share" in note for note in alone.notes)


def test_large_shares_of_the_papers_training_are_whole_percents() -> None:
    assert [notes._percent(shares) for shares in ([1.0], [0.5, 1.2], [0.02, 0.084])] == [
        "100%",
        "50 to 120%",
        "2 to 8.4%",
    ]


def test_the_papers_numbers_are_not_compared_with_another_protocol_of_its_network(tmp_path: Path) -> None:
    entry = evaluation([{"fid": 21.0, "f8": 0.5, "f1_8": 0.5}], INCEPTION | {"name": "stretch"})
    [one] = built(tmp_path, make(profile="paper", metrics={A: entry}), tables_=["1"])
    assert one.heads == ["Model", "Fashion", "paper's rank"]


def test_the_papers_numbers_are_beside_ours_only_under_its_profile_and_extractor(tmp_path: Path) -> None:
    ours = [evaluation([{"fid": value, "f8": 0.5, "f1_8": 0.5}], INCEPTION) for value in (21.0, 22.0)]
    mine = [make(profile="paper", seed=i, metrics={A: entry}) for i, entry in enumerate(ours)]
    cited = make(profile="paper", row="glann_perceptual", metrics={A: ours[0]})
    one, three = built(tmp_path / "paper", *mine, cited, tables_=["1", "3"])
    assert one.title == "Table 1. FID, lower is better. Profile paper, protocol paper"
    assert one.heads == ["Model", "Fashion", "paper", "difference"]
    assert one.texts()[0] == ["GLF", "21.5 ± 0.7 (2)", "21.3 ± 0.2", "+0.2"]
    assert one.texts()[1][2] == "13.0 ± 0.1 (cited)"
    assert any("Hoshen" in note for note in one.notes)
    assert three.texts()[0] == ["GLF", "0.500 ± 0.000, 0.500 ± 0.000 (2)", "0.932, 0.926", "-0.432, -0.426"]
    [other] = built(tmp_path / "lite", make(metrics={A: ours[0]}), tables_=["1"])
    assert other.heads == ["Model", "Fashion", "paper's rank"] and "21.3" not in markdown.render(other)
    [other] = built(tmp_path / "lite0", make(profile="paper"), tables_=["1"])
    assert other.heads == ["Model", "Fashion", "paper's rank"] and "FID" not in other.title


def test_the_wavelet_distance_is_shown_under_its_own_name(tmp_path: Path) -> None:
    wavelet = {"name": "lite_wavelet", "extractor": "wavelet", "describe": "Protocol cccccccccccc: packets."}
    trials = [make(row=row, metrics={A: evaluation([{"fwd": x}], wavelet)}) for row, x in (("glf", 1.25), ("vae", 2.5))]
    [one] = built(tmp_path, *trials, tables_=["1"])
    assert one.title == "Table 1. FWD, lower is better. Profile lite, protocol lite_wavelet"
    assert [row[:2] for row in one.texts()] == [["VAE", "2.500 (1)"], ["GLF", "1.250 (1)"]]
    assert [table.name for table in built(tmp_path, tables_=["1", "3"])] == ["table1"], "this protocol has no PRD"


def test_two_protocols_get_a_table_each_and_are_never_mixed(tmp_path: Path) -> None:
    both = make(metrics={A: evaluation([{"fd": 10.0}]), B: evaluation([{"fid": 20.0}], INCEPTION)})
    only = make(row="vae", metrics={B: evaluation([{"fid": 30.0}], INCEPTION)})
    first, second = built(tmp_path, both, only, tables_=["1"])
    assert (first.name, second.name) == ("table1-lite", "table1-paper")
    assert (first.protocol, second.protocol) == (A, B)
    assert [row[1] for row in first.texts()] == ["—", "10.0 (1)"]
    assert [row[1] for row in second.texts()] == ["30.0 (1)", "20.0 (1)"]
    assert "FD (efficientnet_lite0)" in first.title and "FID" in second.title
    for asked in (B, "paper"):
        [chosen] = built(tmp_path, tables_=["1"], protocol=asked)
        assert chosen.texts() == second.texts() and chosen.name == "table1"
    with pytest.raises(UserError, match="unknown protocol with results 'papr': did you mean 'paper'"):
        built(tmp_path, tables_=["1"], protocol="papr")


def test_protocols_of_the_same_name_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    put(tmp_path, make(metrics={A: evaluation([{"fd": 10.0}]), B: evaluation([{"fd": 20.0}])}))
    assert [table.name for table in built(tmp_path, tables_=["1"])] == [f"table1-{A}", f"table1-{B}"]
    with pytest.raises(UserError, match=f"lite stands for the ids {A} and {B}: choose one of them"):
        built(tmp_path, tables_=["1"], protocol="lite")


def test_rows_in_neither_plan_nor_paper_are_sorted_by_name_with_numbers_by_size(tmp_path: Path) -> None:
    names = ["a_gamma0.5", "a_gamma2", "a_gamma10", "b", "glf"]
    put(tmp_path, *(trial(row, 0, 1.0) for row in reversed(names)))
    frame = results.load(tmp_path)
    assert plan(frame, PAPER).rows == ["glf", *names[:-1]]
    assert plan(frame, PAPER, planned=[("fashion", "b")]).rows[0] == "b"


def test_tables_of_two_protocols_come_in_the_order_of_the_records(tmp_path: Path) -> None:
    both = make(metrics={B: evaluation([{"fid": 20.0}], INCEPTION), A: evaluation([{"fd": 10.0}])})
    assert [table.name for table in built(tmp_path, both, tables_=["1"])] == ["table1-paper", "table1-lite"]


def test_two_devices_get_a_table_of_times_each(tmp_path: Path) -> None:
    for one in (timing("glf", 28.0), timing("vae", 3.0, device="NVIDIA H200")):
        timings.write(tmp_path, one)
    titles = {table.title.split(",")[0]: table for table in built(tmp_path, make(), make(row="vae"), tables_=["6"])}
    [epyc, h200] = (titles[f"Table 6. Training time on {device}"] for device in ("EPYC", "NVIDIA H200"))
    assert [len(table.texts()) for table in (epyc, h200)] == [1, 1]


def test_a_metric_that_failed_shows_as_failed_and_one_not_measured_as_missing(tmp_path: Path) -> None:
    failed = evaluation([{"fd": 1.0}]) | {"failed": {"prd": "too few images"}}
    _, three = built(
        tmp_path, make(metrics={A: failed}), make(row="vae", metrics={A: evaluation([])}), tables_=["1", "3"]
    )
    assert [row[1] for row in three.texts()] == ["—", "failed"]


def test_a_row_trained_on_the_network_that_scores_it_is_marked(tmp_path: Path) -> None:
    metrics = {A: evaluation([{"fd": 1.0}]), B: evaluation([{"fid": 1.0}], INCEPTION)}
    record = make(row="glf_perceptual", metrics=metrics)
    record["config"]["dagger"] = ["efficientnet_lite0"]
    marked, other = built(tmp_path, record, make(metrics=metrics), tables_=["1"])
    assert [row[0] for row in marked.texts()] == ["GLF", "GLF+perceptual loss †"]
    assert any(note.startswith("†") for note in marked.notes)
    assert [row[0] for row in other.texts()] == ["GLF", "GLF+perceptual loss"]
    assert not any(note.startswith("†") for note in other.notes)
    [every, _] = built(tmp_path, tables_=["scores"])
    assert every.texts()[1][0] == "GLF+perceptual loss †" and any(note.startswith("†") for note in every.notes)


def as_published(number: int, row: str, dataset: str) -> list[dict[str, Any]]:
    """Return records with the numbers of an entry of the paper's table: two seeds at mean ± std/√2 have exactly its
    mean and sample standard deviation; costs are those of one trial.
    """
    cell, records = PAPER.value(number, row, dataset), []
    for seed, sign in enumerate((-1, 1) if number in (1, 3, 4) else (0,)):
        offset = sign * cell.get("std", 0.0) / math.sqrt(2)
        draw = {name.replace("mean", "fid"): value + offset for name, value in cell.items() if name != "std"}
        metrics = {A: evaluation([draw], INCEPTION)} if number in (1, 3, 4) else {}
        records.append(make(profile="paper", dataset=dataset, row=row, seed=seed, metrics=metrics))
        if number == 5:
            records[-1]["stages"] = {name: {"epochs": value} for name, value in cell.items()}
            records[-1]["config"]["stages"] = {name: {"epochs": value} for name, value in cell.items()}
    return records


def published_table(root: Path, number: int, cited: Sequence[str] = ()) -> Table:
    rows = [row for row in PAPER.rows(number) if row not in cited]
    put(root, *(record for row in rows for dataset in PAPER.datasets for record in as_published(number, row, dataset)))
    [chapter] = report.make(root, [str(number)]).chapters
    return chapter.tables[0]


@pytest.mark.parametrize("number", [1, 3, 4])
def test_tables_1_3_and_4_of_the_published_numbers_equal_the_papers(tmp_path: Path, number: int) -> None:
    """Our columns equal the paper's digit by digit, and are empty beside the GANs that the paper cites."""
    gans = [row for row in PAPER.rows(number) if PAPER.source(number, row) == "cited_lucic"]
    table = published_table(tmp_path, number, gans)
    names = [f"{PAPER.name(row)} (cited)" if row in gans else PAPER.name(row) for row in PAPER.rows(number)]
    assert [row[0] for row in table.texts()] == names
    for row in table.texts():
        for ours, theirs, gap in zip(row[1::3], row[2::3], row[3::3], strict=True):
            if row[0].endswith(" (cited)"):
                assert ours == gap == "" and theirs.endswith(" (cited)")
            else:
                assert ours.replace(" ± 0.000", "").removesuffix(" (2)") == theirs.removesuffix(" (cited)")
                assert set(gap) <= set("+-0., ")


def test_table_5_of_the_published_numbers_equals_the_papers(tmp_path: Path) -> None:
    table = published_table(tmp_path, 5)
    assert sorted(row[0] for row in table.texts()) == sorted(map(PAPER.name, PAPER.rows(5)))
    for row in table.texts():
        for configured, run, theirs in zip(row[1::3], row[2::3], row[3::3], strict=True):
            assert configured == run and re.sub("[a-z]+ ", "", run).split(", ") == theirs.split(" + ")


def test_table_6_of_the_published_numbers_equals_the_papers(tmp_path: Path) -> None:
    """A row with two stages has two lines, of which the first has the paper's single entry for both."""
    for row, dataset in ((row, dataset) for row in PAPER.rows(6) for dataset in PAPER.datasets):
        stages = {name: stage(pace) for name, pace in PAPER.value(6, row, dataset).items()}
        timings.write(tmp_path, timing(row, profile="paper", dataset=dataset, stages=stages))
    table = published_table(tmp_path, 6)
    assert [row[1] for row in table.texts() if row[1]] == [PAPER.name(row) for row in PAPER.rows(6)] * 4
    ours: list[list[float]] = []
    for row in table.texts():
        ours += [[]] if row[1] else []
        ours[-1].append(float(row[3].removesuffix(" (1)")))
    assert ours == [[float(pace) for pace in row[4].split(" + ")] for row in table.texts() if row[1]]


def test_the_published_numbers_are_those_of_the_paper() -> None:
    printed = [PAPER.content[f"table{number}"] for number in (1, 3, 4, 5, 6)]
    digest = hashlib.sha256(json.dumps(printed, sort_keys=True).encode()).hexdigest()
    assert digest == "9ec2cbc774a2fb654860d8dd35250c84dff476ea0d140cb176d3865805502cb9"
    assert PAPER.value(1, "glf", "cifar10") == {"mean": 88.3, "std": 0.4}
    assert PAPER.value(3, "rae_gmm", "celeba") == {"f8": 0.333, "f1_8": 0.445}
    assert PAPER.value(5, "two_stage_vae", "mnist") == {"first": 400, "second": 800}
    assert PAPER.value(5, "glann_perceptual", "mnist") == {"first": 500, "second": 50}
    assert PAPER.value(6, "glf", "fashion") == {"first": 10}
    assert PAPER.value(1, "glf", "digits") == {} and PAPER.value(2, "glf", "mnist") == {}
    assert set().union(*(table for table in printed)) <= set(PAPER.content["names"])


def test_every_row_of_the_study_has_a_name_of_its_own_in_the_tables(tmp_path: Path) -> None:
    rows = list(Study("paper", local=tmp_path, data=tmp_path).rows)
    names = {row: PAPER.name(row) for row in rows}
    assert [row for row in rows if names[row] == row] == []
    assert len(set(names.values())) == len(rows)
    assert names["vae+second_vae"] == "VAE + second VAE" and PAPER.name("mine+other") == "mine+other"


def test_ranks_count_from_the_best_and_ties_share_one() -> None:
    rows = ("glf_perceptual", "glann_perceptual", "glf", "vae_flow_posterior")
    assert [PAPER.rank(1, row, "cifar10") for row in rows] == [1, 2, 3, 9]
    assert (PAPER.rank(3, "wae_gan", "mnist", "f8"), PAPER.rank(3, "wae_gan", "mnist", "f1_8")) == (5, 6)
    assert PAPER.rank(3, "glf", "mnist", "f8") == PAPER.rank(3, "two_stage_vae", "mnist", "f8") == 3
    assert PAPER.rank(1, "mine", "cifar10") is None
    assert PAPER.source(1, "glann_perceptual") == "cited_glann"


@pytest.mark.parametrize(("content", "fault"), [("a: [", "line 1: expected"), ("a: 1", "lacks one of")])
def test_broken_published_numbers_are_reported(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "published.yaml"
    with pytest.raises(UserError, match="no published numbers"):
        published.load(path)
    path.write_text(content)
    with pytest.raises(UserError, match=fault) as error:
        published.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


BODY = [
    [
        Cell(text="<script>|&\\"),
        Cell(numbers=(Number(value=-3.1),)),
        Cell(numbers=(Number("fd", 1352.24, 34.61, leading=True),), n=3),
    ],
    [Cell(text="rae_x"), Cell(text="[—]"), Cell(state="diverged")],
]
COLUMNS = [words("Model"), Column("x"), measured("FD", fixed(1, "seeds"))]
AWKWARD = Table("t", "Table 9", "50% of a_b", COLUMNS, BODY, ["# ^~{} `run --stale`"], "lite")


def test_markdown_escapes_what_would_break_the_table_or_run_code() -> None:
    assert (
        markdown.render(AWKWARD)
        == r"""### Table 9. 50% of a_b. Profile lite

| Model            |    x |                     FD |
| ---------------- | ---: | ---------------------: |
| &lt;script>\|&\\ | -3.1 | **1,352.2 ± 34.6** (3) |
| rae_x            |  [—] |               diverged |

- # ^~{} `run --stale`
"""
    )


def test_latex_escapes_every_special_character_and_aligns_numbers() -> None:
    assert (
        latex.render(AWKWARD)
        == r"""\begin{table}[htbp]
\centering\footnotesize\setlength{\tabcolsep}{3pt}
\renewcommand{\thetable}{9}\caption{50\% of a\_b. Profile lite}\label{tab:lite:t}\addtocounter{table}{-1}
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
\begin{tabular}{lrr@{\;}l}
\toprule
Model & x & \multicolumn{2}{c}{FD} \\
\midrule
\textless{}script\textgreater{}\textbar{}\&\textbackslash{} & $-$3.1 & \textbf{1,352.2} & \textbf{$\pm$ 34.6} (3) \\
rae\_x & {[}\textemdash{}{]} & \multicolumn{2}{c}{diverged} \\
\bottomrule
\end{tabular}}
\par\smallskip\begin{minipage}{\linewidth}\scriptsize\raggedright
\# \textasciicircum{}\textasciitilde{}\{\} \texttt{run -{}-stale}\par
\end{minipage}
\end{table}
"""
    )


def test_latex_splits_a_wide_table_if_its_columns_can_be_read_separately() -> None:
    numbers = [Cell(numbers=(Number("fd", i + 0.25),), n=1) for i in range(30)]
    columns = [words("Model"), *(measured(f"m{i}", fixed(2)) for i in range(30))]
    wide = Table("t", "Scores", "All", columns, [[Cell(text="GLF"), *numbers]], ["Of the last part."], "lite")
    assert latex.render(wide).count(r"\begin{table}") == 1
    parts = latex.render(replace(wide, apart=True)).split(r"\end{table}")[:-1]
    assert len(parts) == 3
    for number, part in enumerate(parts, 1):
        assert f"Profile lite ({number} of 3)}}" in part and part.count("GLF & ") == 1
        assert ("Of the last part." in part) == (number == 3)
    shown = [int(i) for part in parts for i in re.findall(r"\{m(\d+)\}", part)]
    assert shown == list(range(30))
    for length in (61, 128, 200):  # the length of a name, which is broken into lines
        named = replace(wide, lines=[[Cell(text="x" * length), *numbers]], apart=True)
        assert latex.render(named).count(r"\begin{table}") == 4


def test_latex_splits_a_long_table_and_keeps_stages_together() -> None:
    lines = [[Cell(text="GLF" if i % 2 == 0 else ""), Cell(text=f"stage {i}")] for i in range(100)]
    parts = latex.render(Table("t", "Times", "All", [words("Model"), words("Stage")], lines, [], "lite"))
    bodies = re.findall(r"\\midrule\n(.*?)\\bottomrule", parts, re.S)
    assert len(bodies) == 2 and all(body.startswith("GLF & ") for body in bodies)
    assert [int(i) for body in bodies for i in re.findall(r"stage (\d+)", body)] == list(range(100))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_tables_compile_as_written(tmp_path: Path, lite: list[Any]) -> None:
    fragments = "\n".join(latex.render(table) for table in [AWKWARD, *built(tmp_path / "results", *lite)])
    packages = r"\documentclass{article}\usepackage{booktabs,graphicx}"
    document = rf"{packages}\begin{{document}}{fragments}\end{{document}}"
    (tmp_path / "a.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode()[-2000:]


def test_csv_and_json_have_the_numbers_and_not_their_text(tmp_path: Path) -> None:
    """Full precision, and only what applies: no interval for one seed, no NaN. Claims are sentences, and so they are
    only in JSON.
    """
    root = tmp_path / "results"
    put(root, trial("glf", 0, 0.25), trial("glf", 1, 0.75), trial("vae", 0, 5.0), ended("diverged", row="aae"))
    paths = report.make(root, ["1", "verdicts"]).write(tmp_path, ["csv", "json"])
    assert [path.name for path in paths] == ["table1.csv", "tables.csv", "table1.json", "verdicts.json", "tables.json"]
    lines = list(csv.DictReader((tmp_path / "lite/tables.csv").open()))
    found = {line["row"]: line for line in lines if line["quantity"] == "fd"}
    assert (float(found["glf"]["value"]), found["glf"]["n"], found["glf"]["protocol"]) == (0.5, "2", A)
    assert float(found["glf"]["low"]) == pytest.approx(0.5 - 12.7062047 * 0.25)
    assert found["vae"]["low"] == found["vae"]["std"] == "" and found["aae"]["value"] == ""
    assert (found["aae"]["state"], found["aae"]["diverged"]) == ("diverged", "1")
    one, claims = json.loads((tmp_path / "lite/tables.json").read_text())
    assert (one["name"], one["profile"], one["protocol"]) == ("table1", "lite", A) and "rows" not in one
    [vae] = [value for value in one["values"] if value["row"] == "vae" and value["quantity"] == "fd"]
    assert vae["value"] == 5.0 and not {"std", "low", "text"} & set(vae)
    assert claims["columns"][0] == "The paper says" and "values" not in claims


def test_an_anchor_that_cannot_be_read_is_named_also_if_a_profile_is_chosen(tmp_path: Path) -> None:
    put(tmp_path, make(), make(profile="anchors", row="floor"))
    bad = tmp_path / "anchors/fashion/floor/seed-0/record.json"
    bad.write_text("{")
    [chapter] = report.make(tmp_path, ["1"], profile="lite").chapters
    assert any(str(bad) in line for line in chapter.skipped)


def test_anchors_alone_make_no_report(tmp_path: Path) -> None:
    put(tmp_path, make(profile="anchors", row="floor"))
    with pytest.raises(UserError, match="only anchors have been scored"):
        report.make(tmp_path, ["1"])


def test_write_makes_one_set_per_profile_and_names_corrupt_records(tmp_path: Path) -> None:
    root, out = tmp_path / "results", tmp_path / "out"
    _, bad, _ = put(root, make(), make(seed=1), make(profile="smoke", row="vae"))
    bad.write_text("{")
    paths = report.make(root, ["1", "5"]).write(out)
    stems = ["table1.md", "table5.md", "tables.md", "table1.tex", "table5.tex", "tables.tex", "main.tex"]
    assert paths == [out / profile / name for profile in ("lite", "smoke") for name in stems]
    assert all(path.is_file() for path in paths)
    page = (out / "lite/tables.md").read_text()
    assert page.count("### Table") == 2 and f"Skipped: {bad}" in page and "| VAE" not in page
    assert page == report.make(root, ["1", "5"], profile="lite").text()
    assert "Skipped" not in (out / "smoke/tables.md").read_text()
    assert bad.read_text() == "{"


def test_a_protocol_of_one_profile_has_tables_of_that_profile_only(tmp_path: Path) -> None:
    put(tmp_path, make(), make(profile="smoke", metrics={B: evaluation([{"fd": 1.0}])}))
    assert "Profile lite" not in report.make(tmp_path, ["1"], protocol=B).text()
    with pytest.raises(UserError, match=f"there are: {B}"):
        report.make(tmp_path, ["1"], protocol="bbbb", profile="smoke").text()


def test_wrong_formats_and_tables_and_empty_results_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="aegen-bench run"):
        report.make(tmp_path).text()
    put(tmp_path, make())
    with pytest.raises(UserError, match="did you mean 'markdown'"):
        report.make(tmp_path).write(tmp_path, ["markdwn"])
    with pytest.raises(UserError, match="unknown table '7'"):
        report.make(tmp_path, ["7"]).text()


def test_a_cell_never_averages_two_configurations(tmp_path: Path) -> None:
    for seed, beta in ((0, 1.0), (1, 50.0)):
        record = make(row="glf", seed=seed)
        record["config"]["with"] = {"beta": beta}
        put(tmp_path, record)
    put(tmp_path, make(row="vae", seed=0))
    text = report.make(tmp_path, ["1"]).text()
    (glf,) = [line for line in text.splitlines() if line.startswith("| GLF")]
    (vae,) = [line for line in text.splitlines() if line.startswith("| VAE")]
    assert "mixed" in glf and "mixed" not in vae


def test_a_trial_that_failed_before_its_settings_were_complete_loses_only_its_own_number(tmp_path: Path) -> None:
    for seed in range(2):
        put(tmp_path, make(seed=seed))
    failed = ended("failed", seed=2)
    del failed["config"]["d"]
    put(tmp_path, failed)
    text = report.make(tmp_path, ["1"]).text()
    (glf,) = [line for line in text.splitlines() if line.startswith("| GLF")]
    assert "674" in glf and "(2)" in glf and "1 failed" in glf and "mixed" not in glf


def test_a_note_says_that_rows_scored_against_different_real_images_are_not_comparable(tmp_path: Path) -> None:
    rows = [make(row=row) for row in ("glf", "vae", "rae_gmm")]
    for record, real in zip(rows, ("a" * 64, "b" * 64, ""), strict=True):
        for entry in record["metrics"].values():
            entry["settings"]["protocol"]["real_sha256"] = real
    for table in built(tmp_path, *rows, tables_=["1", "scores"]):
        assert any(note.startswith("Not comparable: the trials on Fashion were scored") for note in table.notes)
    rows[1]["metrics"] = rows[0]["metrics"]
    for table in built(tmp_path, *rows, tables_=["1", "scores"]):
        assert not any(note.startswith("Not comparable") for note in table.notes)


def test_the_table_of_scores_tells_a_failed_metric_from_one_that_does_not_apply(tmp_path: Path) -> None:
    measured = evaluation([{"fd": 1.0}])
    measured["failed"]["prd"] = "PRD needs at least 20 images a set, there are 12"
    put(tmp_path, make(metrics={A: measured}), make(row="vae", metrics={A: evaluation([{"fd": 2.0, "f8": 0.5}])}))
    [table] = built(tmp_path, tables_=["scores"])
    shown = {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.texts()}
    assert shown["GLF"]["f8 ↑"] == "failed" and shown["VAE"]["f8 ↑"] == "0.500 (1)"


def test_a_number_that_a_trial_predates_has_not_failed(tmp_path: Path) -> None:
    """`fd_infinity` is the name of a metric and of one of its numbers."""
    newer = evaluation([{"fd": 2.0, "fd_infinity": 1.9, "fd_infinity_se": 0.1}])
    put(tmp_path, make(metrics={A: evaluation([{"fd": 1.0, "fd_infinity": 0.9}])}), make(row="vae", metrics={A: newer}))
    [table] = built(tmp_path, tables_=["scores"])
    shown = {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.texts()}
    assert (shown["GLF"]["fd_infinity_se ↓"], shown["VAE"]["fd_infinity_se ↓"]) == ("", "0.100 (1)")
    assert any("or was not measured for it" in note for note in table.notes)


def test_cautions_name_only_rows_of_the_table(tmp_path: Path) -> None:
    few = evaluation([{"fd": 900.0}])
    few["settings"]["fd"]["note"] = "200 images for 1,280 features: the covariance is singular"
    put(tmp_path, make(), make(row="vae", metrics={A: few}))
    for row, said in ("vae", 1), ("glf", 0):
        [chapter] = report.make(tmp_path, ["1"], only=report.Only({row: [row]})).chapters
        assert sum(note.startswith("Caution: ") for note in chapter.tables[0].notes) == said


def test_a_corrupt_record_of_external_images_is_listed_once(tmp_path: Path) -> None:
    put(tmp_path, make(profile="external", row="mine"))
    [bad] = put(tmp_path, make(profile="external", row="other"))
    bad.write_text("{}")
    for profile in ("external", None):
        [chapter] = report.make(tmp_path, ["1"], profile=profile).chapters
        assert [str(bad) in line for line in chapter.skipped] == [True]


def test_a_report_can_be_limited_to_some_rows_and_datasets(tmp_path: Path) -> None:
    put(tmp_path, make(), make(row="vae"), make(row="vae", dataset="mnist"), make(row="mine"))
    some = report.Only({"vaes": ["vae", "wae_gan"]}, ["fashion"])
    [chapter] = report.make(tmp_path, ["1"], only=some).chapters
    assert [row[0] for row in chapter.tables[0].texts()] == ["VAE"] and "MNIST" not in chapter.tables[0].heads
    for none, said in ((report.Only({"gfl": ["gfl"]}), "model with results 'gfl': did you mean 'glf'"),
                       (report.Only(datasets=["cifar"]), "dataset with results 'cifar'")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            report.make(tmp_path, ["1"], only=none)


def test_a_table_from_python_has_the_reports_numbers_and_asks_which_of_several(tmp_path: Path) -> None:
    both = {A: evaluation([{"fd": 10.0}]), B: evaluation([{"fid": 20.0}], INCEPTION)}
    put(tmp_path, make(metrics=both), trial("glf", 1, 14.0), make(profile="smoke", row="vae"))
    found = report.table(tmp_path, "1", profile="lite", protocol="lite")
    assert list(found.loc[("fashion", "glf", "fd"), ["value", "std", "n"]]) == [12.0, pytest.approx(math.sqrt(8)), 2]
    timings.write(tmp_path, timing("glf", 28.9))
    times = report.table(tmp_path, "6", profile="lite")
    assert times.loc[("fashion", "glf", "seconds_per_epoch", "train"), "value"] == 28.9
    with pytest.raises(
        UserError, match=rf"profile, and a protocol or device; there are: lite, lite \({A}\); lite, paper"
    ):
        report.table(tmp_path, "1")
    timings.write(tmp_path, timing("glf", 9.9, id="aaaabbbbcccc"))
    assert len({one.device for one in report.make(tmp_path, ["6"], profile="lite").chapters[0].tables}) == 2
    with pytest.raises(UserError, match="choose a profile, and a protocol or device"):
        report.table(tmp_path, "6", profile="lite", device="EPYC, 2 threads")
    slow = report.table(tmp_path, "6", profile="lite", device="EPYC, 2 threads, timing aaaabbbbcccc")
    assert slow.loc[("fashion", "glf", "seconds_per_epoch", "train"), "value"] == 9.9
    with pytest.raises(UserError, match="unknown profile with results 'liet': did you mean 'lite'"):
        report.table(tmp_path, "1", profile="liet")
    (tmp_path / "tables").mkdir()
    for name in ("tables", "../" + tmp_path.name + "/lite"):
        with pytest.raises(UserError, match=r"unknown profile with results '.*' \(there are: lite, smoke\)"):
            report.table(tmp_path, "1", profile=name)


def test_doubtful_distances_are_noted_below_every_table_with_them(tmp_path: Path) -> None:
    """A distance is doubtful if it comes from fewer images than features, as `evaluate` notes, or if it is larger than
    that of uniform noise.
    """
    few = evaluation([{"fd": 900.0}])
    few["settings"]["fd"]["note"] = "200 images for 1,280 features: the covariance is singular"
    noise = make(profile="anchors", row="ceiling", metrics={A: evaluation([{"fd": 800.0}])})
    for record in (few, noise["metrics"][A]):
        record["settings"]["protocol"] = record["settings"]["protocol"] | {"real_sha256": "f" * 64}
    few["draws"] = [{"fd": 900.0, "f8": 0.5, "f1_8": 0.5}]
    put(tmp_path, make(row="vae", metrics={A: few}), noise)
    made = built(tmp_path, tables_=["1", "3", "comparisons", "scores"], profile="lite")
    said = {table.name: [note for note in table.notes if note.startswith("Caution: ")] for table in made}
    singular = "Caution: 200 images for 1,280 features: the covariance is singular (VAE on Fashion)."
    far = "Caution: the distance is larger than that of uniform noise: VAE on Fashion."
    assert said == {name: [singular, far] for name in ("table1", "comparisons-fashion", "scores-fashion")} | {
        "table3": []
    }


def test_a_report_writes_only_inside_its_folder_whatever_the_records_say(tmp_path: Path) -> None:
    root, out = tmp_path / "results", tmp_path / "results" / "tables"
    evil = {name: evaluation([{"fd": 1.0}], {"name": "/../../../victim", "extractor": "x"}) for name in (A, B)}
    put(root, make(metrics=evil))
    paths = report.make(root, report.EVERY).write(out, ["markdown", "latex", "csv", "json", "html"])
    assert {path.parent for path in paths} == {out / "lite"}
    (out / "lite").rename(out / "kept")
    (out / "lite").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads out of"):
        report.make(root).write(out)
    assert {path.name for path in tmp_path.iterdir()} == {"results"}


def test_names_as_long_as_a_file_system_allows_are_reported(tmp_path: Path) -> None:
    put(tmp_path, make(dataset="d" * 250), make(dataset="d" * 249 + "e", row="r" * 255))
    paths = report.make(tmp_path, ["1", "scores"]).write(tmp_path / "out", ["markdown", "csv", "html"])
    assert len(set(paths)) == len(paths) == 9 and all(path.is_file() for path in paths)


def test_text_in_csv_is_not_a_formula(tmp_path: Path) -> None:
    put(tmp_path, *(make(row=row) for row in ("=1+1", "@x", "-2", "+3")))
    [table] = built(tmp_path, tables_=["1"])
    rows = {line["row"] for line in csv.DictReader(machine.csv(table).splitlines())}
    assert rows == {"'=1+1", "'@x", "'-2", "'+3"}
