"""Untrusted results: what is rejected when read, and what is never written or copied."""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
from conftest import Bench

from aegen_bench import progress, results
from aegen_bench.commands import external
from aegen_bench.errors import Diverged, UserError
from aegen_bench.results import CorruptRecord, Record
from aegen_bench.results.artefacts import read_artefact, read_artefacts
from aegen_bench.results.history import read_history
from aegen_bench.results.merge import merge
from aegen_bench.study import catalog
from aegen_bench.trial import model as models

ID = "a1b2c3d4e5f6"
OUT = "/../../../../victim/settings"


def changed(way: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return a good record with one part replaced."""
    record = records.make()
    inner: Any = record
    for name in way[:-1]:
        inner = inner[name]
    inner[way[-1]] = value
    return record


ENTRY = ("metrics", ID)
BAD: list[tuple[tuple[str | int, ...], Any]] = [
    *(((name,), "../../victim") for name in ("profile", "dataset", "row", "key")),
    *((("row",), text) for text in ("", ".", "..", "a/b", "a\0b", "\x1b[31m", "x" * 256)),
    *((("key",), text) for text in ("3f2a", "G" * 16, "0" * 17, "0123456789ABCDEF", "0" * 16 + "\n", 5, None)),
    *((("seed",), number) for number in (-1, 2**63, 0.0, "0", True, None)),
    *((("status",), text) for text in ("fine", None, 3)),
    *(((name,), None) for name in ("metrics", "stages", "seconds", "parameters", "layers", "facts", "config")),
    *(((name,), "text") for name in ("metrics", "stages", "seconds", "parameters", "environment", "collapsed")),
    *((("metrics", name), records.evaluation([{"fd": 1.0}])) for name in (OUT, "id", "", "A1B2C3D4E5F6", ID + "0")),
    *(((*ENTRY, name), None) for name in ("draws", "model", "settings", "failed")),
    ((*ENTRY, "draws"), [None]),
    ((*ENTRY, "draws"), [{}] * 10_001),
    ((*ENTRY, "draws", 0, "fd"), "674"),
    ((*ENTRY, "draws", 0, "fd"), True),
    ((*ENTRY, "draws", 0, "\x1b[31m"), 1.0),
    ((*ENTRY, "settings", "fd"), "text"),
    ((*ENTRY, "settings", "protocol", "extractor"), ["a"]),
    ((*ENTRY, "settings", "protocol", "real_sha256"), 5),
    (("stages", "train"), None),
    (("seconds", "train"), "long"),
    (("parameters", "total"), []),
    (("layers", "encoder"), 5),
    (("peak_memory",), "much"),
    (("weights_sha256",), "../../victim"),
    (("config", "stages"), ["train"]),
    (("config", "stages", "train"), None),
    *(
        (("config", "stages", "train", name), value)
        for name in ("epochs", "steps", "batch")
        for value in ("x", 0, None)
    ),
    *((("config", "stages", "train", "unscaled"), value) for value in (3, None, {"batch": "x"})),
    *((("config", "trunk"), value) for value in (None, {"stages": 3}, {"row": 5}, {"trunk": None})),
    (("config", "overrides"), "one"),
    (("config", "overrides"), [1]),
    (("config", "dagger"), {"a": 1}),
    (("config", "shape"), [1, 32]),
    (("config", "shape"), [1, 10**9, 10**9]),
    (("config", "n_train"), -1),
    (("config", "probe"), "often"),
    (("environment", "device"), 7),
    (("environment", "git"), "commit"),
    (("environment", "versions"), {"torch": 2}),
    *((("environment", "trials_at_once"), value) for value in ("two", None, 0)),
    (("environment", "graphs"), "no"),
]


@pytest.mark.parametrize(("way", "value"), BAD, ids=lambda part: repr(part)[:60])
def test_a_record_with_an_invalid_part_is_refused_in_one_line(
    tmp_path: Path, way: tuple[str | int, ...], value: Any
) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(changed(way, value)))
    with pytest.raises(CorruptRecord) as error:
        results.read_record(path)
    said = str(error.value)
    assert str(path) in said and "\n" not in said and len(said) < len(str(path)) + 400
    assert str(way[0]) in said or "64 bits" in said


def test_arguments_of_a_method_and_unknown_fields_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record = changed(("config", "with"), {"größe": [1, None, {"a": "b"}], "x": 1e-300}) | {"new_field": {"later": 1}}
    path.write_text(json.dumps(record))
    assert results.read_record(path).content() == record


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("environment", "trials_at_once"), "two"),
        (("config", "trunk"), {"row": "ae", "stages": 3}),
        (("config", "trunk"), None),
        (("config", "stages", "train", "unscaled"), 3),
        (("config", "stages", "train", "batch"), "x"),
    ],
    ids=repr,
)
def test_a_record_with_an_invalid_setting_is_named_and_the_rest_is_reported(
    bench: Bench, way: tuple[str, ...], value: Any
) -> None:
    odd = changed(way, value) | {"seed": 1, "trunk": {"key": "f" * 16, "weights_sha256": "0" * 64}}
    records.put(bench.folder / "results", records.make(), odd)
    ended = bench("report")
    assert ended.code == 0 and "seed-1/record.json is not a record" in ended.out and "674.1" in ended.out


def test_a_protocol_id_that_is_a_path_out_of_the_tables_folder_writes_nothing(bench: Bench) -> None:
    victim = bench.folder / "victim"
    victim.mkdir()
    (victim / "settings.json").write_text("mine")
    record = records.make(seed=1)
    record["metrics"][OUT] = copy.deepcopy(record["metrics"][ID])
    records.put(bench.folder / "results", records.make(), record)
    ended = bench("report", "--format", "markdown,latex,csv,json,html")
    assert ended.code == 0 and "seed-1/record.json is not a record" in ended.out and "674.1" in ended.out
    assert {path.name: path.read_text() for path in victim.iterdir()} == {"settings.json": "mine"}


def test_a_tables_folder_that_is_a_link_is_refused_unless_the_user_names_it(bench: Bench) -> None:
    outside = bench.folder / "outside"
    outside.mkdir()
    records.put(bench.folder / "results", records.make())
    (bench.folder / "results" / "tables").symlink_to(outside)
    for options in ((), ("--figures", "2")):
        ended = bench("report", *options)
        assert ended.code == 2 and "leads out of" in ended.err and not list(outside.iterdir())
    assert bench("report", "--out", "results/tables").code == 0 and list(outside.iterdir())


ROW = {"stage": "train", "epoch": 1, "images": 64, "seconds": 1.0, "terms": {"model": {"nll": 3.0}}, "logs": {"a": 1.0}}
PROBE = {"stage": "train", "epoch": 1, "images": 64, "seconds": 1.0, "metrics": {"fd": None}, "probe_train": None}


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"epochs": []},
        {"epochs": {}, "probes": []},
        {"epochs": [{k: v for k, v in ROW.items() if k != "terms"}], "probes": []},
        {"epochs": [None], "probes": []},
        *({"epochs": [{**ROW, name: "text"}], "probes": []} for name in ROW if name != "stage"),
        {"epochs": [{**ROW, "seconds": None}], "probes": []},
        {"epochs": [{**ROW, "terms": {"model": 3.0}}], "probes": []},
        {"epochs": [], "probes": [{**PROBE, "metrics": None}]},
        {"epochs": [], "probes": [{**PROBE, "probe_test": {"terms": {}}}]},
    ],
    ids=lambda content: repr(content)[:50],
)
def test_an_invalid_history_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "history.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"cannot be|Input"):
        read_history(tmp_path)
    (tmp_path / "history.json").write_text(json.dumps({"epochs": [ROW], "probes": [PROBE]}))
    assert read_history(tmp_path).epochs == [ROW] and read_history(tmp_path).probes == [PROBE]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("samples", np.zeros(64, np.uint8)),
        ("samples", np.zeros((36, 8, 8), np.uint8)),
        ("samples", np.zeros((36, 1, 8, 8))),
        ("samples", np.zeros((0, 1, 8, 8), np.uint8)),
        ("samples", np.zeros((36, 2, 8, 8), np.uint8)),
        ("samples", np.zeros((36, 1, 8, 1), np.uint8)),
        ("samples", np.zeros((1, 1, 5000, 5000), np.uint8)),
        ("neighbours", np.zeros((36, 1, 8, 8), np.uint8)),
        ("prd", np.zeros((2, 9), np.uint8)),
        ("prd", np.zeros((3, 9))),
        ("prd", np.full((2, 9), math.nan)),
        ("curve", np.array(["text"])),
    ],
    ids=lambda part: getattr(part, "shape", part) and str(getattr(part, "shape", part)),
)
def test_artefacts_that_are_not_images_or_curves_are_refused(tmp_path: Path, name: str, array: Any) -> None:
    np.savez_compressed(tmp_path / "artefacts.npz", **{name: array})
    for read in (lambda: read_artefact(tmp_path, name), lambda: read_artefacts(tmp_path)):
        with pytest.raises(ValueError, match=f"'{name}' contains"):
            read()


def test_bad_histories_and_artefacts_are_named_and_the_rest_is_reported(bench: Bench) -> None:
    for seed, path in enumerate(records.put(bench.folder / "results", *(records.make(seed=seed) for seed in range(3)))):
        records.put_artefacts(path.parent)
        if seed:
            path.with_name("history.json").write_text('{"epochs": [{}], "probes": []}')
            path.with_name("artefacts.npz").write_bytes(b"")
    ended = bench("report", "--format", "html,markdown")
    page = (bench.folder / "results/tables/lite/report.html").read_text()
    assert ended.code == 0 and "674.1" in ended.out
    for seed in (1, 2):
        for name in ("history.json", "artefacts.npz"):
            assert f"seed-{seed}/{name}" in page and f"seed-{seed}/{name}" in ended.out


# ---- what is never copied ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["history.json", "artefacts.npz", "samples.png", "record.json"])
def test_merge_does_not_copy_the_target_of_a_link(tmp_path: Path, name: str) -> None:
    (path,) = records.put(tmp_path / "there", records.make())
    secret = tmp_path / "secret"
    secret.write_text(json.dumps(records.make()))
    path.with_name(name).unlink(missing_ok=True)
    path.with_name(name).symlink_to(secret)
    told = list(merge([tmp_path / "there"], tmp_path / "here"))
    assert any(conflict and f"{name} is a link and was not copied" in line for conflict, line in told)
    assert not (tmp_path / "here/lite/fashion/glf/seed-0" / name).exists()


def test_merge_ignores_a_fifo(tmp_path: Path) -> None:
    (path,) = records.put(tmp_path / "there", records.make())
    os.mkfifo(path.with_name("history.json"))
    assert list(merge([tmp_path / "there"], tmp_path / "here")) == [(False, "new: lite/fashion/glf/seed-0")]
    assert [found.name for found in (tmp_path / "here/lite/fashion/glf/seed-0").iterdir()] == ["record.json"]


def test_a_note_is_not_logged_through_a_link(tmp_path: Path) -> None:
    victim, log = tmp_path / "victim", tmp_path / "seed-0" / "log.txt"
    victim.write_text("mine")
    log.parent.mkdir()
    log.symlink_to(victim)
    with progress.logged(log, lambda **figures: None, progress.Progress()) as told:
        told.note("one line")
    assert victim.read_text() == "mine" and log.is_symlink()


# ---- what is never written --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["\udcff", "a\nb", "..", "a/b", "x" * 256])
def test_a_name_or_seed_that_could_not_be_read_back_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot be the name of a folder"):
        results.trial_folder("results", "external", "fashion", name, 0)
    with pytest.raises(UserError, match="a seed must be a whole number"):
        results.trial_folder("results", "external", "fashion", "mine", 2**63)


def test_images_whose_name_is_not_utf8_are_refused_and_leave_no_record(bench: Bench) -> None:
    (bench.folder / os.fsdecode(b"\xff.npz")).write_bytes(b"")
    ended = bench("evaluate", os.fsdecode(b"\xff.npz"), "--dataset", "digits", "--protocol", "tiny")
    assert ended.code == 2 and not (bench.folder / "results").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "\udcff"},
        {"layers": {"\udcff": "text"}},
        {"config": {"with": {"a": 10**400}}},
        {"config": {"with": {"a": "\udcff"}}},
        {"seed": 2**63},
        {"facts": {"a": 2**64}},
    ],
    ids=repr,
)
def test_a_record_that_could_not_be_read_back_is_not_written(tmp_path: Path, change: dict[str, Any]) -> None:
    record = Record.parse(records.make())
    for name, value in change.items():
        setattr(record, name, value)
    with pytest.raises(UserError, match="not written, since it could not be read again"):
        results.write_record(tmp_path / "record.json", record)
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    record = Record.parse(records.make())
    record.facts, record.seconds = {"a": math.nan, "b": math.inf}, {"train": 1.0}
    results.write_record(tmp_path / "record.json", record)
    assert results.read_record(tmp_path / "record.json").facts == {"a": None, "b": None}


# ---- which trial a record belongs to ----------------------------------------------------------


def test_a_trial_is_found_through_links_and_never_mistaken_for_another(tmp_path: Path) -> None:
    root = tmp_path / "results"
    (path,) = records.put(root, records.make())
    trial = path.parent
    (tmp_path / "link").symlink_to(trial)
    assert external._record_of_trial(tmp_path / "link").row == "glf", "a link to a trial should be followed"
    (root / "lite").rename(tmp_path / "run7")
    (root / "lite").symlink_to(tmp_path / "run7")
    assert external._whole(trial, external._record_of_trial(trial)) == trial, (
        "a profile's folder may be a link to another disk"
    )
    (tmp_path / "run7/fashion/vae").symlink_to(tmp_path / "run7/fashion/glf")
    other = external.find_trial(root, None, "fashion", "vae", 0)
    with pytest.raises(UserError, match="is the record of lite/fashion/glf/seed-0"):
        external.sample(other, count=1, out=tmp_path / "out", draw=0, device="cpu", kept=tmp_path, place=tmp_path)
    assert [record.row for _, record in results.records(root)] == ["glf"]


@pytest.mark.parametrize("error", [IndexError("index out of range"), Diverged("a generated image is not finite")])
def test_an_exception_of_a_model_is_reported_in_one_line(error: Exception) -> None:
    told = f"seed-0 generates no images: {type(error).__name__}: {error}"
    with pytest.raises(UserError, match=told), external._of_model("seed-0 generates no images"):
        raise error


@pytest.mark.parametrize("name", models.NEEDED)
def test_a_record_that_does_not_say_how_to_build_its_model_is_refused(tmp_path: Path, name: str) -> None:
    record = Record.parse(records.make())
    record.config |= {"code": "c", "shape": [1, 8, 8], "n_train": 5}
    record.config[name] = None
    with pytest.raises(UserError, match=f"lacks '{name}'"):
        models.from_record(record, catalog.find(tmp_path)["glf"], tmp_path, tmp_path)


def test_records_are_found_through_links_and_loops_end(tmp_path: Path) -> None:
    records.put(tmp_path, records.make(), records.make(row="vae"))
    (tmp_path / "lite/fashion/vae").rename(tmp_path / ".vae")
    (tmp_path / "lite/fashion/vae").symlink_to(tmp_path / ".vae")
    (tmp_path / "lite/fashion/loop").symlink_to("loop")
    (tmp_path / "lite/fashion/up").symlink_to(tmp_path)
    assert [record.row for _, record in results.records(tmp_path)] == ["glf", "vae"]
