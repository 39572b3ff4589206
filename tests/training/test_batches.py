"""Batches of a training set that does not fit on the device: they are streamed from the host, in the same order."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Bench
from methods import Waits, build
from torch import Tensor

from aegen_bench.baseline import Baseline, Stage
from aegen_bench.blocks.nets import Nets
from aegen_bench.errors import UserError
from aegen_bench.training import batches as module
from aegen_bench.training.batches import batches, placed
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan

DIGITS = torch.randint(256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
NETS = partial(Nets, (1, 8, 8), d=4, flow_width=8, n_train=24)
CUDA = torch.device("cuda", 0)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the batches treat all data as data on the host, and the CPU as another device."""
    monkeypatch.setattr(module, "resident", lambda data, device: False)


def fit(model: Baseline, steps: int = 5, images: Tensor = DIGITS) -> History:
    history = History()
    plans = {stage.name: StagePlan(steps=steps, batch=8, lr=1e-3) for stage in model.stages()}
    train(model, images, plans, seed=0, history=history)
    return history


def weights(model: Baseline) -> Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.mark.parametrize("data", [DIGITS, torch.randn(24, 3, generator=torch.Generator().manual_seed(0))])
def test_streamed_batches_equal_those_of_data_on_the_device(data: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    here = list(batches(data, order, 10))
    monkeypatch.setattr(module, "resident", lambda data, device: False)
    streamed = list(batches(data, order, 10))
    assert [len(index) for _, index in here] == [10, 10, 4]
    for (rows, index), (same_rows, same_index) in zip(here, streamed, strict=True):
        assert torch.equal(rows, same_rows) and rows.dtype == same_rows.dtype == data.dtype
        assert torch.equal(index, same_index)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["glf", "rae_gmm", "two_stage_vae", "glo", "glann"])
def test_streamed_training_ends_with_the_same_weights(name: str, request: pytest.FixtureRequest) -> None:
    """Covers stages on images, a mixture that is fitted to the codes of all images, a stage on codes, and a hook that
    receives all images but does not use them.
    """
    here = build(name, NETS())
    told = fit(here)
    request.getfixturevalue("elsewhere")
    streamed = build(name, NETS())
    told_of_streamed = fit(streamed)
    assert torch.equal(weights(here), weights(streamed))
    assert [row["terms"] for row in told.epochs] == [row["terms"] for row in told_of_streamed.epochs]


def test_no_streamed_step_waits_for_the_device(elsewhere: None) -> None:
    counts = []
    for steps in (1, 3):  # within one epoch
        with Waits() as seen:
            fit(build("vae", NETS()), steps)
        counts.append(seen.count)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("name", "stage"), [("vampprior", "train"), ("vqvae_ar", "train")])
def test_a_hook_that_uses_all_images_is_an_error_before_training_if_they_are_streamed(
    name: str, stage: str, elsewhere: None
) -> None:
    model = build(name, NETS())
    before = weights(model)
    with pytest.raises(UserError) as error:
        fit(model)
    said = str(error.value)
    assert f"stage '{stage}' uses all training images at once" in said and "--set train_images=N" in said
    assert "\n" not in said
    assert torch.equal(weights(model), before)


def test_a_hook_uses_images_if_its_code_mentions_them() -> None:
    class Hooks:
        def no(self, images: Tensor) -> None:
            self.images = 1

        def yes(self, images: Tensor) -> None:
            images.sum()

        def within(self, images: Tensor) -> None:
            self.later = lambda: images

        def any(self, *images: Tensor) -> None:
            pass

    hooks = Hooks()
    hooks_that_look = (hooks.yes, hooks.within, hooks.any, lambda images: images.sum(), partial(hooks.no), print)
    for look, each in ((True, hooks_that_look), (False, (hooks.no, lambda images: None))):
        for hook in each:
            assert Stage("train", hooks.yes, after_epoch=hook).looks_at_all is look, hook  # type: ignore[arg-type]


def test_hooks_on_codes_do_not_need_the_images(elsewhere: None) -> None:
    fit(build("ae+flow", NETS()))  # the start hook of its stage standardises the codes


@pytest.mark.slow
def test_a_streamed_trial_says_so_and_has_the_same_numbers(bench: Bench, request: pytest.FixtureRequest) -> None:
    bench("run", "--profile", "tiny", "--models", "rae_gmm", "--device", "cpu")
    request.getfixturevalue("elsewhere")
    ended = bench("run", "--profile", "tiny", "--models", "rae_gmm", "--device", "cpu", "--results", "streamed")
    assert ended.code == 0 and "images do not fit on cpu and are streamed" in ended.out + ended.err
    here = bench.record("rae_gmm")
    streamed = json.loads((bench.folder / "streamed/tiny/digits/rae_gmm/seed-0/record.json").read_text())
    assert streamed["metrics"] == here["metrics"]
    assert streamed["environment"]["streamed"] and "streamed" not in here["environment"]


class Memory:
    """Images of a given size, on the host."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def to(self, device: torch.device) -> Any:
        return SimpleNamespace(device=device)


@pytest.mark.parametrize(("nbytes", "there"), [(500, True), (501, False)])
def test_images_stay_on_the_host_if_they_need_more_than_half_of_the_free_memory(
    nbytes: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (700, 2000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 900)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 600)  # the other 300 are free for tensors
    images: Any = Memory(nbytes)
    assert (placed(images, CUDA) is not images) is there


def test_on_a_cpu_images_stay_where_they_are() -> None:
    assert placed(DIGITS, torch.device("cpu")) is DIGITS


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_streamed_images_give_the_same_weights() -> None:
    here, streamed = build("glf", NETS()).to(CUDA), build("glf", NETS()).to(CUDA)
    fit(here, images=DIGITS.to(CUDA))
    fit(streamed, images=DIGITS)
    assert torch.equal(weights(here), weights(streamed))
