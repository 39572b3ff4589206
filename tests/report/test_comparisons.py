"""Rows against each other: on one dataset, over all of them, and the diagram of their ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from records import evaluation, make, put
from scipy import stats

from aegen_bench import report, results
from aegen_bench.report import markdown, published, tables
from aegen_bench.report.statistics import hedges_g
from aegen_bench.report.table import Table

PUBLISHED = Path(__file__).parents[2] / "baselines" / "published.yaml"
PAPER = published.load(PUBLISHED)
A = "aaaaaaaaaaaa"
REAL = {"name": "lite", "extractor": "efficientnet_lite0", "describe": "Protocol a.", "real_sha256": "f" * 64}


def trials(dataset: str, row: str, *distances: float, **fields: Any) -> list[dict[str, Any]]:
    """A trial a distance."""
    metrics = [{A: evaluation([{"fd": distance}], REAL)} for distance in distances]
    return [make(dataset=dataset, row=row, seed=i, metrics=m, **fields) for i, m in enumerate(metrics)]


def built(root: Path, name: str, *records: dict[str, Any]) -> list[Table]:
    put(root, *records)
    return [*report.make(root, PUBLISHED, [name], profile="lite").chapters[0].tables]


GOOD, CLOSE, BAD = (100.0, 102.0, 98.0), (103.0, 101.0, 105.0), (300.0, 310.0, 290.0)


def test_a_dataset_shows_each_row_against_the_best(tmp_path: Path) -> None:
    """The differences and intervals by scipy's own Welch test, on the same numbers."""
    marked = trials("fashion", "glf_perceptual", 50.0, 51.0)
    for record in marked:
        record["config"]["dagger"] = ["efficientnet_lite0"]
    fair = [*trials("fashion", "vae", *BAD), *trials("fashion", "glf", *CLOSE), *trials("fashion", "rae_gmm", *GOOD)]
    [table] = built(tmp_path, "comparisons", *fair, *trials("fashion", "aae", 90.0), *marked)
    test = stats.ttest_ind(BAD, GOOD, equal_var=False)
    interval = test.confidence_interval()
    assert ["|".join(row) for row in table.rows] == [
        "AAE|90.0 (1)|||||",
        "RAE+GMM|100.0 ± 2.0 (3)|95.0 to 105.0|best|||",
        "GLF|103.0 ± 2.0 (3)|98.0 to 108.0|+3.0|-1.5 to 7.5|1.20|0.140",
        f"VAE|300.0 ± 10.0 (3)|275.2 to 324.8|+200.0|{interval.low:.1f} to {interval.high:.1f}"
        f"|{hedges_g(BAD, GOOD):.2f}|{3 * test.pvalue:.3f}",
        "GLF+perceptual loss †|50.5 ± 0.7 (2)|44.1 to 56.9||||",
    ]
    assert [row[0] for row in table.rows if getattr(row[1], "bold", ())] == ["RAE+GMM", "GLF"]
    assert any("Holm-corrected over the 3 pairs" in note for note in table.notes)
    pairs = {(v.row, v.against): v.value for v in table.values if v.quantity == "fd p (Welch, Holm)"}
    assert pairs["rae_gmm", "vae"] == pytest.approx(3 * test.pvalue) and len(pairs) == 3


def test_one_row_with_seeds_is_compared_with_nothing(tmp_path: Path) -> None:
    [table] = built(tmp_path, "comparisons", *trials("fashion", "vae", *BAD), *trials("fashion", "glf", 1.0))
    assert [row[3:] for row in table.rows] == [["", "", "", ""], ["", "", "", ""]]
    assert any(note.startswith("Nothing is bold") for note in table.notes)


def anchors(dataset: str, floor: float) -> dict[str, Any]:
    return trials(dataset, "floor", floor, profile="anchors")[0]


def test_over_all_datasets_distances_are_scaled_by_floor_and_vae(tmp_path: Path) -> None:
    """By hand: on fashion the floor is 20 and the VAE 120, so GLF's 70 and 60 are 0.5 and 0.4; on mnist 0 and 10, so
    its 3 and 2 are 0.3 and 0.2. The middle half of 0.2, 0.3, 0.4, 0.5 is 0.3 and 0.4. RAE+GMM has 0.5, 0.3 and 0.2: it
    wins 2.5 of 4 pairs and 1.5 of 2.
    """
    records = [
        *(anchors("fashion", 20.0), anchors("mnist", 0.0)),
        *(*trials("fashion", "vae", 115.0, 125.0), *trials("mnist", "vae", 9.0, 11.0)),
        *(*trials("fashion", "glf", 70.0, 60.0), *trials("mnist", "glf", 3.0, 2.0)),
        *(*trials("fashion", "aae", 1.0), *trials("fashion", "rae_gmm", 70.0, 50.0), *trials("mnist", "rae_gmm", 2.0)),
    ]
    [table] = built(tmp_path, "overall", *records)
    assert table.columns == ["Model", "IQM", "95% interval", "trials", "vs 1", "vs 2", "vs 3"]
    assert ["|".join(row) for row in table.rows] == [
        "1. RAE+GMM|0.333||3||0.69|1.00",
        f"2. GLF|0.350|{table.rows[1][2]}|4|0.31||1.00",
        f"3. VAE|1.000|{table.rows[2][2]}|4|0.00|0.00|",
    ]
    low, high = map(float, table.rows[1][2].split(" to "))
    assert 0.2 <= low < 0.35 < high <= 0.5
    notes = " ".join(table.notes)
    assert "Over MNIST, Fashion." in notes and "Left out, not on all of these datasets: AAE." in notes
    assert "need 6 datasets (Demsar 2006); here: 2." in notes
    assert {value.against for value in table.values if value.quantity == "probability of improvement"} == {
        "vae",
        "glf",
        "rae_gmm",
    }


def test_one_dataset_or_no_anchor_averages_nothing_and_says_what_it_needs(tmp_path: Path) -> None:
    [table] = built(tmp_path, "overall", anchors("fashion", 1.0), *trials("fashion", "vae", *BAD))
    assert table.rows == [] and "|" not in markdown.render(table)
    assert any("needs two datasets" in note and "here: Fashion" in note for note in table.notes)


def six(root: Path, rows: dict[str, float]) -> None:
    for i in range(6):
        put(root, *(one for row, level in rows.items() for one in trials(f"set{i}", row, level + i, level + i + 0.1)))


def test_ranks_and_their_diagram_come_with_six_datasets(tmp_path: Path) -> None:
    root, out = tmp_path / "results", tmp_path / "out"
    six(root, {"vae": 30.0, "glf": 10.0, "rae_gmm": 20.0})
    marked = trials("set0", "glf_perceptual", 1.0)[0]
    marked["config"]["dagger"] = ["efficientnet_lite0"]
    put(root, marked, trials("set0", "aae", 1.0)[0])
    [table] = report.make(root, PUBLISHED, ["overall"]).chapters[0].tables
    assert table.columns == ["Model", "average rank"]  # nothing to scale distances by
    assert table.rows == [["1. GLF", "1.00"], ["2. RAE+GMM", "2.00"], ["3. VAE", "3.00"]]
    found = {v.row: v.value for v in table.values if v.quantity == "average rank"}
    assert found == {"glf": 1.0, "rae_gmm": 2.0, "vae": 3.0}  # AAE lacks five of the sets, a marked row is not ranked
    assert any("Friedman's test" in note and "over 6 datasets" in note for note in table.notes)
    assert list(report.draw(root, PUBLISHED, out, ["ranks"])) == ["figure ranks, profile lite: 2 files"]
    assert (out / "lite/figure-ranks.png").is_file()


def test_five_datasets_have_no_diagram(tmp_path: Path) -> None:
    put(tmp_path, *(one for i in range(5) for row in ("vae", "glf", "aae") for one in trials(f"set{i}", row, 1.0 + i)))
    [line] = report.draw(tmp_path, PUBLISHED, tmp_path / "out", ["ranks"])
    assert "nothing to draw: it needs three rows on 6 datasets" in line


def test_two_protocols_have_comparisons_of_their_own(tmp_path: Path) -> None:
    both = [*trials("fashion", "vae", *BAD), *trials("fashion", "glf", *GOOD)]
    for record in both:
        record["metrics"]["b" * 12] = evaluation([{"fd": 1.0}], {**REAL, "extractor": "classifier"})
    put(tmp_path, *both)
    names = [table.name for table in tables.build(results.load(tmp_path), PAPER, ["comparisons", "overall"])]
    assert names == [f"{kind}-{i * 12}" for kind in ("comparisons-fashion", "overall") for i in "ab"]
