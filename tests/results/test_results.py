"""Result files: written atomically, validated when read, never changed."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from records import evaluation, make, put

from aegen_bench import report, results
from aegen_bench.errors import UserError
from aegen_bench.files import write_json
from aegen_bench.results import Evaluation, Record

ID, F, KEY = "a1b2c3d4e5f6", "f" * 12, "3f2a000000000000"


def test_json_keeps_its_order_with_one_value_per_line_and_null_for_non_finite_numbers(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.json"
    write_json(path, {"b": (1.5, math.nan), "a": {"x": -math.inf}})
    assert path.read_text() == '{\n "b": [\n  1.5,\n  null\n ],\n "a": {\n  "x": null\n }\n}\n'
    assert os.listdir(path.parent) == ["history.json"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_failed_write_leaves_the_old_file_intact_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"old": 1})

    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=f"cannot write {path}: {os.strerror(code)}") as error:
        write_json(path, {"new": 2})
    assert "\n" not in str(error.value)
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_folder_that_cannot_be_created_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "lite").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="cannot write"):
        write_json(tmp_path / "lite" / "record.json", {})


def test_a_trial_has_its_own_folder_and_no_name_leads_out_of_it() -> None:
    folder = results.trial_folder("results", "lite+train_images=4000", "fashion", "glf", 2)
    assert folder == Path("results/lite+train_images=4000/fashion/glf/seed-2")
    for name in ("..", "a/b", ""):
        with pytest.raises(UserError, match="cannot be the name of a folder"):
            results.trial_folder("results", "lite", name, "glf", 0)


def test_the_oldest_record_kept_can_still_be_read_and_reported(tmp_path: Path) -> None:
    path = results.trial_folder(tmp_path, "lite", "fashion", "glf", 0) / "record.json"
    path.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "record-schema-1.json", path)
    before = path.read_bytes()
    record = results.read_record(path)
    assert record.weights_sha256 is None, "a field that was added later should be None"
    (protocol,) = record.metrics
    assert record.lacking(protocol, ["fd", "prd", "reconstruction"]) == set()
    table = results.load(tmp_path)
    assert table.set_index("metric")["value"]["fd"] == 693.4210020598707 and table.attrs["corrupt"] == []
    assert "693.4" in report.make(tmp_path, profile="lite").text()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"schema": 1, "key"', "not a record"),
        ("[]", "not an object"),
        (json.dumps(make(schema=0)), "its schema is 0; move it away"),
        (json.dumps(make(schema=2)), "was written by a newer version: update aegen-bench"),
        (json.dumps({k: v for k, v in make().items() if k != "stages"}), "'stages' is missing"),
        (json.dumps(make(seed="0")), "'seed' cannot be '0'"),
        (json.dumps(make(status="fine")), "'status' cannot be 'fine'"),
        (json.dumps(make(metrics={ID: {}})), f"'metrics.{ID}.draws' cannot be {{}}: Field required"),
        (json.dumps(make(seconds={"train": "long"})), "'seconds.train' cannot be 'long'"),
        (json.dumps(make(seed=5)), "is the record of lite/fashion/glf/seed-5"),
    ],
)
def test_a_corrupt_record_is_named_skipped_and_left_untouched(tmp_path: Path, text: str, fault: str) -> None:
    bad, _ = put(tmp_path, make(), make(seed=1))
    bad.write_text(text)
    seen: list[tuple[Path, str]] = []
    kept = [
        r.seed for _, r in results.records(tmp_path, on_corrupt=lambda path, error: seen.append((path, str(error))))
    ]
    assert kept == [1]
    [(path, message)] = seen
    assert path == bad and str(bad) in message and fault in message and "\n" not in message
    frame = results.load(tmp_path)
    assert frame.attrs["corrupt"] == seen and set(frame["seed"]) == {1}
    assert bad.read_text() == text


def test_records_are_sorted_by_seed_and_other_folders_are_ignored(tmp_path: Path) -> None:
    put(tmp_path, make(seed=10), make(seed=9), make(profile="smoke"))
    (tmp_path / "lite/fashion/glf/seed-9.old").mkdir()
    (tmp_path / "lite/fashion/glf/seed-11").mkdir()  # started, but without a record yet
    found = [(r.profile, r.seed) for _, r in results.records(tmp_path)]
    assert found == [("lite", 9), ("lite", 10), ("smoke", 0)]


def test_a_missing_record_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no record at"):
        results.read_record(tmp_path / "record.json")


def test_evaluation_adds_a_protocol_and_changes_nothing_else(tmp_path: Path) -> None:
    [path] = put(tmp_path, make())
    results.add_evaluation(path, F, Evaluation(**evaluation([{"fd": 1.0}])))
    record = results.read_record(path).content()
    assert record.pop("metrics") == make()["metrics"] | {F: evaluation([{"fd": 1.0}])}
    assert record == {k: v for k, v in make().items() if k != "metrics"}


def test_two_processes_can_add_to_a_record_at_the_same_time(tmp_path: Path) -> None:
    (path,) = put(tmp_path, make(metrics={}))
    code = """
import sys, time
from pathlib import Path
from aegen_bench import results
me, path = sys.argv[1], Path(sys.argv[2])
Path(f"{path}.{me}").touch()
while len(list(path.parent.glob("record.json.?"))) < 2:
    time.sleep(0.001)
for number in range(25):
    entry = {"draws": [{"fd": float(number)}], "model": {}, "settings": {"fd": {}}, "failed": {}}
    results.add_evaluation(path, f"{me}{number:011d}", results.Evaluation(**entry))
"""
    running = [subprocess.Popen([sys.executable, "-c", code, me, str(path)]) for me in "ab"]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    assert len(results.read_record(path).metrics) == 50


def test_a_record_stands_only_for_its_own_key_and_real_images(tmp_path: Path) -> None:
    about = {"name": "lite", "real_sha256": "1234"}
    (path,) = put(tmp_path, make(metrics={ID: evaluation([{"fd": 1.0}], about), F: evaluation([{"fd": 1.0}])}))
    assert results.standing(path, KEY, {ID: "1234", F: "any", "0" * 12: "any"}) is not None
    assert results.standing(path, KEY, {ID: "5678"}) is None
    assert results.standing(path, "f" * 16, {ID: "1234"}) is None
    assert results.standing(path.with_name("none.json"), KEY, {}) is None


def test_evaluation_fills_in_what_is_missing_null_or_failed(tmp_path: Path) -> None:
    before = evaluation([{"fd": None}, {"fd": 3.0}]) | {"failed": {"kid": "out of memory", "prd": "no memory"}}  # type: ignore[list-item]
    [path] = put(tmp_path, make(metrics={ID: before}))
    new = {"draws": [{"fd": 2.0, "kid": 0.1}, {"fd": 3.0, "kid": 0.2}], "model": {"mmd": 1.0}, "settings": {"kid": {}}}
    new["settings"]["protocol"] = {"name": "renamed"}  # type: ignore[call-overload]
    results.add_evaluation(path, ID, Evaluation(**new, failed={"recall": "too few"}))
    entry = results.read_record(path).content()["metrics"][ID]
    assert entry["settings"] == before["settings"] | {"kid": {}}
    assert entry["draws"] == new["draws"]
    assert entry["model"] == {"reconstruction_mse": 0.011, "mmd": 1.0}
    assert entry["failed"] == {"prd": "no memory", "recall": "too few"}


@pytest.mark.parametrize(
    "entry",
    [
        evaluation([{"fd": 1.0}]),
        evaluation([{"fd": 674.1}, {"fd": 674.1}]),
        evaluation([{"fd": 674.1}]) | {"settings": {"prd": {"clusters": 5}}},
    ],
)
def test_evaluation_never_changes_a_number_or_a_setting(tmp_path: Path, entry: dict[str, Any]) -> None:
    [path] = put(tmp_path, make())
    before = path.read_bytes()
    with pytest.raises(UserError, match="a record is never changed"):
        results.add_evaluation(path, ID, Evaluation(**entry))
    assert path.read_bytes() == before


def test_an_old_record_is_renamed_with_the_first_free_number_and_its_images_and_history_are_removed(
    tmp_path: Path,
) -> None:
    def again() -> Path | None:
        (path,) = put(tmp_path, make())
        for name in ("artefacts.npz", "samples.png", "history.json"):
            path.with_name(name).write_text("of the old model")
        return results.keep_aside(path)

    first, second = again(), again()
    assert first is not None and second is not None
    assert [first.name, second.name] == [f"record.{KEY}.1.json", f"record.{KEY}.2.json"]
    assert {path.name for path in first.parent.iterdir()} == {first.name, second.name}
    first.unlink()
    kept = second.read_bytes()
    assert again() == first and second.read_bytes() == kept
    (failed,) = put(tmp_path, make(status="failed"))
    assert results.keep_aside(failed) is None and results.keep_aside(tmp_path / "nothing.json") is None


def test_weights_are_named_by_key_and_content_and_older_files_by_key(tmp_path: Path) -> None:
    sha256 = "0123456789abcdef" * 4
    new, old = tmp_path / f"{KEY}-01234567.safetensors", tmp_path / f"{KEY}.safetensors"
    record = Record.parse(make(weights_sha256=sha256))
    assert record.weights_path(tmp_path) == new and Record.parse(make()).weights_path(tmp_path) == old
    old.touch()
    assert record.weights_path(tmp_path) == old
    new.touch()
    assert record.weights_path(tmp_path) == new


def test_load_returns_one_row_per_trial_and_metric(tmp_path: Path) -> None:
    put(tmp_path, make(metrics={ID: evaluation([{"fd": 10.0}, {"fd": 20.0}])}))
    frame = results.load(tmp_path)
    assert list(frame.columns) == [
        *("profile", "dataset", "row", "seed", "status", "collapsed", "key", "device", "config"),
        *("protocol", "real", "kind", "metric", "draw", "value"),
    ]
    values = frame.set_index(["kind", "metric", "draw"])["value"].to_dict()
    assert values["draw", "fd", 0] == 10.0 and values["draw", "fd", 1] == 20.0
    assert values["model", "reconstruction_mse", -1] == 0.011
    costs = {metric: value for (kind, metric, _), value in values.items() if kind == "cost"}
    assert costs == {
        "configured_epochs.train": 10,
        "epochs.train": 10,
        "steps.train": 1870,
        "seconds_per_epoch.train": 28.9,
        "train_seconds": 290.0,
        "sample_seconds": 4.0,
        "images_per_second": 119680 / 290.0,
        "parameters": 13225141,
        "peak_memory": 1234567890,
    }
    assert set(frame.loc[frame["kind"] == "cost", "protocol"]) == {""}
    assert frame.attrs["protocols"][ID]["extractor"] == "efficientnet_lite0"
    assert frame.attrs["overrides"] == {"lite": {"epochs x 0.1": ["glf"], "batch 64": ["glf"]}}


def test_a_failed_trial_and_a_failed_metric_have_rows_without_a_value(tmp_path: Path) -> None:
    failed = evaluation([{"fd": 1.0}]) | {"failed": {"prd": "too few images"}}
    put(tmp_path, make(status="timeout", metrics={}), make(seed=1, metrics={ID: failed}))
    frame = results.load(tmp_path).set_index(["seed", "metric"])
    assert math.isnan(frame.loc[(0, "status"), "value"])
    assert math.isnan(frame.loc[(1, "prd"), "value"]) and frame.loc[(1, "prd"), "kind"] == "failed"


def test_an_empty_folder_loads_as_an_empty_table_and_wrong_names_are_reported(tmp_path: Path) -> None:
    assert results.load(tmp_path).empty
    put(tmp_path, make())
    with pytest.raises(UserError, match="no results at"):
        results.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="did you mean 'lite'"):
        results.load(tmp_path, profile="lit")


def test_a_thousand_records_are_read_within_seconds_of_processor_time(tmp_path: Path) -> None:
    draws = [{"fd": 674.1 + i, "f8": 0.91, "f1_8": 0.88} for i in range(10)]
    for row in range(10):
        put(tmp_path, *(make(row=f"row{row}", seed=seed, metrics={ID: evaluation(draws)}) for seed in range(100)))
    start = time.process_time()
    assert sum(1 for _ in results.records(tmp_path)) == 1000
    middle = time.process_time()
    assert len(results.load(tmp_path)) == 1000 * (30 + 1 + 9)
    end = time.process_time()
    assert middle - start < 1 and end - middle < 2, (middle - start, end - middle)


def test_importing_results_imports_neither_torch_nor_pandas() -> None:
    code = "import sys, aegen_bench.results; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.slow
def test_a_report_in_all_formats_is_written_without_torch(tmp_path: Path) -> None:
    put(tmp_path, make())
    code = """
import sys
from pathlib import Path
from aegen_bench import report
from aegen_bench.report import published
names = [*report.EVERY, *report.CLAIMS]
report.make(Path("."), names).write(Path("out"), [*report.FORMATS, "html"])
print("torch" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ended.stdout == "False\n", ended.stderr
    assert {"table1.md", "main.tex", "tables.csv", "tables.json", "report.html"} <= {
        path.name for path in (tmp_path / "out/lite").iterdir()
    }
