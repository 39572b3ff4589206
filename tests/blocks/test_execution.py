"""Compiled networks: training steps are compiled, and nothing else."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Bench
from methods import build
from torch import Tensor, nn

from aegen_bench import environment, seeding
from aegen_bench.baseline import Baseline
from aegen_bench.blocks import execution
from aegen_bench.blocks.nets import Nets
from aegen_bench.errors import UserError
from aegen_bench.training.history import History
from aegen_bench.training.loop import extract, train
from aegen_bench.training.schedule import StagePlan
from aegen_bench.trial import model as models

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_tables")]

# Together they use every kind of network: those for vectors and for grids, the adversary, the flow (with and without a
# context), features before the head, and networks that a method defines itself.
METHODS = ["glann", "glf", "two_stage_vae", "vae_flow_posterior", "vqvae_ar", "wae_gan"]
DIGITS = torch.randint(256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
NETS = partial(Nets, (1, 8, 8), d=4, flow_width=8, n_train=24)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    execution._subclass.cache_clear()  # its classes hold what was compiled for another test
    torch.compiler.reset()
    execution._COMPILED_FOR[0] = ""
    yield
    execution._subclass.cache_clear()
    torch.compiler.reset()


def test_compiled_code_is_kept_while_the_networks_stay_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[str] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(asked))
    for asked in ("glf", "glf", "vae", "vae", "glf"):
        execution.forget_compiled(asked)
    assert resets == ["glf", "vae", "glf"]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """torch.compile without a compiler: the list of graphs that it traces, each of which then runs as it is. It is an
    error if a network cannot be traced as a whole, or is traced again more often than torch allows.
    """
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward  # type: ignore[no-any-return]

    def compile_(call: Any, **options: Any) -> Any:
        return torch_compile(call, **options, backend=backend, fullgraph=True)

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_)
    return graphs


def fit(model: Baseline, images: Tensor = DIGITS) -> History:
    history = History()
    plans = {s.name: StagePlan(epochs=2, batch=8 - 2 * i, lr=1e-3) for i, s in enumerate(model.stages())}
    train(model, images, plans, seed=0, history=history)
    return history


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(name == other and torch.equal(x, y) for (name, x), (other, y) in pairs)


# ---- what is compiled ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_network_is_one_graph_with_the_same_numbers_as_uncompiled(name: str, traced: list[Any]) -> None:
    """A single graph never waits for the device: it would end wherever Python needs a value."""
    plain, fast = build(name, NETS()), build(name, NETS(compile=True))
    fit(plain)
    assert traced == []
    fit(fast)
    assert len(traced) >= 1
    assert same(plain, fast)


def test_bf16_networks_are_compiled_too(traced: list[Any]) -> None:
    plain, fast = (build("vae", NETS(precision="bf16", compile=on)) for on in (False, True))
    fit(plain)
    fit(fast)
    assert len(traced) == 2 and same(plain, fast)


def test_compiling_changes_neither_parameters_nor_names_nor_layers(traced: list[Any]) -> None:
    plain, fast = build("glf", NETS()), build("glf", NETS(compile=True))
    assert same(plain, fast)
    assert models.anatomy(plain) == models.anatomy(fast)
    assert [type(part).__name__ for part in fast.modules()] == [type(part).__name__ for part in plain.modules()]


def test_only_training_steps_are_compiled(traced: list[Any]) -> None:
    model = build("glf", NETS(compile=True)).eval()
    x = torch.rand(5, 1, 8, 8)
    model.decode(model.prior(model.noise(3)))
    model.decode(model.encode(x)).sum().backward()
    extract(model, DIGITS, seed=0, stage=0)
    with torch.no_grad(), model.train().using(seeding.stream(0, "hook")):
        next(iter(model.step(x, torch.arange(5))))
    assert traced == []


def test_a_network_that_is_used_twice_in_a_step_is_traced_for_each_use(traced: list[Any]) -> None:
    model = build("wae_gan", NETS(compile=True), pretrain=False)
    fit(model)
    # encoder and decoder once; the critic for codes with a gradient (the auto-encoder's update) and without (its own)
    assert len(traced) == 4


def test_a_deep_copy_of_a_compiled_network_uses_its_own_weights(traced: list[Any]) -> None:
    net = NETS(compile=True).critic().train()
    twin, x = copy.deepcopy(net), torch.rand(8, 4)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert twin(x).abs().max() == 0 < net(x).abs().max()


def test_each_step_of_a_compiled_training_is_marked_for_cuda_graphs(
    traced: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[int] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(len(marks)))
    fit(build("vae", NETS()))
    assert marks == []
    fit(build("vae", NETS(compile=True)))
    assert len(marks) == 2 * 3


@pytest.mark.parametrize(("device", "mode"), [("cpu", None), ("cuda", "reduce-overhead")])
def test_cuda_graphs_are_requested_on_cuda_only(monkeypatch: pytest.MonkeyPatch, device: str, mode: Any) -> None:
    asked: list[Any] = []

    def compile_(call: Any, **options: Any) -> Any:
        asked.append(options)
        return lambda *_: "compiled"

    monkeypatch.setattr(torch, "compile", compile_)
    net, batch = NETS(compile=True).critic().train(), SimpleNamespace(device=torch.device(device))
    assert net(batch) == net(batch) == "compiled"
    assert asked == [{"mode": mode, "dynamic": False}]


# ---- with the real compiler ----------------------------------------------------------------------


class Small(Baseline):
    """A method with a single linear layer, the smallest thing to compile."""

    def __init__(self, nets: Nets) -> None:
        super().__init__(nets)
        self.net = nets.mixed(nn.Linear(4, 4))

    def step(self, x: Tensor, index: Tensor) -> Any:
        yield "model", {"error": (self.net(x.flatten(1)) - x.flatten(1).flip(1)).square().sum(1).mean()}

    def decode(self, z: Tensor) -> Tensor:
        return self.net(z).sigmoid().view(-1, 1, 2, 2)


def trained(device: str, make: Callable[[bool], Baseline], compile: bool, images: Tensor) -> list[float]:
    """Train the method and return the loss of each epoch."""
    history = fit(make(compile).to(device), images.to(device))
    return [math.fsum(row["terms"]["model"].values()) for row in history.epochs]


def small(compile: bool) -> Baseline:
    with seeding.initialising(0):
        return Small(Nets((1, 2, 2), d=4, flow_width=4, n_train=24, compile=compile))


def test_compiled_networks_give_the_same_losses() -> None:
    try:
        environment.require_compiler(torch.device("cpu"))
    except UserError as error:
        pytest.skip(str(error))
    plain, fast = (trained("cpu", small, on, DIGITS[..., :2, :2]) for on in (False, True))
    assert fast == pytest.approx(plain, rel=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["vae", "glf"])
def test_cuda_graphs_give_the_same_losses(name: str) -> None:
    def make(compile: bool) -> Baseline:
        return build(name, NETS(compile=compile))  # type: ignore[no-any-return]

    plain, fast = (trained("cuda", make, on, DIGITS) for on in (False, True))
    assert fast == pytest.approx(plain, rel=1e-3)


# ---- as a setting --------------------------------------------------------------------------------


def no_compiler(*_: Any, **__: Any) -> Any:
    raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1")


def test_without_a_compiler_a_run_ends_with_one_line_before_it_trains(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", no_compiler)
    ended = bench("run", "--profile", "tiny", "--models", "vae", "--compile")
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert "No working C++ compiler found" in ended.err and "run without --compile" in ended.err
    assert not (bench.folder / "results").exists()
    assert bench("run", "--profile", "tiny", "--models", "vae").code == 0  # this compiles nothing


def test_a_compiled_trial_says_so_and_has_a_profile_of_its_own(bench: Bench, traced: list[Any]) -> None:
    assert bench("run", "--profile", "tiny", "--models", "vae", "--compile").code == 0
    assert len(traced) == 1 + 2  # the check of the compiler, encoder, decoder
    record = bench.record("vae", profile="tiny+compile=true")
    assert record["status"] == "ok" and record["config"]["compile"] is True
    assert "compile True" in record["config"]["overrides"]


def test_trials_with_equal_networks_are_compiled_once(bench: Bench, traced: list[Any]) -> None:
    run = ("run", "--profile", "tiny", "--compile", "--models")
    assert bench(*run, "vae", "--seeds", "2").code == 0
    assert len(traced) == 1 + 2  # the check of the compiler, encoder, decoder
    assert bench(*run, "glf,vae", "--seeds", "3").code == 0
    assert len(traced) == 3 + 1 + 3 + 2  # three trials of glf in a row, then one of vae


def test_a_compiled_trial_resumes_from_its_checkpoint_to_the_same_weights(bench: Bench, traced: list[Any]) -> None:
    run = ("run", "--profile", "tiny", "--models", "glf", "--compile")
    assert bench(*run).code == 0
    undisturbed = bench.record("glf", profile="tiny+compile=true")["weights_sha256"]
    assert bench(*run, "--results", "cut", "--time-limit", "0.0001s").code == 1
    assert bench(*run, "--results", "cut", "--retry", "timeout").code == 0
    record = json.loads((bench.folder / "cut/tiny+compile=true/digits/glf/seed-0/record.json").read_text())
    assert record["weights_sha256"] == undisturbed


def test_compile_takes_no_value_and_can_be_set_only_once(bench: Bench) -> None:
    twice = bench("run", "--profile", "tiny", "--compile", "--set", "compile=true")
    assert twice.code == 2 and "compile is set twice" in twice.err
    wrong = bench("run", "--profile", "tiny", "--set", "compile=fast")
    assert wrong.code == 2 and "compile" in wrong.err and wrong.err.count("\n") == 1


def test_a_forecast_counts_the_same_and_says_that_it_timed_uncompiled_networks(bench: Bench) -> None:
    ended = bench("run", "--profile", "tiny", "--models", "vae", "--compile", "--dry-run")
    plain = bench("run", "--profile", "tiny", "--models", "vae", "--dry-run")
    assert ended.code == plain.code == 0
    assert "with --compile: these times are without it" in ended.out and "--compile" not in plain.out
    counted = [next(line for line in e.out.splitlines() if line.startswith("| vae")) for e in (ended, plain)]
    assert counted[0].split("|")[:6] == counted[1].split("|")[:6]
    assert not (bench.folder / "results").exists()
