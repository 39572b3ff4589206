"""Rows against each other: on one dataset, and over all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from records import evaluation, make, put
from scipy import stats

from aegen_bench import report
from aegen_bench.report.cells import Number, Table
from aegen_bench.report.render import markdown
from aegen_bench.report.statistics import hedges_g

PUBLISHED = Path(__file__).parents[2] / "baselines" / "published.yaml"
A = "aaaaaaaaaaaa"
REAL = {"name": "lite", "extractor": "efficientnet_lite0", "describe": "Protocol a.", "real_sha256": "f" * 64}


def trials(dataset: str, row: str, *distances: float, **fields: Any) -> list[dict[str, Any]]:
    """A trial a distance."""
    metrics = [{A: evaluation([{"fd": distance}], REAL)} for distance in distances]
    return [make(dataset=dataset, row=row, seed=i, metrics=m, **fields) for i, m in enumerate(metrics)]


def built(root: Path, name: str, *records: dict[str, Any]) -> list[Table]:
    put(root, *records)
    return [*report.make(root, PUBLISHED, [name], profile="lite").chapters[0].tables]


def numbers(table: Table, quantity: str) -> list[tuple[str, Number]]:
    """(row, number) of a quantity."""
    return [(cell.row, number) for cell in table.cells() for number in cell.numbers if number.quantity == quantity]


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
    assert ["|".join(row) for row in table.texts()] == [
        "AAE|90.0 (1)|||||",
        "RAE+GMM|100.0 ± 2.0 (3)|95.0 to 105.0|best|||",
        "GLF|103.0 ± 2.0 (3)|98.0 to 108.0|+3.0|-1.5 to 7.5|1.20|0.140",
        f"VAE|300.0 ± 10.0 (3)|275.2 to 324.8|+200.0|{interval.low:.1f} to {interval.high:.1f}"
        f"|{hedges_g(BAD, GOOD):.2f}|{3 * test.pvalue:.3f}",
        "GLF+perceptual loss †|50.5 ± 0.7 (2)|44.1 to 56.9||||",
    ]
    assert [row for row, number in numbers(table, "fd") if number.leading] == ["rae_gmm", "glf"]
    assert any("Holm-corrected over the 3 pairs" in note for note in table.notes)
    pairs = {(row, number.against): number.value for row, number in numbers(table, "fd p (Welch, Holm)")}
    assert pairs["rae_gmm", "vae"] == pytest.approx(3 * test.pvalue) and len(pairs) == 3


def test_one_row_with_seeds_is_compared_with_nothing(tmp_path: Path) -> None:
    [table] = built(tmp_path, "comparisons", *trials("fashion", "vae", *BAD), *trials("fashion", "glf", 1.0))
    assert [row[3:] for row in table.texts()] == [["", "", "", ""], ["", "", "", ""]]
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
    assert table.heads == ["Model", "IQM", "95% interval", "trials", "vs 1", "vs 2", "vs 3"]
    assert ["|".join(row) for row in table.texts()] == [
        "1. RAE+GMM|0.333||3||0.69|1.00",
        f"2. GLF|0.350|{table.texts()[1][2]}|4|0.31||1.00",
        f"3. VAE|1.000|{table.texts()[2][2]}|4|0.00|0.00|",
    ]
    low, high = map(float, table.texts()[1][2].split(" to "))
    assert 0.2 <= low < 0.35 < high <= 0.5
    notes = " ".join(table.notes)
    assert "Over MNIST, Fashion." in notes and "Left out, because not on all of these datasets: AAE." in notes
    chances = [number for _, number in numbers(table, "probability of improvement")]
    assert {number.against for number in chances} == {"vae", "glf", "rae_gmm"}
    assert all(number.low <= number.value <= number.high for number in chances)  # type: ignore[operator]


def test_one_dataset_or_no_anchor_averages_nothing_and_says_what_it_needs(tmp_path: Path) -> None:
    [table] = built(tmp_path, "overall", anchors("fashion", 1.0), *trials("fashion", "vae", *BAD))
    assert table.texts() == [] and "|" not in markdown.render(table)
    assert any("needs two datasets" in note and "here: Fashion" in note for note in table.notes)


def test_two_protocols_have_comparisons_of_their_own(tmp_path: Path) -> None:
    both = [*trials("fashion", "vae", *BAD), *trials("fashion", "glf", *GOOD)]
    for record in both:
        record["metrics"]["b" * 12] = evaluation([{"fd": 1.0}], {**REAL, "extractor": "classifier"})
    for record in both:
        record["metrics"]["b" * 12]["settings"]["protocol"]["name"] = "other"
    put(tmp_path, *both)
    [chapter] = report.make(tmp_path, PUBLISHED, ["comparisons", "overall"]).chapters
    names = [table.name for table in chapter.tables]
    assert names == [f"{kind}-{name}" for kind in ("comparisons-fashion", "overall") for name in ("lite", "other")]
