"""The command line: names, exit codes, one-line messages, and no heavy imports before they are needed."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
from conftest import Bench, Ended

import aegen_bench
from aegen_bench import environment, runner

HEAVY = {"torch", "torchvision", "pandas", "sklearn", "scipy", "matplotlib"}
LONG = "A method whose description is far longer than any terminal, " * 5
METHOD = f'''
class Long(Baseline):
    """{LONG}."""
'''


def refused(ended: Ended, *said: str) -> None:
    """Assert that a command ended with code 2 and one line on standard error, which contains every `said`."""
    assert ended.code == 2, ended
    assert ended.err.startswith("aegen-bench: ") and ended.err.count("\n") == 1, ended.err
    for text in said:
        assert text in ended.err


def imported(ended: Ended) -> set[str]:
    """Return the top-level modules in the output of `-X importtime`."""
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.err.splitlines() if "|" in line}


# ---- start-up and information ------------------------------------------------------------------------


def test_help_names_every_command_and_imports_nothing_heavy(bench: Bench) -> None:
    ended = bench.process("--help", cold=True, PYTHONPROFILEIMPORTTIME="1")
    assert ended.code == 0
    assert all(
        re.search(rf"^\s+{name} ", ended.out, re.M)
        for name in ("run", "report", "list", "new", "check", "fetch", "doctor")
    )
    assert not HEAVY & imported(ended)
    assert "aegen_bench" in imported(ended), "the imports were not reported"


def test_list_imports_nothing_heavy_and_is_not_cut_or_coloured_in_a_pipe(bench: Bench) -> None:
    bench.baseline("long", METHOD)
    command = ("list", "--profile", "tiny", "--long")
    ended = bench.process(*command, cold=True, PYTHONPROFILEIMPORTTIME="1", COLUMNS="40", FORCE_COLOR="")
    assert ended.code == 0
    assert not HEAVY & imported(ended)
    assert f"  long  {LONG}.  []\n" in ended.out
    assert "\x1b" not in ended.out
    assert ended.out == bench(*command).out


def test_list_shows_a_summary_on_one_screen(finished: Bench) -> None:
    out = finished("list", "--profile", "tiny").out
    lines = out.splitlines()
    assert [line for line in lines if line.endswith("s:") and line[0] != " "] == [
        "priors:",
        "datasets:",
        "profiles:",
        "trials:",
    ]
    assert "  ready: digits\n" in out
    assert "`aegen-bench fetch mnist fashion cifar10 celeba celeba_crop128" in out
    assert re.search(r"^  table1 +vae, wae_gan, two_stage_vae, ", out, re.M)
    assert re.search(r"^ +digits$\n  vae and 2 more rows +1 done$", out, re.M)
    trials = finished("list", "trials", "--profile", "tiny").out
    assert re.search(r"^ +digits$\n  vae +1 done$\n  rae_gmm +1 done$\n  glf +1 done$", trials, re.M)
    assert len(lines) <= 40 and len(finished("list", "--profile", "lite").out.splitlines()) <= 40


def test_list_shows_a_single_section_in_full(finished: Bench) -> None:
    assert "  glf on digits  done: seed 0\n" in finished("list", "trials", "--long", "--profile", "tiny").out
    assert "  digits  ready" not in finished("list", "groups").out
    assert "  table1  vae, wae_gan, two_stage_vae, " in finished("list", "groups").out
    assert finished("list", "groups").out.splitlines()[0] == "groups:"
    assert "fetch fashion" in finished("list", "datasets", "--long").out
    refused(finished("list", "modles"), "did you mean 'models'?")


def test_list_sees_trials_on_disk_that_the_profile_does_not_ask_for(finished: Bench) -> None:
    for row, seed in (("glf", 7), ("ghost", 0)):
        copy = finished.trial(row, seed=seed)
        shutil.copytree(finished.trial("glf"), copy)
        record = json.loads((copy / "record.json").read_text()) | {"row": row, "seed": seed}
        (copy / "record.json").write_text(json.dumps(record))
    listed = finished("list", "trials", "--long", "--profile", "tiny").out
    assert "  glf on digits  done: seed 0; stale: seed 7\n" in listed
    assert "ghost on digits  is in the results but not in this study" in listed
    assert "glf on digits, seed 7: key " in finished("list", "--profile", "tiny", "--why", "glf").out


def test_list_long_shows_every_section(finished: Bench) -> None:
    out = finished("list", "--long", "--profile", "tiny").out
    for section in ("models", "datasets", "profiles", "groups", "trials"):
        assert f"{section}:\n" in out


def test_list_mentions_results_of_other_profiles_and_how_to_list_them(finished: Bench) -> None:
    told = "also in results: {}, {} trials: `{}`"
    set_apart = "tiny+train_images=128"
    for row in ("vae", "glf"):
        shutil.copytree(finished.trial(row), finished.trial(row, profile=set_apart))
    others = [line.strip() for line in finished("list").out.splitlines() if "also in results" in line]
    commands = [f"aegen-bench list trials --profile tiny{more}" for more in ("", " --set train_images=128")]
    assert others == [told.format("tiny", 3, commands[0]), told.format(set_apart, 2, commands[1])]
    assert re.search(r"^  glf +1 done$", finished(*commands[0].split()[1:]).out, re.M)
    assert "also in results: tiny, 3" in (listed := finished(*commands[1].split()[1:]).out) and set_apart in listed
    assert "also in" not in finished("list", "trials", "--results", "elsewhere").out


def test_list_shows_the_arguments_that_a_row_sets(bench: Bench) -> None:
    bench.declare(
        rows={"wide": {"baseline": "glf", "with": {"beta": 7}}, "wrong": {"baseline": "glf", "with": {"b": 7}}}
    )
    listed = {line.split()[0]: line for line in bench("list", "models", "--long").out.splitlines()[1:]}
    assert "[beta=7.0" in listed["wide"] and "[beta=1.0" in listed["glf"]
    assert listed["wrong"].startswith("  wrong  BROKEN: unknown argument of glf 'b' (there are: beta, ")
    assert "[beta=400.0" in listed["curve_flow_prior_beta400"]


def test_the_version_is_printed(bench: Bench) -> None:
    assert bench("--version") == Ended(0, f"aegen-bench {aegen_bench.__version__}\n", "")


def test_doctor_says_what_is_here_and_how_to_get_what_is_missing(bench: Bench) -> None:
    ended = bench("doctor")
    assert ended.code == 0
    assert re.search(r"^ok +dataset digits", ended.out, re.M)
    assert re.search(r"^missing +dataset fashion .*`aegen-bench fetch fashion`", ended.out, re.M)
    assert re.search(r"^missing +weights inception .*`aegen-bench fetch inception`", ended.out, re.M)
    assert "bf16 on the CPU" in ended.out
    assert not bench.data.exists(), "doctor should create nothing"


def test_fetch_suggests_a_name_and_needs_no_network_for_data_already_here(bench: Bench) -> None:
    refused(bench("fetch", "fashon"), "unknown dataset or weights 'fashon': did you mean 'fashion'?")
    ended = bench("fetch", "digits")
    assert ended.code == 0 and "nothing to fetch" in ended.out


# ---- a run ---------------------------------------------------------------------------------------------


def test_a_run_trains_what_was_requested_and_prints_the_tables(shared_run: tuple[Bench, Ended]) -> None:
    bench, ended = shared_run
    assert ended.code == 0, ended
    assert "tiny: 3 trials: 3 to train\n" in ended.out and "ended: 3 ok\n" in ended.out
    assert [int(n) for n in re.findall(r"^### Table (\d)\.", ended.out, re.M)] == [1]
    assert "VAE" in ended.tables and "RAE+GMM" in ended.tables and "GLF" in ended.tables
    assert "FID" not in ended.tables, "only the distance on Inception features may be called FID"
    page = bench.folder / "results/tables/tiny/report.html"
    assert "page: results/tables/tiny/report.html\n" in ended.out and len(ended.out.splitlines()) < 30
    assert "departs from the paper&#39;s settings: train_images 256; epochs 1; batch 64" in page.read_text()
    assert "all tables: `aegen-bench report --profile tiny`\n" in ended.out
    assert {bench.record(row)["status"] for row in ("vae", "rae_gmm", "glf")} == {"ok"}


@pytest.mark.slow
def test_a_second_run_does_nothing_and_prints_the_same_tables_in_full_and_without_colour_in_a_pipe(
    shared_run: tuple[Bench, Ended],
) -> None:
    bench, first = shared_run
    files = {path: path.stat().st_mtime_ns for path in (bench.folder / "results").rglob("*") if path.is_file()}
    again = bench.process("run", "--profile", "tiny", COLUMNS="20")
    assert again.code == 0 and "tiny: 3 trials: 3 done\n" in again.out
    assert again.tables == first.tables
    assert again.err == "" and "\x1b" not in again.out
    assert {path: path.stat().st_mtime_ns for path in (bench.folder / "results").rglob("*") if path.is_file()} == files


@pytest.mark.slow
def test_report_writes_every_table_and_prints_the_first(finished: Bench, shared_run: tuple[Bench, Ended]) -> None:
    told = finished("report").out
    folder = finished.folder / "results/tables/tiny"
    assert "### Table 1. FD" in told and "### Table 3" not in told and len(told.splitlines()) < 30
    assert "### Scores on digits. All metrics" in (folder / "tables.md").read_text()
    names = {path.name for path in folder.iterdir()}
    assert {f"table{n}.{end}" for n in (1, 3, 5) for end in ("md", "tex")} <= names
    assert "table6.md" not in names, "there is no timing run for Table 6"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    ended = finished("report", "--tables", "1,3,5,6")
    assert ended.code == 0
    assert shared_run[1].tables.partition("\n\n- ")[0] in ended.tables
    assert "\\begin{tabular}" in finished("report", "--models", "glf", "--format", "latex").out
    assert {path: path.read_bytes() for path in folder.iterdir()} == before, (
        "a partial report should not replace the full one"
    )
    assert finished("report", "--tables", "1", "--out", "part").out.endswith("6 files in part\n")
    for formats in ("html", "latex,json"):
        refused(finished("report", "--claims", "--format", formats), "printed, as markdown or latex or csv or json")
    refused(finished("report", "--figures", "2", "--models", "glf"), "choose a folder with --out")
    refused(finished("report", "--tables", "score"), "did you mean 'scores'?")
    refused(finished("report", "--format", "markdwn"), "did you mean 'markdown'?")
    refused(finished("report", "--profile", "tiney"), "did you mean 'tiny'?")
    refused(finished("report", "--results", "elsewhere"), "no results at elsewhere")


def test_list_why_compares_keys_even_if_the_images_are_not_here(bench: Bench) -> None:
    records.put(bench.folder / "results", records.make(row="vae"))
    said = bench("list", "--profile", "lite", "--why", "vae").out
    assert said.startswith("vae on fashion, seed 0: key ")


@pytest.mark.slow
def test_a_report_names_tables_left_by_an_earlier_report(finished: Bench) -> None:
    folder = finished.folder / "results/tables/tiny"
    assert "not from this report" not in finished("report").out
    for name in ("table6-device1.md", "table6-device1.tex", "mine.csv"):
        (folder / name).touch()
    others = "table6-device1.md, table6-device1.tex"
    told = f"results/tables/tiny also contains files that are not from this report: {others}\n"
    assert finished("report").out.endswith(told)
    assert {path.name for path in folder.iterdir()} >= {"table6-device1.md", "table6-device1.tex", "mine.csv"}


def test_a_dry_run_says_what_would_be_done_and_does_nothing(bench: Bench) -> None:
    command = ("run", "--profile", "tiny", "--models", "glf,vae", "--seeds", "2,5", "--dry-run", "--no-forecast")
    short, ended = bench(*command), bench(*command, "--verbose")
    assert short.code == ended.code == 0
    assert "tiny: 4 trials: 4 to train\n" in ended.out
    assert (
        re.search(r"^ +digits$\n  glf +2 to train$\n  vae +2 to train$", short.out, re.M)
        and "to train: " not in short.out
    )
    assert re.findall(r"^to train: (.*)$", ended.out, re.M) == [
        "glf on digits, seed 2",
        "vae on digits, seed 2",
        "glf on digits, seed 5",
        "vae on digits, seed 5",
    ]
    assert "random_conv" in ended.out, "the protocol should be described before anything starts"
    assert not (bench.folder / "results").exists()


@pytest.mark.parametrize(
    ("text", "seeds"), [("2", [0, 1]), ("2,5", [2, 5]), ("5,2,5", [5, 2]), ("4,", [4]), ("0,", [0])]
)
def test_one_number_means_that_many_seeds_and_a_list_means_those_seeds(
    bench: Bench, text: str, seeds: list[int]
) -> None:
    ended = bench("run", "--profile", "tiny", "--models", "glf", "--seeds", text, "--dry-run", "--no-forecast", "-v")
    assert ended.code == 0
    assert [int(n) for n in re.findall(r"^to train: .*seed (\d+)$", ended.out, re.M)] == seeds


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", "", "1,-2", ",", "1,,"])
def test_invalid_seeds_are_refused_in_one_line(bench: Bench, text: str) -> None:
    refused(bench("run", "--profile", "tiny", "--dry-run", "--no-forecast", f"--seeds={text}"), f"--seeds {text}")


# ---- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--models", "gfl"], "unknown model 'gfl': did you mean 'glf'?"),
        (["--models", "glf,,vae"], "unknown model ''"),
        (["--datasets", "digts"], "unknown dataset 'digts': did you mean 'digits'?"),
        (["--profile", "smok"], "unknown profile 'smok': did you mean 'smoke'?"),
        (["--set", "train_imags=3"], "did you mean 'train_images'?"),
        (["--set", "rows.glf.with.betta=3"], "unknown argument of glf 'betta': did you mean 'beta'?"),
        (["--precision", "fp61"], "precision"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line_with_the_nearest_known_one(
    bench: Bench, options: list[str], said: str
) -> None:
    refused(bench("run", *([] if "--profile" in options else ["--profile", "tiny"]), *options), said)
    assert not (bench.folder / "results").exists()


@pytest.mark.parametrize("option", ["--models", "--datasets", "--seeds"])
def test_an_option_left_empty_by_an_empty_shell_variable_does_not_mean_everything(bench: Bench, option: str) -> None:
    ended = bench("run", "--profile", "tiny", option, "", "--dry-run", "--no-forecast")
    assert ended.code == 2 and ended.err.count("\n") == 1, ended.out


def test_an_unknown_yaml_key_is_reported_with_the_file_and_the_nearest_key(bench: Bench) -> None:
    bench.declare(rows={"mine": {"baseline": "glf", "wth": {}}})
    refused(bench("list"), "benchmarks.yaml: rows.mine: unknown key 'wth': did you mean 'with'?")


def test_an_unknown_option_is_reported_by_name(bench: Bench) -> None:
    ended = bench("run", "--modles", "glf")
    assert ended.code == 2 and "--modles" in ended.err and "Traceback" not in ended.err


def test_cuda_without_a_gpu_is_refused_in_one_line_before_training(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(bench("run", "--profile", "tiny", "--device", "cuda"), "no CUDA device", "--device cpu")
    refused(bench("run", "--profile", "tiny", "--device", "gpu"), "--device gpu")
    assert not (bench.folder / "results").exists()


def test_a_named_dataset_without_data_stops_before_training_with_its_fetch_command(bench: Bench) -> None:
    refused(bench("run", "--profile", "tiny", "--datasets", "digits,fashion"), "`aegen-bench fetch fashion`")
    assert not (bench.folder / "results").exists()


@pytest.mark.slow
def test_a_dataset_of_the_profile_without_data_is_announced_skipped_and_shown_in_its_cells(bench: Bench) -> None:
    bench.declare(profiles=bench.tiny(models=["glf"], datasets=["digits", "fashion"]))
    ended = bench("run", "--profile", "tiny")
    assert ended.code == 3
    announced = ended.out[: ended.out.index("ended: ")]
    assert "no data: fashion" in announced and "`aegen-bench fetch fashion`" in announced
    assert re.search(r"^\| GLF +\| +[\d.]+ \(1\).*\| +no data \|", ended.tables, re.M)
    assert bench("run", "--profile", "tiny", "--dry-run", "--no-forecast").code == 3
    assert bench("run", "--profile", "tiny").code == 3, "the exit code should be the same when nothing is left to do"


def test_a_run_without_any_available_dataset_stops_before_training(bench: Bench) -> None:
    bench.declare(profiles=bench.tiny(datasets=["mnist", "fashion"]))
    for options in ((), ("--dry-run", "--no-forecast")):
        refused(bench("run", "--profile", "tiny", *options), "`aegen-bench fetch mnist fashion` downloads them")
    assert bench("list", "--profile", "tiny").code == 0, "list should still work"


def test_paper_without_inception_stops_before_training_and_says_what_works_offline(bench: Bench) -> None:
    bench.data.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (32, 28, 28), dtype=np.uint8)
    np.savez(bench.data / "mnist.npz", x_train=images, x_test=images)
    for options in ((), ("--dry-run", "--no-forecast")):
        ended = bench("run", "--datasets", "mnist", "--models", "glf", "--seeds", "1", *options)
        refused(ended, "`aegen-bench fetch inception`", "--profile lite or smoke")
        assert ended.out.startswith("paper: 1 trial: 1 to train"), "paper should be the default profile"
    assert not (bench.folder / "results").exists()


@pytest.mark.slow
def test_a_damaged_npz_is_named_and_the_cache_is_not_poisoned(bench: Bench) -> None:
    bench.declare(profiles=bench.tiny(models=["glf"]))
    bench.data.mkdir()
    (bench.data / "cats.npz").write_bytes(b"PK\x03\x04 not a zip")
    ended = bench("run", "--profile", "tiny", "--datasets", "cats")
    assert ended.code in (1, 2) and "Traceback" not in ended.err + ended.out
    assert str(bench.data / "cats.npz") in ended.err + ended.out
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    np.savez(bench.data / "cats.npz", x_train=images, x_test=images)
    assert bench("run", "--profile", "tiny", "--datasets", "cats").code == 0
    config = bench.record("glf", dataset="cats")["config"]
    assert (config["shape"], config["d"], config["flow_width"]) == ([3, 16, 16], 64, 256)


def test_an_unwritable_results_folder_is_refused_in_one_line_before_training(bench: Bench) -> None:
    (bench.folder / "results").write_text("a file in its place")
    refused(bench("run", "--profile", "tiny", "--models", "glf"), "results")
    assert not (bench.data / "weights").exists()
    assert (bench.folder / "results").read_text() == "a file in its place"


def test_bf16_on_a_processor_without_it_gives_a_warning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "run", lambda *_: runner.Summary(Counter(ok=3)))
    for native, warned in ((False, True), (True, False)):
        monkeypatch.setattr(environment, "native_bf16", lambda native=native: native)
        ended = bench("run", "--profile", "tiny", "--precision", "bf16", "--device", "cpu")
        assert ("no native bf16" in ended.out + ended.err) is warned
    monkeypatch.setattr(environment, "native_bf16", lambda: False)
    assert "bf16" not in bench("run", "--profile", "tiny", "--device", "cpu").out


@pytest.mark.slow
def test_ctrl_c_prints_one_line_and_keeps_finished_trials(bench: Bench) -> None:
    endless = {"slow": {"stages": {"train": {"epochs": 10_000_000}}}}
    bench.declare(rows={"slow": {"baseline": "vae"}}, profiles=bench.tiny(models=["glf", "slow"], rows=endless))
    process = bench.start("run", "--profile", "tiny", cold=True)
    assert process.stderr is not None
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if "[2/2] slow on digits, seed 0: run" in line:
                break
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130, (lines, err)
    assert "Traceback" not in err and "Aborted" not in err
    (told,) = [line for line in err.splitlines() if line.startswith("aegen-bench: ")]
    assert "finished trials and checkpoints are kept" in told
    assert bench.record("glf")["status"] == "ok"
    assert not (bench.trial("slow") / "record.json").exists()
    listed = bench("list", "trials", "--long", "--profile", "tiny").out
    assert re.search(r"slow on digits  to (train|resume): seed 0", listed), "the signal may come before the first step"
    assert "glf on digits  done: seed 0" in listed


def test_a_damaged_idx_file_is_named(bench: Bench) -> None:
    raw = bench.data / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        (raw / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x0803, 60, 28, 28) + b"short")
    ended = bench("run", "--profile", "tiny", "--datasets", "fashion", "--models", "glf")
    assert ended.code in (1, 2) and "Traceback" not in ended.err + ended.out
    assert str(raw / "train-images-idx3-ubyte") in ended.err + ended.out


def test_list_doctor_help_and_dry_runs_leave_the_working_folder_unchanged(bench: Bench) -> None:
    before = sorted(path.name for path in bench.folder.iterdir())
    for command in (["list"], ["doctor"], ["--help"], ["run", "--profile", "tiny", "--dry-run", "--no-forecast"]):
        assert bench(*command).code == 0
    assert sorted(path.name for path in Path(bench.folder).iterdir()) == before


def test_a_report_marks_rows_that_would_be_trained_differently_today(
    shared_run: tuple[Bench, Ended], tmp_path: Path
) -> None:
    bench, _ = shared_run
    here = Bench(tmp_path / "work", bench.data)
    shutil.copytree(bench.folder, here.folder)
    report = ("report", "--profile", "tiny", "--tables", "1")
    assert "‡" not in here(*report).out
    changed = here.tiny(rows={"glf": {"with": {"beta": 2}}})
    here.declare(profiles=changed)
    told = here(*report).out
    assert re.search(r"^\| GLF .*‡", told, re.M) and not re.search(r"^\| VAE .*‡", told, re.M)
    assert "to train it again: `aegen-bench run --profile tiny --models glf --datasets digits --stale`" in told
    (table,) = json.loads(here(*report, "--format", "json").out)
    assert {value["row"] for value in table["values"] if value["stale"]} == {"glf"}
    here.declare(profiles={"tiny": {**changed["tiny"], "models": ["nobody"]}})
    assert here(*report).code == 0  # results can be reported even if the study has become invalid


@pytest.mark.parametrize(
    "arguments",
    [
        "list trials --profile tiny --results=~/r",
        "list trials --profile tiny --data=~/d",
        "list trials --profile tiny --weights=~/w",
        "evaluate ~/images --dataset digits --protocol tiny",
        "evaluate images --against=~/others --protocol tiny",
        "evaluate images --dataset digits --protocol tiny --results=~/r",
        "evaluate --trial=~/r/tiny/digits/glf/seed-0",
        "sample glf --dataset digits --out=~/drawn",
        "sample glf --dataset digits --out drawn --results=~/r",
        "merge ~/other",
        "merge other --results=~/r",
        "report --results=~/r",
        "report --out=~/out",
    ],
)
def test_a_tilde_is_the_home_folder_in_every_path(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    home = bench.folder / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    ended = bench(*arguments.split())
    assert "~" not in ended.err + ended.out and not list(bench.folder.glob("~*"))
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    without = bench(*arguments.split())
    assert without.code == 2 and "the home folder is unknown: set HOME" in without.err


@pytest.mark.parametrize("path", ["a" * 300, "loop", "loop/x", "closed/x"])
@pytest.mark.parametrize(
    "command",
    [
        "evaluate {} --dataset digits --protocol tiny",
        "evaluate mine --against {} --protocol tiny",
        "evaluate --trial {}",
        "list --data {}",
        "report --results {}",
        "merge {}",
        "sample glf --dataset digits --out {}",
    ],
)
def test_a_path_that_cannot_be_examined_is_refused_in_one_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, path: str, command: str
) -> None:
    (bench.folder / "loop").symlink_to("loop")
    stat = os.stat

    def closed(given: Any, *args: Any, **options: Any) -> os.stat_result:
        if str(given).startswith("closed"):  # simulated, because root may enter every folder
            raise PermissionError(errno.EACCES, "Permission denied", str(given))
        return stat(given, *args, **options)

    monkeypatch.setattr(os, "stat", closed)
    ended = bench(*command.format(path).split())
    assert ended.code == 2 and ended.err.count("\n") == 1 and path[:100] in ended.err, ended.err
