"""Timing runs: their files, and Table 6."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from records import make, put, timing

from aegen_bench import report
from aegen_bench.errors import UserError
from aegen_bench.report import claims, published
from aegen_bench.report.evidence import Evidence
from aegen_bench.report.summary import plan
from aegen_bench.results import load, timings

PUBLISHED = Path(__file__).parents[2] / "baselines" / "published.yaml"


def test_a_newer_run_of_the_same_id_replaces_the_older_one(tmp_path: Path) -> None:
    timings.write(tmp_path, timing("glf", 10.0))
    timings.write(tmp_path, timing("glf", 8.0, 9.0))
    timings.write(tmp_path, timing("glf", 1.0, device="H200"))
    found = timings.read(tmp_path, "lite")
    assert sorted(one.stages["train"].seconds for _, one in found) == [(1.0,), (8.0, 9.0)]
    assert list(timings.read(tmp_path, "paper")) == []


def test_the_time_of_the_whole_training_is_extrapolated_from_its_epochs(tmp_path: Path) -> None:
    """Calculated by hand: ten epochs of 8.5 s, one second of extraction and two of fitting."""
    one = timing("glf", 8.0, 9.0)
    assert one.training == pytest.approx(88.0) and one.trainings() == pytest.approx((83.0, 93.0))


def test_a_file_that_is_not_a_timing_run_is_named(tmp_path: Path) -> None:
    path = timings.write(tmp_path, timing("glf", 8.0))
    path.write_text('{"id": "x"}')
    with pytest.raises(UserError, match=f"{path} is not a timing run: about: Field required"):
        list(timings.read(tmp_path, "lite"))


@pytest.mark.parametrize(
    ("make_one", "why"),
    [
        (Path.mkdir, "Is a directory"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.write_bytes(b" " * (timings.LARGEST + 1)), "larger than the 1 MB"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    ],
    ids=["folder", "FIFO", "too large", "loop"],
)
def test_a_timing_run_that_cannot_be_read_is_named(
    tmp_path: Path, make_one: Callable[[Path], object], why: str
) -> None:
    path = timings.write(tmp_path, timing("glf", 8.0)).with_name("x.json")
    make_one(path)
    with pytest.raises(UserError, match=f"cannot read {path}: {why}"):
        list(timings.read(tmp_path, "lite"))


def test_a_file_in_the_place_of_another_is_named(tmp_path: Path) -> None:
    path = timings.write(tmp_path, timing("glf", 8.0))
    path.with_name("other.json").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"other\.json is a timing run of glf on fashion, which"):
        list(timings.read(tmp_path, "lite"))


def test_a_bad_timing_run_costs_no_table(tmp_path: Path) -> None:
    put(tmp_path, make())
    timings.write(tmp_path, timing("glf", 8.0)).with_name("bad.json").write_text("{}")
    made = report.make(tmp_path, ["1", "6"], profile="lite")
    assert [table.name for table in made.chapters[0].tables] == ["table1", "table6"]
    assert "bad.json is not a timing run" in made.text() and "bad.json" in "".join(made.chapters[0].skipped)


def test_times_of_another_version_of_a_row_do_not_count(tmp_path: Path) -> None:
    put(tmp_path, make(), make(row="vae"))
    timings.write(tmp_path, timing("glf", 8.0, key="f" * 16))
    timings.write(tmp_path, timing("vae", 7.0))
    [chapter] = report.make(tmp_path, ["6"], profile="lite").chapters
    assert [line[1] for line in chapter.tables[0].texts()] == ["VAE"]
    [told] = chapter.skipped
    again = f"aegen-bench time --profile lite --models glf --datasets fashion --results {tmp_path}"
    assert "timed with other code or settings than seed 0 was trained with" in told and again in told


def test_times_of_the_present_version_count_beside_a_trial_of_an_older_one(tmp_path: Path) -> None:
    put(tmp_path, make())
    timings.write(tmp_path, timing("glf", 8.0, key="f" * 16))
    stale = {("lite", "fashion", "glf")}
    [chapter] = report.make(tmp_path, ["6"], profile="lite", stale=lambda trials: stale).chapters
    assert [line[1] for line in chapter.tables[0].texts()] == ["GLF"] and chapter.skipped == []


def test_table_6_takes_its_times_only_from_timing_runs(tmp_path: Path) -> None:
    put(tmp_path, make(), make(row="rae_gmm"))
    [five] = report.make(tmp_path, ["5", "6"], profile="lite").chapters[0].tables
    assert five.label == "Table 5" and any("`aegen-bench time --profile lite" in note for note in five.notes)
    for one in (timing("glf", 10.0, 10.1), timing("rae_gmm", 8.0, 8.1), timing("vae", 7.0)):
        timings.write(tmp_path, one)
    [table] = report.make(tmp_path, ["6"], profile="lite").chapters[0].tables
    assert [line[:5] for line in table.texts()] == [
        ["Fashion", "RAE+GMM", "train", "8.05 ± 0.07 (2)", "83.5"],
        ["Fashion", "GLF", "train", "10.1 ± 0.1 (2)", "104"],
    ]
    [five, _] = report.make(tmp_path, ["5", "6"], profile="lite").chapters[0].tables
    assert not any("aegen-bench time" in note for note in five.notes)
    assert any("(GLF - RAE+GMM) / GLF: Fashion 19.9%" in note for note in table.notes)


def test_times_measured_beside_other_work_are_marked_and_decide_no_claim(tmp_path: Path) -> None:
    put(tmp_path, make(), make(row="rae_gmm"))
    timings.write(tmp_path, timing("rae_gmm", 8.0, 8.1, 8.05))
    for others, verdict, mark in ((0.0, "contradicted", ""), (0.5, "not tested", " §")):
        timings.write(tmp_path, timing("glf", 10.0, 10.1, 10.05, others=others))
        frame = load(tmp_path)
        evidence = Evidence(tmp_path, frame, plan(frame, published.load(PUBLISHED)))
        [found] = [f for f in claims.evaluate(evidence) if f.claim.name == "flow_time" and f.dataset == "fashion"]
        assert (found.verdict, found.place.startswith("EPYC, 2 threads, timing ")) == (verdict, True)
        [table] = report.make(tmp_path, ["6"], profile="lite").chapters[0].tables
        assert table.texts()[1][1] == "GLF" + mark and any(note.startswith("§") for note in table.notes) is bool(mark)
