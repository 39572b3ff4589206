"""The distance as a function of the training budget, from probes with known results."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import make, put

from aegen_bench.report import budget, build
from aegen_bench.report.budget import Curve

STAGES = {"train": {"images": 1000, "steps": 100}, "second": {"images": 3000, "steps": 10}}


def curve(*points: tuple[float, float], images: float = 100) -> Curve:
    """Return the curve through points (images, distance), with one step per image."""
    seen, distance = np.array(points, dtype=float).T
    return Curve(images, images, seen, seen, distance)


def probe(stage: str, images: int, fd: float) -> tuple[dict[str, Any], float]:
    return {"stage": stage, "images": images}, fd


def test_images_and_steps_add_up_over_stages() -> None:
    found = budget.read([probe("train", 500, 9), probe("train", 1000, 8), probe("second", 1500, 4)], STAGES)
    assert found is not None and (found.images, found.steps) == (4000, 110)
    assert found.seen.tolist() == [500, 1000, 2500] and found.taken.tolist() == [50, 100, 105]


def test_a_trial_without_a_usable_probe_has_no_curve() -> None:
    assert budget.read([], STAGES) is None
    assert budget.read([probe("train", 500, 0.0), probe("elsewhere", 500, 3.0)], STAGES) is None


def test_a_share_has_the_value_of_the_last_probe_within_it_and_nan_before_the_first() -> None:
    found = curve((5, 30), (25, 20), (100, 10))
    assert math.isnan(found.at(0.01))
    assert [found.at(share) for share in (0.05, 0.24, 0.25, 1.0)] == [30, 30, 20, 10]


def test_the_area_is_the_geometric_mean_over_the_logarithm_of_the_images() -> None:
    assert curve((1, 100), (10, 100), (100, 100)).area == pytest.approx(100)
    assert curve((1, 100), (10, 10), (100, 1)).area == pytest.approx(10)  # a straight line on log-log axes
    assert math.isnan(curve((1, 100)).area)


def test_the_crossing_is_where_the_row_that_ends_best_takes_the_lead_for_good() -> None:
    best, fast = curve((1, 100), (100, 1)), curve((1, 10), (100, 10))  # the two are equal at 10 images
    assert budget.crossing([fast], [best]) == pytest.approx(10, rel=0.05)
    assert math.isnan(budget.crossing([best], [curve((1, 50), (100, 0.5))]))  # the row is behind all along
    assert math.isnan(budget.crossing([curve((1, 10), (2, 9))], [curve((3, 9), (100, 1))]))  # the curves do not overlap


def test_rows_are_compared_where_all_of_their_trials_have_probes() -> None:
    """By hand: from 50 images on, the mean of 10 / x and 1 is (10 / x)^(1/2), which equals 25 / x at 62.5."""
    row, late = curve((1, 10), (100, 0.1)), curve((50, 1), (100, 1))
    assert budget.crossing([row, late], [curve((1, 25), (100, 0.25))]) == pytest.approx(62.5, rel=0.02)


def test_no_crossing_is_given_for_a_row_that_is_still_ahead_where_the_curves_stop_overlapping() -> None:
    assert math.isnan(budget.crossing([curve((1, 10), (50, 5))], [curve((1, 20), (100, 4.5))]))


def test_the_table_lists_every_probed_row_by_its_final_distance(tmp_path: Path) -> None:
    probes = {"glf": [50.0, 30.0, 10.0], "vae": [20.0, 20.0, 20.0]}
    for row, values in probes.items():
        (record,) = put(tmp_path, make(row=row, config=make()["config"] | {"probe": {"every": 5, "images": 100}}))
        looked = [
            {"stage": "train", "epoch": e, "images": 119680 * e // 10, "seconds": e, "metrics": {"fd": fd}}
            for e, fd in zip((1, 5, 10), values, strict=True)
        ]
        (record.parent / "history.json").write_text(json.dumps({"epochs": [], "probes": looked}))
    text = build.make(tmp_path, ["budget"], profile="lite").text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    names, glf, vae = lines[0], lines[2], lines[3]
    assert (glf[0], vae[0]) == ("GLF", "VAE")
    assert glf[1:3] == ["119,680", "1,870"]
    shares = [i for i, name in enumerate(names) if name.startswith("FD at")]
    assert [glf[i].split()[0] for i in shares] == ["—", "—", "50.0", "10.0"]
    assert glf[-1] == "" and 59_840 < float(vae[-1].replace(",", "")) < 119_680
