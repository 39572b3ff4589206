"""The commands printed in hints: pasted into a shell, each does what it says and nothing else."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from conftest import Bench
from test_cli import refused

from aegen_bench.commands import request
from aegen_bench.study import asked_as, command

RAISES = '''
class Raises(Baseline):
    """Raises in its first step."""
    def __init__(self, nets):
        super().__init__(nets)
        self.decoder = nets.decoder()
    def step(self, x, index):
        raise ValueError("no luck")
        yield
    def decode(self, z):
        return self.decoder(z)
'''


def pasted(bench: Bench, told: str) -> list[str]:
    """Return the lines, from a dry run of a printed command, that name the trials it would train."""
    words = shlex.split(told)
    assert words[0] == "aegen-bench"
    ended = bench(*words[1:], "--dry-run", "--no-forecast")
    assert ended.code == 0, ended
    return re.findall(r"^to (?:retrain|retry|train): .*$", ended.out, re.M)


def hints(text: str) -> list[str]:
    return re.findall(r"again: `(aegen-bench run .*)`$", text, re.M)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_hint_for_a_stale_trial_trains_only_this_trial(finished: Bench, tmp_path: Path, elsewhere: bool) -> None:
    places: list[str] = []
    if elsewhere:
        (finished.folder / "results").rename(finished.folder / "other results")
        finished.data.rename(finished.data.parent / "more data")
        places = ["--results", "other results", "--data", str(finished.data.parent / "more data")]
        places += ["--weights", str(tmp_path / "its weights")]
    finished.declare(rows={name: {"with": {"beta": 2}} for name in ("glf", "vae")})
    ended = finished("run", "--profile", "tiny", "--dry-run", "--no-forecast", *places)
    told = hints(ended.out)
    assert len(told) == 2
    first = next(line for line in told if "--models vae" in line)
    assert pasted(finished, first) == ["to retrain: vae on digits, seed 0: its key has changed"]


def test_hints_include_the_settings_of_the_profile(finished: Bench) -> None:
    (finished.folder / "results" / "tiny").rename(finished.folder / "results" / "tiny+protocols=[tiny,other]")
    for path in (finished.folder / "results").rglob("record.json"):
        record = json.loads(path.read_text())
        changes = {"profile": "tiny+protocols=[tiny,other]", "status": "diverged", "reason": "a test"}
        path.write_text(json.dumps(record | changes))
    ended = finished("run", "--profile", "tiny", "--set", "protocols=[tiny,other]", "--dry-run", "--no-forecast")
    (told,) = {line for line in hints(ended.out) if "--models glf" in line}
    assert "--set 'protocols=[tiny,other]'" in told and "--retry diverged" in told
    assert pasted(finished, told) == ["to retry: glf on digits, seed 0: a test"]


def test_the_hint_for_a_trial_without_weights_trains_it_again(finished: Bench) -> None:
    finished.weights("glf").unlink()
    ended = finished("sample", "glf", "--dataset", "digits", "--out", "images")
    (told,) = hints(ended.err)
    assert ended.code == 2 and pasted(finished, told) == ["to retrain: glf on digits, seed 0: its weights are gone"]


ELSEWHERE = {"results": "other results", "data": "more data", "weights": "its weights"}


@pytest.mark.slow
def test_every_printed_command_is_valid_and_uses_the_folders_of_the_one_that_printed_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run every command between backticks in any output, with results, data and weights in non-default folders."""
    bench.baseline("raises", RAISES)
    bench.declare(profiles=bench.tiny(models=["glf", "raises"]))
    bench.baseline("mine", RAISES.replace("Raises", "Mine"))
    places = [word for name, folder in ELSEWHERE.items() for word in (f"--{name}", str(bench.folder / folder))]
    results, data = places[:2], places[2:4]
    said = [bench("run", "--profile", "tiny", *places)]  # one of the two methods fails
    (weights,) = (bench.folder / "its weights").iterdir()
    weights.unlink()
    bench.declare(
        rows={"glf": {"with": {"beta": 2}}}, profiles=bench.tiny(models=["glf", "raises"], datasets=["digits"])
    )
    said += [
        bench("run", "--profile", "tiny", "--dry-run", "--no-forecast", *places),
        bench("run", "--profile", "lite", "--dry-run", *places),
        bench("run", "--profile", "tiny", "--datasets", "fashion", *places),
        bench("list", *places),
        bench("list", "models", *places),
        bench("list", "datasets", "--long", *places),
        bench("doctor", *data),
        bench("report", "--tables", "1", *results, *data),
        bench("report", "--figures", "3", *results, *data),
        bench("report", "--results", str(bench.folder / "nothing")),
        bench("sample", "glf", "--dataset", "digits", "--out", "images", *places),
        bench("sample", "vae", "--dataset", "digits", "--out", "images", *places),
        bench("evaluate", "images", "--dataset", "fashion", "--protocol", "lite", *results, *data),
        bench("evaluate", "images", "--dataset", "digits", "--protocol", "paper", *results, *data),
        bench("new", "my_model", *data),
        bench("new", "my_prior", "--prior", *data),
    ]
    told = sorted({one for ended in said for one in re.findall(r"`(aegen-bench [^`]*)`", ended.out + ended.err)})
    verbs = {shlex.split(one)[1] for one in told}
    assert verbs >= {"run", "report", "list", "check", "fetch"}, told
    fetched: list[tuple[list[str], Path]] = []
    monkeypatch.setattr(request, "fetch", lambda names, folder: fetched.append((list(names), folder)) or [])
    for one in told:
        verb, *words = shlex.split(one)[1:]
        ended = bench(verb, *words, *["--dry-run", "--no-forecast"] * (verb == "run"))
        assert ended.code in (0, 1 if verb == "check" else 0) or "nothing" in one, (one, ended)
        if verb in ("run", "report") and "my_model" not in words:  # `new` does not know the folder of results
            assert "--profile" in words and "--results" in words, one
    assert fetched and {folder for _, folder in fetched} == {bench.folder / "more data"}


def test_the_printed_command_lists_the_results_of_another_profile(finished: Bench) -> None:
    (finished.folder / "results" / "tiny").rename(finished.folder / "results" / "tiny+draws=2")
    ended = finished("list", "trials", "--profile", "tiny")
    (told,) = re.findall(r"`(aegen-bench list .*)`$", ended.out, re.M)
    listed = finished(*shlex.split(told)[1:])
    assert listed.code == 0 and "profile tiny+draws=2" in listed.out


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (["draws=2"], "lite+draws=2"),
        (["rows.glf.with.beta=2", "d=3"], "lite+d=3+rows.glf.with.beta=2"),
        (["datasets=[a b]"], "lite+datasets=[a%20b]"),
    ],
)
def test_the_name_of_a_profile_is_turned_back_into_its_options(settings: list[str], name: str) -> None:
    words = shlex.split(command("run", name))
    assert words[:4] == ["aegen-bench", "run", "--profile", "lite"]
    assert sorted(words[5::2]) == sorted(settings) and asked_as(name) == ("lite", sorted(settings))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("20261129", "which must be from 1 to 1,000; for only seed 20261129 write --seeds 20261129,"),
        ("4294967296", "which must be from 1 to 1,000"),
        ("4294967296,", "a seed must be from 0 to 2,147,483,647, not 4294967296"),
        ("1,-3", "a seed must be from 0 to 2,147,483,647, not -3"),
        ("0", "for only seed 0 write --seeds 0,"),
        ("9" * 100_000, "expected whole numbers"),
    ],
)
def test_seeds_out_of_range_are_refused_with_a_suggestion(bench: Bench, text: str, said: str) -> None:
    refused(bench("run", "--profile", "tiny", "--dry-run", "--no-forecast", "--seeds", text), said)


def test_no_hint_in_the_source_runs_more_than_it_says() -> None:
    """`aegen-bench run` without --profile trains the paper's 360 trials, so no text between backticks may say that."""
    package = Path(__file__).parents[2] / "aegen_bench"
    wrong = []
    for path in package.rglob("*.py"):
        for line in path.read_text().splitlines():
            if ">>>" in line:  # an example of wrapping
                continue
            for told in re.findall(r"`(?:aegen-bench run[^`]*|run --[^`]*)`", line):
                if "--profile" not in told and "report" not in path.parts and '"' in line:
                    wrong.append(f"{path.name}: {told}")
    assert wrong == []
