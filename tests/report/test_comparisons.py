"""Comparisons of rows on one dataset and over all datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import ended, evaluation, make, put

from aegen_bench import report
from aegen_bench.report.cells import Number, Table
from aegen_bench.report.render import markdown

A = "aaaaaaaaaaaa"
REAL = {"name": "lite", "extractor": "efficientnet_lite0", "describe": "Protocol a.", "real_sha256": "f" * 64}


def trials(dataset: str, row: str, *distances: float, **fields: Any) -> list[dict[str, Any]]:
    """Return one trial per distance; a row named TRUNK+PRIOR is a pair."""
    trunk, plus, prior = row.partition("+")
    if plus:
        fields["config"] = make()["config"] | {"trunk": {"row": trunk}, "prior": prior}
    metrics = [{A: evaluation([{"fd": distance}], REAL)} for distance in distances]
    return [make(dataset=dataset, row=row, seed=i, metrics=m, **fields) for i, m in enumerate(metrics)]


def built(root: Path, name: str, *records: dict[str, Any]) -> list[Table]:
    put(root, *records)
    return [*report.make(root, [name], profile="lite").chapters[0].tables]


def numbers(table: Table, quantity: str) -> list[tuple[str, Number]]:
    """Return (row, number) for each number of a quantity in the table."""
    return [(cell.row, number) for cell in table.cells() for number in cell.numbers if number.quantity == quantity]


GOOD, CLOSE, BAD = (100.0, 102.0, 98.0), (103.0, 101.0, 105.0), (300.0, 310.0, 290.0)


def test_each_row_on_a_dataset_is_compared_with_the_best(tmp_path: Path) -> None:
    marked = trials("fashion", "glf_perceptual", 50.0, 51.0)
    for record in marked:
        record["config"]["dagger"] = ["efficientnet_lite0"]
    fair = [*trials("fashion", "vae", *BAD), *trials("fashion", "glf", *CLOSE), *trials("fashion", "rae_gmm", *GOOD)]
    [table] = built(tmp_path, "comparisons", *fair, *trials("fashion", "aae", 90.0), *marked)
    texts = table.texts()
    assert [line[0] for line in texts] == ["AAE", "RAE+GMM", "GLF", "VAE", "GLF+perceptual loss †"]
    assert [line[1] for line in texts] == [
        *("90.0 (1)?", "100.0 ± 2.0 (3)", "103.0 ± 2.0 (3)", "300.0 ± 10.0 (3)", "50.5 ± 0.7 (2)")
    ]
    assert [line[2] for line in texts] == ["-10.0%", "best", "+3.0%", "+199.9%", ""]  # from the geometric means
    assert texts[3][4] == "< 0.001" and texts[4][2:] == ["", "", ""]
    assert [row for row, number in numbers(table, "fd") if number.leading] == ["rae_gmm", "glf"]
    assert [row for row, number in numbers(table, "fd") if number.open] == ["aae"]
    [glf] = [number for row, number in numbers(table, "share above the best") if row == "glf"]
    assert glf.low is not None and glf.high is not None and glf.low < 0 < glf.high
    assert any(note.startswith("?: only one seed") for note in table.notes)


def test_a_note_says_what_difference_the_seeds_can_detect(tmp_path: Path) -> None:
    """By hand: both rows have a spread of 2%; that of two draws which are 0.04% apart is 0.04% / sqrt 2 = 0.028%."""
    records = [*trials("fashion", "glf", 100.0, 102.0, 98.0), *trials("fashion", "vae", 101.0, 103.0, 99.0)]
    for record in records:
        [draw] = record["metrics"][A]["draws"]
        record["metrics"][A]["draws"] = [draw, {"fd": draw["fd"] * 1.0004}]
    [table] = built(tmp_path, "comparisons", *records)
    [said] = [note for note in table.notes if note.startswith("Resolution on Fashion")]
    assert "a typical standard deviation of 2% over seeds and 0.028% over draws (ratio 0.014)." in said
    assert "With 3 seeds, a row that is worse than the best by" in said and "is detected with 80% power" in said


def test_the_only_row_with_several_seeds_is_best_and_its_spread_is_used_for_the_other(tmp_path: Path) -> None:
    [table] = built(tmp_path, "comparisons", *trials("fashion", "vae", *BAD), *trials("fashion", "glf", 1000.0))
    assert [(row, number.leading) for row, number in numbers(table, "fd")] == [("vae", True), ("glf", False)]


def test_rows_with_one_seed_are_not_compared(tmp_path: Path) -> None:
    [table] = built(tmp_path, "comparisons", *trials("fashion", "vae", 2.0), *trials("fashion", "glf", 1.0))
    assert [row[2:] for row in table.texts()] == [["", "", ""], ["", "", ""]]
    assert any(note.startswith("Nothing is bold") for note in table.notes)
    assert not any(note.startswith("Resolution") for note in table.notes)


def test_a_row_that_lost_trials_is_not_tested(tmp_path: Path) -> None:
    gone = trials("fashion", "glf", 50.0, 51.0)
    gone[1]["collapsed"] = True
    [table] = built(tmp_path, "comparisons", *gone, *trials("fashion", "vae", *BAD), *trials("fashion", "aae", *GOOD))
    assert {row: number.leading for row, number in numbers(table, "fd")} == {"glf": None, "aae": True, "vae": False}


def anchors(dataset: str, floor: float) -> dict[str, Any]:
    return trials(dataset, "floor", floor, profile="anchors")[0]


def test_every_dataset_counts_the_same_however_many_trials_it_has(tmp_path: Path) -> None:
    """By hand: on fashion, the floor is 10 and GLF has 40 in four trials; on mnist, the floor is 1 and GLF has 9 in
    two. The geometric mean of 4 and 9 is 6. AAE has no trial on mnist.
    """
    records = [
        *(anchors("fashion", 10.0), anchors("mnist", 1.0)),
        *(*trials("fashion", "vae", 115.0, 125.0), *trials("mnist", "vae", 9.0, 11.0)),
        *(*trials("fashion", "glf", 40.0, 40.0, 40.0, 40.0), *trials("mnist", "glf", 9.0, 9.0)),
        *(*trials("fashion", "aae", 1.0), *trials("fashion", "rae_gmm", 39.0, 42.0), *trials("mnist", "rae_gmm", 9.0)),
    ]
    [table] = built(tmp_path, "overall", *records)
    texts = table.texts()
    assert [line[0] for line in texts] == ["GLF", "RAE+GMM", "VAE"]
    assert texts[0][1:4] == ["6.00", "6.00 to 6.00", "1"] and texts[0][5] == "6"
    assert texts[2][1] == f"{(np.sqrt(11.5 * 12.5 * 9 * 11)) ** 0.5:.2f}" and texts[2][3] == "3"
    notes = " ".join(table.notes)
    assert "Geometric mean over MNIST, Fashion (under lite)" in notes and "or collapsed trials: AAE." in notes


def test_the_mean_is_over_networks_too(tmp_path: Path) -> None:
    both = [
        *trials("fashion", "vae", *BAD),
        *trials("mnist", "vae", *GOOD),
        anchors("fashion", 10.0),
        anchors("mnist", 10.0),
    ]
    for record in both:
        other = evaluation([{"fd": 5.0 if record["row"] == "floor" else 10.0}], {**REAL, "extractor": "classifier"})
        other["settings"]["protocol"]["name"] = "other"
        record["metrics"]["b" * 12] = other
    [table] = built(tmp_path, "overall", *both)
    assert "over MNIST, Fashion (under lite, other)" in table.notes[0]
    assert (
        table.texts()[0][1] == f"{(np.prod(BAD) ** (1 / 3) / 10 * np.prod(GOOD) ** (1 / 3) / 10 * 2 * 2) ** 0.25:.2f}"
        and table.name == "overall"
    )


def test_networks_that_disagree_about_a_seed_do_not_widen_the_interval(tmp_path: Path) -> None:
    """Both networks score the same images: 10 and 40 under one, 40 and 10 under the other, and so 20 for each seed."""
    both = [*trials("fashion", "vae", 10.0, 40.0), *trials("mnist", "vae", 10.0, 40.0)]
    both += [anchors("fashion", 10.0), anchors("mnist", 10.0)]
    for record in both:
        value = 10.0 if record["row"] == "floor" else {0: 40.0, 1: 10.0}[record["seed"]]
        other = evaluation([{"fd": value}], {**REAL, "extractor": "classifier"})
        other["settings"]["protocol"]["name"] = "other"
        record["metrics"]["b" * 12] = other
    [table] = built(tmp_path, "overall", *both)
    assert table.texts() == [["VAE", "2.00", "2.00 to 2.00", "1", "1 to 1", "4"]]


def test_a_network_under_which_only_one_row_has_every_dataset_does_not_count(tmp_path: Path) -> None:
    """The other network has scored only GLF. If it counted, GLF would be the only row of the table."""
    every = [
        *(*trials("fashion", "vae", 40.0, 40.0), *trials("mnist", "vae", 90.0, 90.0)),
        *(*trials("fashion", "glf", 20.0, 20.0), *trials("mnist", "glf", 10.0, 10.0)),
        *(anchors("fashion", 10.0), anchors("mnist", 10.0)),
    ]
    for record in every:
        if record["row"] != "vae":
            other = evaluation([{"fd": 7.0}], {**REAL, "extractor": "classifier"})
            other["settings"]["protocol"]["name"] = "other"
            record["metrics"]["b" * 12] = other
    [table] = built(tmp_path, "overall", *every)
    assert [line[:2] for line in table.texts()] == [["GLF", "1.41"], ["VAE", "6.00"]]
    assert "Not counted: other, under which fewer than two rows have" in table.notes[-1]
    assert "(under lite)" in table.notes[0]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ([1.0, 2.0, 3.0], "1.00"),
        ([3.0, 2.0, 1.0], "-1.00"),
        ([1.0, 1.0, 2.0], "0.87"),  # ties have their mean rank
        ([1.0, 1.0, 1.0], ""),
        ([1.0, 3.0], ""),
    ],
)
def test_agreement_is_the_rank_correlation_of_rows_that_both_networks_scored(
    tmp_path: Path, other: list[float], told: str
) -> None:
    rows = {"vae": 10.0, "glf": 20.0, "aae": 30.0}
    records = [record for row, fd in rows.items() for record in trials("fashion", row, fd)]
    for record, fd in zip(records[: len(other)], other, strict=True):  # the other network may not have scored the third
        scored = evaluation([{"fd": fd}], {**REAL, "extractor": "classifier"})
        scored["settings"]["protocol"]["name"] = "other"
        record["metrics"]["b" * 12] = scored
    [table] = built(tmp_path, "agreement", *records)
    assert table.texts() == [["lite, other", told, str(len(other))]]


def test_one_network_has_no_table_of_agreement(tmp_path: Path) -> None:
    assert built(tmp_path, "agreement", *trials("fashion", "vae", 1.0)) == []


def test_with_one_dataset_nothing_is_averaged_and_a_note_says_what_is_needed(tmp_path: Path) -> None:
    [table] = built(tmp_path, "overall", anchors("fashion", 1.0), *trials("fashion", "vae", *BAD))
    assert table.texts() == [] and "|" not in markdown.render(table)
    assert any("at least two datasets" in note and "here: Fashion" in note for note in table.notes)


def test_a_note_says_if_no_row_has_every_dataset(tmp_path: Path) -> None:
    records = [*trials("fashion", "vae", *BAD), *trials("mnist", "glf", *GOOD)]
    [table] = built(tmp_path, "overall", *records, anchors("fashion", 1.0), anchors("mnist", 1.0))
    assert table.texts() == []
    assert any("no row has a number in each of" in note for note in table.notes)


def test_each_protocol_has_its_own_comparisons(tmp_path: Path) -> None:
    both = [*trials("fashion", "vae", *BAD), *trials("fashion", "glf", *GOOD)]
    for record in both:
        record["metrics"]["b" * 12] = evaluation([{"fd": 1.0}], {**REAL, "extractor": "classifier"})
    for record in both:
        record["metrics"]["b" * 12]["settings"]["protocol"]["name"] = "other"
    put(tmp_path, *both)
    [chapter] = report.make(tmp_path, ["comparisons", "overall"]).chapters
    names = [table.name for table in chapter.tables]
    assert names == ["comparisons-fashion-lite", "comparisons-fashion-other", "overall"]


def test_priors_on_one_trunk_are_compared_seed_by_seed(tmp_path: Path) -> None:
    """The seeds of the trunk differ by 20%, the priors by 5% on each seed. Only a paired test detects the latter."""
    trunk = (80.0, 100.0, 120.0, 95.0)
    rows = {"rae+gmm": 1.0, "rae+flow": 1.05, "rae+kde": 1.0, "vae+gmm": 2.0}
    wobble = {"rae+gmm": (1.0, 1.0, 1.0, 1.0), "rae+kde": (1.004, 0.999, 1.003, 0.998)}
    records = [
        record
        for row, level in rows.items()
        for record in trials(
            "fashion",
            row,
            *(level * x * w for x, w in zip(trunk, wobble.get(row, (1.002, 0.999, 1.001, 1.0)), strict=True)),
        )
    ]
    [table] = built(tmp_path, "priors", *records)
    assert [line[0] for line in table.texts()] == [
        "RAE + GMM",
        "RAE + KDE",
        "RAE + flow",
    ] and table.name == "priors-fashion"
    p = {row: number.value for row, number in numbers(table, "p (paired, Holm)")}
    assert p["rae+flow"] is not None and p["rae+kde"] is not None and p["rae+flow"] < 0.001 < 0.05 < p["rae+kde"]
    [compared] = built(tmp_path / "apart", "comparisons", *records)
    assert {row: number.leading for row, number in numbers(compared, "fd")}["rae+flow"]


def test_without_pairs_there_is_no_table_of_priors(tmp_path: Path) -> None:
    assert built(tmp_path, "priors", *trials("fashion", "glf", *GOOD), *trials("fashion", "rae+gmm", *GOOD)) == []


def crossed() -> list[dict[str, Any]]:
    """Return two trunks with reconstructions and their pairs with three priors, of two seeds; all pairs of a trunk
    share its noise.
    """
    levels = {"rae": 100.0, "vae": 400.0}, {"gmm": 1.0, "flow": 1.002, "normal": 1.5}
    found = []
    for trunk, level in levels[0].items():
        seen = trials("fashion", trunk, level, level)
        for record in seen:
            record["metrics"][A]["model"]["reconstruction_fd"] = level / 2
        found += seen
        for prior, factor in levels[1].items():
            wobble = 0.001 if prior == "flow" else 0.0
            found += trials("fashion", f"{trunk}+{prior}", level * factor * 0.9, level * factor * (1.1 + wobble))
    return found


@pytest.mark.slow
def test_the_matrix_has_a_line_per_trunk_with_its_floor_and_the_leading_priors(tmp_path: Path) -> None:
    [table] = built(tmp_path, "matrix", *crossed(), ended("diverged", row="rae+normal", seed=2, config=PAIR))
    assert table.heads == ["Trunk", "reconstruction", "GMM", "flow", "N(0, I)"]
    assert [line[:2] for line in table.texts()] == [["RAE", "50.0 ± 0.0 (2)"], ["VAE", "200.0 ± 0.0 (2)"]]
    leading = {(cell.row, cell.numbers[0].leading) for line in table.lines for cell in line[2:]}
    assert {row for row, leads in leading if leads} == {f"{t}+{p}" for t in ("rae", "vae") for p in ("gmm", "flow")}
    assert table.texts()[0][4].endswith("[1 diverged]")


def test_a_pair_with_a_diverged_seed_is_neither_best_nor_tested_nor_part_of_the_variance(tmp_path: Path) -> None:
    """Otherwise the mean of its remaining seeds would flatter it."""
    lost = ended("diverged", row="rae+flow", seed=2, config=PAIR | {"prior": "flow"})
    records = [*crossed(), *trials("fashion", "rae+flow", 1.0, 1.1, config=PAIR | {"prior": "flow"}), lost]
    kept = {(one["row"], one["seed"]): one for one in records}.values()
    [table] = built(tmp_path, "matrix", *kept)
    cells = {cell.row: cell for line in table.lines for cell in line[2:]}
    assert cells["rae+flow"].numbers[0].leading is None and cells["rae+gmm"].numbers[0].leading
    [priors] = built(tmp_path, "priors")
    assert "GLF" not in [line[0] for line in priors.texts() if line[2] == "best"]
    assert "RAE + flow" not in [line[0] for line in priors.texts()]
    [split] = built(tmp_path, "variance")
    assert not any(" over 6 pairs" in note for note in split.notes)


PAIR = make()["config"] | {"trunk": {"row": "rae"}, "prior": "normal"}


@pytest.mark.slow
def test_trials_of_a_pair_under_another_name_count_once(tmp_path: Path) -> None:
    """Their difference to themselves is exactly 0, which would make all other priors of the trunk look less certain."""
    [before] = built(tmp_path / "one", "priors", *crossed())
    named = trials("fashion", "glf_two_step", 100.0 * 1.5 * 0.9, 100.0 * 1.5 * 1.1, config=PAIR)
    [table] = built(tmp_path, "matrix", *crossed(), *named)
    assert [cell.row for cell in table.lines[0][2:]] == ["rae+gmm", "rae+flow", "rae+normal"]
    assert "Trials: 12 (12 ok)." in table.notes
    [priors] = built(tmp_path, "priors")
    assert priors.texts() == before.texts()


def test_the_name_with_more_trials_of_a_pair_counts(tmp_path: Path) -> None:
    named = trials("fashion", "glf_two_step", 135.0, 165.0, 150.0, config=PAIR)  # rae+normal has two of these seeds
    [table] = built(tmp_path, "matrix", *crossed(), *named)
    assert [cell.row for cell in table.lines[0][2:]] == ["rae+gmm", "rae+flow", "glf_two_step"]
    assert table.texts()[0][4] == "150.0 ± 15.0 (3)" and "Trials: 13 (13 ok)." in table.notes
    [priors] = built(tmp_path, "priors")
    rows = [line[0] for line in priors.texts()]
    assert "GLF, two-step" in rows and "RAE + N(0, I)" not in rows


def test_a_pair_with_other_settings_is_a_row_of_its_own_among_the_priors(tmp_path: Path) -> None:
    named = trials("fashion", "glf_two_step", 50.0, 51.0, config=PAIR, key="4a2f000000000000")
    [priors] = built(tmp_path, "priors", *crossed(), *named)
    assert {"GLF, two-step", "RAE + N(0, I)"} <= {line[0] for line in priors.texts()}


def test_the_matrix_takes_a_pair_by_the_name_that_has_trials_on_the_dataset(tmp_path: Path) -> None:
    other = [one for one in crossed() if one["row"] != "rae+normal"]
    named = trials("fashion", "glf_two_step", 150.0, 151.0, config=PAIR)
    elsewhere = trials("mnist", "rae+normal", 9.0, 9.5, config=PAIR)
    tables = built(tmp_path, "matrix", *other, *named, *elsewhere)
    assert tables[-1].texts()[0][-1].startswith("150.5")


def test_the_variance_over_pairs_is_split(tmp_path: Path) -> None:
    [table] = built(tmp_path, "variance", *crossed())
    assert [line[:2] for line in table.texts()] == [
        ["Fashion", "trunk"],
        ["", "prior"],
        ["", "interaction"],
        ["", "seeds"],
    ]
    shares = [number.value or 0.0 for _, number in numbers(table, "share of the variance of log FD")]
    assert sum(shares) == pytest.approx(1) and shares[0] > 0.85
    assert any(note.startswith("On Fashion, over 6 pairs of 2 trunks and 3 priors") for note in table.notes)


def test_one_seed_gives_no_split_and_a_note_says_so(tmp_path: Path) -> None:
    [table] = built(tmp_path, "variance", *(record for record in crossed() if record["seed"] == 0))
    assert table.lines == [] and any(note.startswith("The variance on Fashion cannot be split") for note in table.notes)


@pytest.mark.parametrize("name", ["matrix", "variance"])
def test_without_pairs_there_is_no_matrix(tmp_path: Path, name: str) -> None:
    assert built(tmp_path, name, *trials("fashion", "glf", *GOOD)) == []
