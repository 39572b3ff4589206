"""The sanity checks of metrics: their verdicts on known numbers, and the command."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import Bench

from aegen_bench.evaluation import Protocol, checks, metrics
from aegen_bench.evaluation.checks import CHECKS, NOT_CHECKED, _judged, _mark, rules

UNSEEN = {f"unseen {i}": 10.0 + 0.1 * (i - 1.5) for i in range(4)}
GOOD = {"identical": 0.0, "half the modes": 20.0, "blur": 30.0, "noise": 30.0, "copies": 30.0, "half as many": 10.1}
OUTLIERS = {"5% outliers": 11.0, "50% outliers": 22.0}


def test_a_number_that_worsens_where_it_should_passes_every_check() -> None:
    checked = _judged(UNSEEN | GOOD | OUTLIERS, 1)
    assert checked.passed == dict.fromkeys(CHECKS, True) and checked.values["unseen"] == pytest.approx(10)
    assert not any(_judged(UNSEEN | GOOD | OUTLIERS, -1).passed[name] for name in ("blur", "identical", "5% outliers"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("identical", {"identical": 10.5}),
        ("half the modes", {"half the modes": 10.2}),
        ("blur", {"blur": 9.0}),
        ("noise", {"noise": 10.3}),
        ("5% outliers", {"5% outliers": 18.0}),
        ("copies", {"copies": 10.0}),
        ("n and 2n", {"half as many": 11.0}),
    ],
)
def test_each_check_can_fail_alone(name: str, change: dict[str, float]) -> None:
    passed = _judged(UNSEEN | GOOD | OUTLIERS | change, 1).passed
    assert [check for check, ok in passed.items() if not ok] == [name]


def test_a_failed_check_is_in_brackets_if_the_number_is_not_meant_to_pass_it() -> None:
    assert (_mark("fd", "copies", False), _mark("fd", "blur", False)) == ("(✗)", "✗")
    assert (_mark("precision", "half the modes", False), _mark("recall", "half the modes", False)) == ("(✗)", "✗")
    assert _mark("copying_z", "copies", False) == "✗" and _mark("fd", "blur", True) == "✓"


def test_the_page_has_every_checked_number_every_check_and_the_current_rules() -> None:
    numbers = {n for name in metrics.names() if metrics.load(name).PER == "draw" for n in metrics.load(name).VALUES}
    page = (Path(__file__).parents[2] / "docs/metric-checks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^<!-- aegen-bench check-metrics [^\n]* -->\n(#.*?)<!-- end -->", page, re.M | re.S)
    assert len(blocks) >= 2
    for block in blocks:
        table = block.split("\n\n")[1].splitlines()
        assert table[0] == f"| number | {' | '.join(CHECKS)} |"
        assert {line.split("|")[1].strip(" `") for line in table[2:]} == numbers - NOT_CHECKED - {"fid", "fwd"}
        assert list(rules()) == block.strip().split("\n\n")[-1].splitlines()


@pytest.mark.slow
def test_the_command_prints_a_table_of_every_number_and_says_how_many_images_there_are(bench: Bench) -> None:
    ended = bench("check-metrics", "--dataset", "digits", "--protocol", "tiny", "--count", "100")
    assert ended.code == 0, ended.err
    rows = [line.split("|")[1].strip() for line in ended.out.splitlines() if line.startswith("| `")]
    assert {"`fd`", "`kid`", "`clipped_coverage`"} <= set(rows) and "`kid_se`" not in rows
    assert bench("check-metrics", "--dataset", "digits", "--protocol", "tiny", "--count", "5000").code == 2


def test_the_sets_of_a_dataset_that_is_stored_class_by_class_have_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = np.repeat(np.arange(10, dtype=np.uint8), 90)
    images = np.broadcast_to(classes[:, None, None, None], (900, 1, 8, 8)).copy()
    found = list[np.ndarray]()

    def variants(training: np.ndarray, rest: np.ndarray, *more: object) -> None:
        found.extend(rest[start : start + 100, 0, 0, 0] for start in range(0, 400, 100))
        raise StopIteration

    monkeypatch.setattr(checks, "variants", variants)
    scorer = SimpleNamespace(dataset="ordered", real=lambda split: (images, "fingerprint"))
    with pytest.raises(StopIteration):
        checks.check(scorer, Protocol(extractor="random_conv", count=100), 100)  # type: ignore[arg-type]
    assert [len(set(part.tolist())) for part in found] == [10] * 4


def test_ctrl_c_ends_the_command_with_one_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, "check", interrupted)
    ended = bench("check-metrics", "--dataset", "digits", "--protocol", "tiny")
    assert ended.code == 130 and ended.err.startswith("aegen-bench: stopped; ") and ended.err.count("\n") == 1
