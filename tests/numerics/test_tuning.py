"""Linear layers by oneDNN: they give the same numbers as torch's own, and are used only where intended."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from methods import build
from torch import Tensor, nn
from torch.nn.functional import linear

from aegen_bench import environment
from aegen_bench.blocks.nets import Nets
from aegen_bench.numerics import tuning
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan
from aegen_bench.trial import model as models

AMD, INTEL = "vendor_id\t: AuthenticAMD\nflags\t\t: avx512f\n", "vendor_id\t: GenuineIntel\nflags\t\t: avx512f\n"
NETS = Nets((1, 8, 8), d=4, flow_width=256, n_train=24)
needs_onednn = pytest.mark.skipif(not tuning._works(), reason="this torch has no oneDNN product")


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "library", lambda: "oneDNN")


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def layouts() -> list[tuple[str, Tensor, Tensor, Tensor | None]]:
    x, weight, bias = numbers(7, 300), numbers(260, 300), numbers(260)
    return [
        ("plain", x, weight, bias),
        ("without a bias", x, weight, None),
        ("transposed", numbers(300, 7).t(), numbers(300, 260).t(), bias),
        ("every second", numbers(14, 600)[::2, ::2], weight, bias),
        ("one row", numbers(1, 300), weight, bias),
    ]


def sums(x: Tensor, weight: Tensor, bias: Tensor | None, dy: Tensor) -> list[Tensor]:
    """Compute x weight^T + bias by hand, and its gradients for x, weight and bias if that of the result is dy."""
    product = x @ weight.t() if bias is None else x @ weight.t() + bias
    return [product, dy @ weight, dy.t() @ x, dy.sum(0)]


@needs_onednn
@pytest.mark.parametrize(
    ("name", "x", "weight", "bias"), layouts(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_product_and_its_gradients_are_exact_up_to_float32_rounding(
    name: str, x: Tensor, weight: Tensor, bias: Tensor | None
) -> None:
    """A sum of n rounded terms, in any order, is off by sqrt(n) eps times their absolute sum (Higham & Mary 2019)."""
    given = [value for value in (x, weight, bias) if value is not None]
    for dy in (numbers(len(x), 260).detach(), torch.ones(()).expand(len(x), 260)):
        result = tuning.product(*given)
        found = [result, *torch.autograd.grad(result, given, dy)]
        wide = [None if value is None else value.detach().double() for value in (x, weight, bias, dy)]
        exact, sizes = sums(*wide), sums(*(value if value is None else value.abs() for value in wide))
        terms = [x.shape[1] + 1, len(weight), len(x), len(x)]
        for value, true, size, n in zip(found, exact, sizes, terms, strict=False):
            assert ((value - true).abs() <= n**0.5 * torch.finfo(torch.float32).eps * size).all()


@needs_onednn
def test_metrics_use_the_faster_library_for_large_enough_products(
    monkeypatch: pytest.MonkeyPatch, onednn: None
) -> None:
    x, weight, bias = (value.detach() for value in (numbers(7, 300), numbers(260, 300), numbers(260)))
    assert torch.equal(tuning.linear(x, weight, bias), tuning.product(x, weight, bias))
    assert torch.equal(tuning.linear(x, weight[:9], bias[:9]), linear(x, weight[:9], bias[:9]))
    monkeypatch.setattr(tuning, "library", lambda: "BLAS")
    assert torch.equal(tuning.linear(x, weight, bias), linear(x, weight, bias))


@needs_onednn
def test_products_have_second_order_gradients() -> None:
    """A penalty on the gradient of a network needs second-order gradients."""
    found = []
    for multiply in (tuning.product, linear):
        x, weight, bias = numbers(7, 300), numbers(260, 300), numbers(260)
        (slope,) = torch.autograd.grad(multiply(x, weight, bias).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), [x, weight, bias]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize(
    ("cpuinfo", "capability", "expected"),
    [(AMD, "AVX512", True), (AMD, "AVX2", False), (INTEL, "AVX512", False), (None, "AVX512", False)],
)
def test_onednn_is_for_amd_processors_with_avx512(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpuinfo: str | None, capability: str, expected: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(tuning, "_works", lambda: True)
    if cpuinfo:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert (tuning.library(tmp_path / "cpuinfo") == "oneDNN") is expected


def wrong(*given: Tensor) -> Tensor:
    return linear(*given) + 1  # type: ignore[call-overload, no-any-return]


def missing(*given: Tensor) -> Tensor:
    raise AttributeError("_linear_pointwise")


@pytest.mark.parametrize("operator", [wrong, missing])
def test_a_missing_or_changed_operator_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, operator: object
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(tuning, "_onednn", operator)
    (tmp_path / "cpuinfo").write_text(AMD)
    assert tuning.library(tmp_path / "cpuinfo") != "oneDNN"


def test_records_say_which_library_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "library", lambda: "some library")
    assert environment.describe(torch.device("cpu"))["products"] == "some library"


# ---- in networks ---------------------------------------------------------------------------------


@needs_onednn
def test_only_large_float32_layers_on_the_cpu_use_onednn(monkeypatch: pytest.MonkeyPatch, onednn: None) -> None:
    taken: list[tuple[int, ...]] = []

    def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        taken.append(tuple(weight.shape))
        return linear(x, weight, bias)

    monkeypatch.setattr(tuning, "product", product)
    wide, narrow = (tuning.quickened(nn.Sequential(nn.Linear(256, out))) for out in (256, 255))
    wide(torch.ones(2, 256))
    assert taken == [(256, 256)]
    narrow(torch.ones(2, 256))
    wide(torch.ones(2, 3, 256))
    wide(torch.ones(0, 256))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert wide(torch.ones(2, 256)).dtype == torch.bfloat16
    copy.deepcopy(wide).double()(torch.ones(2, 256, dtype=torch.float64))
    copy.deepcopy(wide).to("meta")(torch.ones(2, 256, device="meta"))
    assert taken == [(256, 256)]


@needs_onednn
@pytest.mark.parametrize("name", ["glf", "two_stage_vae", "wae_gan"])
def test_a_training_step_with_onednn_differs_only_by_rounding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learning rate is tiny, because Adam takes a full step even along a gradient that is only round-off."""
    images = torch.randint(256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    operator, calls, losses, trained = tuning._onednn, list[str](), [], []
    for library in ("oneDNN", "BLAS"):
        monkeypatch.setattr(tuning, "library", lambda library=library: library)
        monkeypatch.setattr(
            tuning, "_onednn", lambda *given, library=library: (calls.append(library), operator(*given))[1]
        )
        model, history = build(name, NETS), History()
        plans = {stage.name: StagePlan(steps=1, batch=24, lr=1e-8) for stage in model.stages()}
        train(model, images, plans, seed=0, history=history)
        losses.append([value for row in history.epochs for terms in row["terms"].values() for value in terms.values()])
        trained.append(model)
    assert set(calls) == {"oneDNN"}
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert models.anatomy(trained[0]) == models.anatomy(trained[1])
    assert list(trained[0].state_dict()) == list(trained[1].state_dict())


@needs_onednn
def test_a_deep_copy_multiplies_by_its_own_weights(onednn: None) -> None:
    net = tuning.quickened(nn.Linear(256, 256))
    twin = copy.deepcopy(net)
    nn.init.zeros_(net.weight)
    x = torch.ones(2, 256)
    torch.testing.assert_close(twin(x), linear(x, twin.weight, twin.bias))
    assert torch.equal(net(x), net.bias.expand(2, -1))


@needs_onednn
def test_the_library_does_not_depend_on_the_default_device() -> None:
    tuning.library.cache_clear()
    with torch.device("meta"):  # as when FLOPs are counted
        first = tuning.library()
    tuning.library.cache_clear()
    assert first == tuning.library()


def test_one_switch_turns_all_tuning_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tested where tuning would be on: an AMD processor with AVX-512, and a malloc that accepts settings."""
    (tmp_path / "cpuinfo").write_text("vendor_id : AuthenticAMD")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(tuning, "_works", lambda: True)
    told: list[object] = []
    monkeypatch.setattr("ctypes.CDLL", lambda name: told.append(name))
    for value, library, malloc in (("on", "oneDNN", 2), ("off", "BLAS", 0)):
        monkeypatch.setenv("AEGEN_BENCH_TUNING", value)
        told.clear()
        assert tuning.library.__wrapped__(tmp_path / "cpuinfo") == library
        with tuning.keeping_memory():
            pass
        assert len(told) == malloc
