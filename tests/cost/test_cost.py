"""Costs of a grid: FLOPs compared with formulas, seconds by a fake clock, and the lines of the forecast."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import records
import torch
from conftest import Bench, Ended

from aegen_bench import environment
from aegen_bench.commands import request
from aegen_bench.cost import calibration, counting
from aegen_bench.cost.counting import Kind
from aegen_bench.study import Study
from aegen_bench.study.catalog import read

HERE = Path(__file__).parents[1]
CPU = torch.device("cpu")
LINEAR = """
import torch
from aegen_bench.baseline import Baseline, Stage

CLOCK = [0.0]

class Linear(Baseline):
    def __init__(self, nets):
        super().__init__(nets)
        self.net, self.prior_net = torch.nn.Linear(nets.pixels, 3), torch.nn.Linear(3, 5)

    def stages(self):
        return [Stage("train", self.step), Stage("prior", self.second, data="codes", before_epoch=self.look)]

    def step(self, x, index):
        CLOCK[0] += 2
        yield "model", {"size": self.net(x.flatten(1)).square().mean()}

    def second(self, z, index):
        CLOCK[0] += 1
        yield "prior", {"size": self.prior_net(z).square().mean()}

    def look(self, codes):
        CLOCK[0] += len(codes) / 1000
        codes @ codes.T

    def optimizers(self):
        return {"model": [{"params": self.net.parameters()}], "prior": [{"params": self.prior_net.parameters()}]}

    def encode(self, x):
        return self.net(x.flatten(1))

    def decode(self, z):
        return self.prior_net(z)
"""


def plans(**stages: dict[str, Any]) -> dict[str, Any]:
    return {"d": 3, "flow_width": 4, "recon": "sse", "precision": "fp32", "with": {}, "stages": stages}


@pytest.fixture
def linear(tmp_path: Path) -> Kind:
    """A stage on images with 10 epochs of 500 steps, and one on codes with 40 steps (4 batches of 500 per epoch)."""
    path = tmp_path / "linear.py"
    path.write_text(LINEAR)
    config = plans(train={"epochs": 10, "batch": 4, "lr": 1e-3}, prior={"steps": 40, "batch": 500, "lr": 1e-3})
    return Kind(config, read("linear", path), (1, 4, 4), 2000, tmp_path)


def shipped(row: str, dataset: str, shape: tuple[int, int, int], n: int, tmp_path: Path, *settings: str) -> Kind:
    study = Study("smoke", local=tmp_path, data=tmp_path, settings=settings)
    return Kind(study.config(row, dataset), study.entry(row), shape, n, tmp_path)


# ---- counting --------------------------------------------------------------------------------------


def test_a_multiply_add_is_two_flops_in_the_forward_pass_and_for_each_gradient(linear: Kind) -> None:
    train, prior = counting.count(linear)
    assert train.step_flops == 2 * (2 * 4 * 16 * 3)  # the images need no gradient, the weights do
    assert prior.step_flops == 2 * (2 * 500 * 3 * 5)
    assert (train.epoch_flops, prior.epoch_flops) == (0, 2 * 2000 * 2000 * 3)
    assert (train.steps, train.epochs, train.images) == (5000, 10, 20_000)
    assert (prior.steps, prior.epochs, prior.images) == (40, 10, 20_000)
    assert prior.flops == 40 * prior.step_flops + 10 * prior.epoch_flops


def test_the_quadratic_cost_of_a_hook_is_extrapolated_exactly(linear: Kind) -> None:
    _, prior = counting.count(replace(linear, n=100_000))
    assert prior.epoch_flops == 2 * 100_000**2 * 3


def test_a_vae_costs_as_much_as_its_layers_add_up_to(tmp_path: Path) -> None:
    (train,) = counting.count(shipped("vae", "fashion", (1, 28, 28), 60_000, tmp_path))
    first = 14 * 14 * 64 * 16  # multiply-adds per image of the first convolution, whose input needs no gradient
    encoder = first + 7 * 7 * 128 * 64 * 16 + 6272 * 1024 + 1024 * 40
    decoder = 20 * 1024 + 1024 * 6272 + 7 * 7 * 128 * 64 * 16 + 14 * 14 * 64 * 16
    assert train.step_flops == 2 * 64 * (3 * (encoder + decoder) - first)


def test_counting_draws_no_random_numbers(linear: Kind) -> None:
    before = torch.get_rng_state()
    counting.count(linear)
    assert torch.equal(torch.get_rng_state(), before)


METHODS = sorted(path.stem for path in (HERE.parent / "baselines").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_counted_and_timed_in_all_its_stages(name: str, tmp_path: Path) -> None:
    kind = shipped(name, "digits", (1, 8, 8), 32, tmp_path, "stages.*.batch=8", "precision=fp32")
    costs = counting.count(kind)
    counting.measure(kind, costs, CPU)
    assert [stage.name for stage in costs] == list(kind.config["stages"])
    for stage in costs:
        assert stage.step_flops > 0 and stage.step_seconds > 0 and stage.epoch_seconds >= 0
        assert stage.seconds >= stage.steps * stage.step_seconds > 0
    assert (sum(stage.epoch_flops for stage in costs) > 0) == (name == "glann"), (
        "only the hook of GLANN has a matrix product"
    )


# ---- timing ----------------------------------------------------------------------------------------


@pytest.fixture
def clocked(linear: Kind, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """`linear` with a fake clock that only its steps and its hook advance."""
    from aegen_bench.study import catalog

    made = catalog.import_class(linear.entry)
    clock = made.step.__globals__["CLOCK"]
    monkeypatch.setattr("aegen_bench.study.catalog.import_class", lambda entry: made)
    for module in ("training.loop", "cost.calibration"):
        monkeypatch.setattr(f"aegen_bench.{module}.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    return linear


def test_a_forecast_multiplies_the_time_of_a_step_or_hook_by_their_number(clocked: Kind) -> None:
    kind = replace(clocked, n=10_000)
    train, prior = costs = counting.count(kind)
    counting.measure(kind, costs, CPU)
    assert (train.step_seconds, prior.step_seconds) == pytest.approx((2, 1))
    # The hook takes 4.096 s for 4,096 codes and multiplies all pairs, so 10,000 take (10,000 / 4,096)^2 times as long.
    assert prior.epoch_seconds == pytest.approx(4.096 * (10_000 / 4_096) ** 2)
    assert train.seconds == pytest.approx(25_000 * 2)
    assert prior.seconds == pytest.approx(40 + 2 * prior.epoch_seconds)


def test_untimed_methods_get_the_speed_of_the_most_expensive_timed_step(clocked: Kind) -> None:
    dearer = Kind(
        {**clocked.config, "stages": {**clocked.config["stages"]}}, clocked.entry, (1, 8, 8), 2000, clocked.data
    )
    found = calibration.calibrate({"dearer": dearer, "cheap": clocked}, CPU, 0.0)
    own, timed = found.seconds("cheap")
    assert timed and own == pytest.approx(sum(stage.seconds for stage in found.costs["cheap"]))
    other, guessed = found.seconds("dearer")
    prior = found.costs["cheap"][1]
    assert found.speed == prior.step_flops / prior.step_seconds
    assert not guessed and other == pytest.approx(sum(stage.flops for stage in found.costs["dearer"]) / found.speed)
    assert all(
        timed
        for _, timed in map(calibration.calibrate({"dearer": dearer, "cheap": clocked}, CPU, 1e9).seconds, found.costs)
    )


def test_a_method_that_fails_is_named_and_does_not_affect_the_others(linear: Kind, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(LINEAR.replace("square().mean()", "missing()"))
    broken = Kind(linear.config, read("broken", path), linear.shape, linear.n, tmp_path)
    found = calibration.calibrate({"broken": broken, "linear": linear}, CPU, 1.0)
    assert list(found.costs) == ["linear"] and "missing" in found.failed["broken"]
    assert not math.isnan(found.seconds("linear")[0])


def test_a_method_without_products_is_timed_and_sets_no_speed(linear: Kind, tmp_path: Path) -> None:
    path = tmp_path / "free.py"
    path.write_text(LINEAR.replace("self.net(x.flatten(1))", "self.net.weight"))
    path.write_text(re.sub(r", Stage\(.prior.*?\)\]", "]", path.read_text()))
    stages = {"train": linear.config["stages"]["train"]}
    free = Kind({**linear.config, "stages": stages}, read("free", path), linear.shape, linear.n, tmp_path)
    found = calibration.calibrate({"free": free, "linear": linear}, CPU, 1e9)
    assert found.failed == {} and [stage.step_flops for stage in found.costs["free"]] == [0]
    assert found.speed > 0 and found.seconds("free")[1] and found.seconds("linear")[1]


def test_trials_that_differ_only_in_the_name_of_the_dataset_are_timed_once(tmp_path: Path) -> None:
    mnist, fashion, cifar10 = (
        shipped("glf", name, shape, 60_000, tmp_path).key
        for name, shape in (("mnist", (1, 28, 28)), ("fashion", (1, 28, 28)), ("cifar10", (3, 32, 32)))
    )
    assert mnist == fashion != cifar10


# ---- what a dry run prints -------------------------------------------------------------------------

LINE = re.compile(r"^\| (\w+) \| digits \| (\d) \| ([\d,]+) \| ([\d.]+) \| (~?[\d:]+) \| ([\d:?]+) \|$", re.M)


def dry(bench: Bench, *options: str) -> Ended:
    return bench("run", "--profile", "tiny", "--models", "glf,vae", "--dry-run", *options)


@pytest.mark.slow
def test_a_dry_run_ends_with_images_flops_and_time(bench: Bench) -> None:
    ended = dry(bench, "--seeds", "2")
    assert ended.code == 0 and ended.err == ""
    assert [found[:3] for found in LINE.findall(ended.out)] == [("glf", "2", "256"), ("vae", "2", "256")]
    assert "in total, one trial after another: 1,024 images," in ended.out
    assert "unknown until a trial of this profile has finished here" in ended.out
    assert not (bench.folder / "results").exists()


@pytest.mark.slow
def test_a_forecast_of_many_rows_shows_the_most_expensive_and_the_total_of_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "MANY", 1)
    ended = dry(bench, "--set", "rows.glf.stages.*.epochs=50")
    assert [found[0] for found in LINE.findall(ended.out)] == ["glf"]
    assert "and 1 less expensive lines (--verbose lists them)\n" in ended.out
    assert "one trial after another: 13,056 images," in ended.out
    assert {found[0] for found in LINE.findall(dry(bench, "--verbose").out)} == {"glf", "vae"}


def done(row: str, seed: int, took: float, **environment: Any) -> dict[str, Any]:
    """Return the record of a trial that spent `took` seconds besides training."""
    seconds = {"train": 290.0, "extract": 1.0, "fit": 2.0, "sample": 4.0, "features": 3.0, "metrics": took - 10}
    return records.make(profile="tiny", dataset="digits", row=row, seed=seed, seconds=seconds, environment=environment)


@pytest.mark.slow
def test_the_time_besides_training_is_that_of_finished_trials(bench: Bench) -> None:
    records.put(
        bench.folder / "results", *(done("vae", s, took, device="other") for s, took in ((7, 60), (8, 70), (9, 90)))
    )
    ended = dry(bench)
    assert [found[5] for found in LINE.findall(ended.out)] == ["1:10", "1:10"]
    assert "and 2:20 of other work, as in the finished trials of this profile on other devices: " in ended.out


@pytest.mark.slow
def test_finished_trials_on_this_device_take_precedence_over_others(bench: Bench) -> None:
    here = environment.describe(CPU)
    made = (done("vae", 7, 20, device="other"), done("vae", 8, 30, **here), done("rae_gmm", 9, 50, **here))
    records.put(bench.folder / "results", *made)
    ended = dry(bench)
    assert [found[5] for found in LINE.findall(ended.out)] == ["0:40", "0:30"]
    assert "and 1:10 of other work, as in the finished trials of this profile: " in ended.out


def test_a_dry_run_with_nothing_to_do_or_without_forecast_times_nothing(
    finished: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "calibrate", lambda *args: pytest.fail("nothing is to be timed"))
    assert "forecast" not in dry(finished).out
    assert "forecast" not in dry(finished, "--seeds", "3", "--no-forecast").out


@pytest.mark.slow
def test_the_total_of_a_forecast_says_if_rows_are_missing(bench: Bench) -> None:
    source = (HERE.parent / "baselines" / "vae.py").read_text()
    head = "def step(self, x: Tensor, index: Tensor) -> Updates:"
    assert head in source
    bench.baseline("bad", source.replace(head, f"{head}\n        raise OSError"))
    both = bench("run", "--profile", "tiny", "--models", "bad,vae", "--dry-run").out
    assert "in total, one trial after another, without the rows below that have no forecast: 256 images," in both
    alone = bench("run", "--profile", "tiny", "--models", "bad", "--dry-run").out
    assert "no forecast of bad on digits: " in alone and "in total" not in alone


@pytest.mark.slow
def test_missing_weights_fail_a_dry_run_after_its_forecast(bench: Bench) -> None:
    bench.declare(profiles=bench.tiny(protocols=["paper"]))
    ended = dry(bench)
    assert ended.code == 2 and "in total, one trial after another: 512 images," in ended.out
    assert ended.err.startswith("aegen-bench: protocol paper of profile tiny needs inception: ")


def test_a_missing_device_costs_a_dry_run_only_its_forecast(bench: Bench) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    ended = dry(bench, "--device", "cuda")
    assert (
        ended.code == 0
        and "no forecast: --device cuda: torch" in ended.out
        and re.search(r"^  glf +1 to train$", ended.out, re.M)
    )
