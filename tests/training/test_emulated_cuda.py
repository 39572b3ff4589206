"""All baselines on an emulated CUDA device: everything stays on the device, no step synchronises, and the numbers are
equal with and without graphs. `make gpu-check` checks a real device.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Bench
from emulated_cuda import DEVICE, Device, Graph, Misplaced, emulated_cuda
from methods import BASELINES, build
from torch import Tensor

from aegen_bench import environment, seeding
from aegen_bench.baseline import Baseline, Stage
from aegen_bench.blocks.nets import Nets
from aegen_bench.errors import Stopped
from aegen_bench.prior import Pair, Prior
from aegen_bench.progress import Progress
from aegen_bench.study import catalog
from aegen_bench.training import loop
from aegen_bench.training.checkpoint import Checkpoints
from aegen_bench.training.history import History
from aegen_bench.training.optimizers import Optimizers
from aegen_bench.training.probe import Probe
from aegen_bench.training.schedule import StagePlan
from aegen_bench.training.stopping import Interrupts
from aegen_bench.trial import sampling

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_tables")]

PRIORS = catalog.find_priors(Path("/nowhere"))
METHODS = [*sorted(path.stem for path in BASELINES.glob("*.py")), *(f"ae+{name}" for name in PRIORS)]
SMALL: dict[str, dict[str, Any]] = {
    "vqvae_ar": {"layers": 2, "codewords": 16, "channels": 8},
    "spline": {"couplings": 2},
    "diffusion": {"hidden_layers": 2, "solver_steps": 3},
    "flow_matching": {"hidden_layers": 2, "solver_steps": 3},
}
DIGITS = torch.randint(256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
NETS = Nets((1, 8, 8), d=4, flow_width=8, n_train=24)
STEPS = 4  # per epoch
EAGER = {"vampprior": {"train"}}  # stages that are not captured, because they read `progress`


@pytest.fixture
def gpu() -> Iterator[Device]:
    with emulated_cuda() as device:
        yield device


class Notes(Progress):
    """Collects the notes that are shown to the user."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def made(name: str) -> Any:
    """Return a method, or a pair of a trunk and a prior, on the device."""
    return build(name, NETS, **SMALL.get(name.removeprefix("ae+"), {})).to(DEVICE)


def fit(model: Baseline, images: Tensor, **options: Any) -> History:
    """Train each stage for two epochs of four steps, the second at half the learning rate."""
    history = options.pop("history", None) or History()
    plan = StagePlan(epochs=2, batch=len(DIGITS) // STEPS, lr=1e-3, lr_at=((1, 0.5),))
    plans = {stage.name: plan for stage in model.stages()}
    loop.train(model, images, plans, seed=0, history=history, **options)
    return history


def essence(model: Baseline, history: History) -> tuple[dict[str, tuple[torch.dtype, bytes]], list[Any]]:
    """Return what must be equal: every bit of the weights, and the losses and logs of each epoch."""
    weights = {name: (value.dtype, value.cpu().numpy().tobytes()) for name, value in model.state_dict().items()}
    return weights, [(row["terms"], row["logs"]) for row in history.epochs]


@cache
def plain(name: str) -> Any:
    """Return the `essence` of training whose steps are launched one by one."""
    with emulated_cuda():
        model = made(name)
        return essence(model, fit(model, DIGITS.to(DEVICE), graphs=False))


# ---- the device ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_a_method_stays_on_the_device_and_its_steps_do_not_wait(
    name: str, gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covers stages with their hooks, probes, extraction, fitting a density, codes and samples."""
    step = loop.take_step

    def without_waiting(*args: Any) -> None:
        torch.cuda.set_sync_debug_mode("error")
        step(*args)
        torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop, "take_step", without_waiting)
    model, images = made(name), DIGITS.to(DEVICE)
    probe = Probe(1, images[:6], images[6:12], lambda model: {"images": float(len(_sampled(model)))})
    plans = {stage.name: StagePlan(steps=2, batch=8, lr=1e-3) for stage in model.stages()}
    history = History()
    loop.train(model, images, plans, seed=0, history=history, probe=probe, graphs=False)
    losses = [value for row in history.epochs for terms in row["terms"].values() for value in terms.values()]
    assert bool(losses) == bool(plans) and all(map(math.isfinite, losses)) and len(history.probes) == len(plans)
    assert all(value.device == DEVICE for value in model.state_dict().values())
    assert _sampled(model).shape == (5, 1, 8, 8)
    codes = sampling.encode(model, DIGITS.numpy(), seed=0, device=DEVICE)
    assert codes is None or codes.device == DEVICE
    assert sampling.sample_codes(model, 5, seed=0, device=DEVICE).device == DEVICE


def _sampled(model: Baseline) -> Any:
    return sampling.generate(model, 5, seed=0, draw=0, device=DEVICE)


class Faulty(Baseline):
    """An auto-encoder whose loss includes what `fault` returns."""

    def __init__(self, nets: Nets, fault: Callable[[Baseline, Tensor], Any]) -> None:
        super().__init__(nets)
        self.encoder, self.decoder, self.fault = nets.encoder(), nets.decoder(), fault

    def step(self, x: Tensor, index: Tensor) -> Any:
        z = self.encoder(x)
        yield "model", {"reconstruction": self.recon(self.decoder(z), x) + self.fault(self, z)}

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


FAULTS: dict[str, Callable[[Baseline, Tensor], Any]] = {
    "a tensor of the host": lambda model, z: (z * torch.ones(4)).mean(),
    "a generator of the host": lambda model, z: torch.randn(3, device=z.device, generator=torch.Generator()).mean(),
    "a generator of the device on the host": lambda model, z: torch.randn(3, generator=model._stream).mean(),
    "the global stream of the device": lambda model, z: torch.randn_like(z).mean(),
    "numpy": lambda model, z: float(z.detach().numpy().mean()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_on_the_wrong_device_is_refused(fault: str, gpu: Device) -> None:
    with pytest.raises(Misplaced):
        fit(Faulty(NETS, FAULTS[fault]).to(DEVICE), DIGITS.to(DEVICE), graphs=False)


WAITS: dict[str, Callable[[Baseline, Tensor], Any]] = {
    "item": lambda model, z: z.detach().mean().item(),
    "if": lambda model, z: 1 if z.mean() > 0 else 0,
    "an index of booleans": lambda model, z: z[z > 0].sum(),
    "nonzero": lambda model, z: float(len(z.nonzero())),
    "a copy to the host": lambda model, z: z.detach().cpu().mean().to(DEVICE),
    "a list": lambda model, z: sum(z[0].tolist()),
    "a tensor of Python numbers": lambda model, z: torch.tensor([1.0], device=z.device).mean(),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_step_that_waits_is_noticed_and_is_not_captured(wait: str, gpu: Device) -> None:
    model, notes = Faulty(NETS, WAITS[wait]).to(DEVICE), Notes()
    fit(model, DIGITS.to(DEVICE), progress=notes)
    assert notes.told == ["stage 'train': its steps are not captured as a CUDA graph: it waits for the device"]
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="synchronizing"):
        WAITS[wait](model, torch.ones(2, 4, device=DEVICE))


# ---- graphs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in METHODS if "+" not in name or PRIORS[name[3:]].stages])
def test_replayed_steps_give_the_same_numbers_as_steps_launched_one_by_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Covers the end of an epoch, its hooks, a probe and a change of the learning rate. All stages except those in
    `EAGER` are captured, so their steps have the same operations and Python numbers throughout.
    """
    captured: list[Graph] = []
    begin = Graph.capture_begin
    monkeypatch.setattr(Graph, "capture_begin", lambda graph, **k: (captured.append(graph), begin(graph, **k)))
    with emulated_cuda():
        model, notes, images = made(name), Notes(), DIGITS.to(DEVICE)
        probe = Probe(1, images[:6], images[6:12], lambda model: {})
        found = essence(model, fit(model, images, progress=notes, probe=probe))
    eager = EAGER.get(name, set())
    assert [text.split("'")[1] for text in notes.told] == sorted(eager), notes.told
    # The fourth step is captured, and so is the fifth, because its learning rate differs.
    assert [graph.replays for graph in captured] == [1, 4] * (len(model.stages()) - len(eager))
    assert found == plain(name)


@pytest.mark.parametrize(
    ("name", "steps"), [("glf", 2), ("glf", 4), ("glf", 6), ("glann", 6), ("vampprior", 6), ("vqvae_ar", 6)]
)
def test_resumed_training_gives_the_same_numbers(name: str, steps: int, tmp_path: Path) -> None:
    """Training is stopped before the capture, at the end of an epoch, or between replays."""
    done = [0]

    class Stopping(Interrupts):
        def due(self, *, epoch_over: bool = False) -> bool:
            done[0] += not epoch_over
            return done[0] == steps

        def go_on(self, spent: float, where: str) -> None:
            raise Stopped(15)

    with emulated_cuda():
        with pytest.raises(Stopped):
            fit(made(name), DIGITS.to(DEVICE), checkpoints=Checkpoints(tmp_path, {}, Stopping()))
        model, saved = made(name), Checkpoints(tmp_path).read()
        assert saved and (saved["epoch"], saved["step"]) == divmod(steps, STEPS)
        found = essence(model, fit(model, DIGITS.to(DEVICE), resume=saved))
    assert found == plain(name)


@pytest.mark.parametrize("name", ["glf", "rae_gmm", "two_stage_vae", "glo", "glann"])
def test_streamed_images_give_the_same_numbers(name: str) -> None:
    with emulated_cuda(free=1) as gpu:
        model, notes = made(name), Notes()
        before = sum(gpu.waits.values())
        history = fit(model, DIGITS, progress=notes)
        assert notes.told == [] and sum(gpu.waits.values()) > before  # the waits are at the ends of epochs
        found = essence(model, history)
    assert found == plain(name)


class Scheduled(Baseline):
    """An auto-encoder whose step may change in the course of training, through `scale` or `hook`."""

    def __init__(self, nets: Nets, scale: Callable[[Scheduled], Any], hook: Callable[[Any], None] | None) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.scale, self.hook = scale, hook
        self.calls, self.factor = 0, 1.0
        self.register_buffer("weight", torch.ones(()))

    def stages(self) -> list[Stage]:
        return [Stage("train", self.step, before_epoch=self.before if self.hook else None)]

    def before(self, images: Tensor) -> None:
        assert self.hook
        self.hook(self)

    def step(self, x: Tensor, index: Tensor) -> Any:
        self.calls += 1
        scale = self.scale(self)
        self.log("scale", scale)
        yield "model", {"reconstruction": scale * self.recon(self.decoder(self.encoder(x)), x)}

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


def scheduled(scale: Callable[[Any], Any], hook: Callable[[Any], None] | None = None, graphs: bool = True) -> Any:
    notes = Notes()
    with emulated_cuda():
        with seeding.initialising(0):
            model = Scheduled(NETS, scale, hook).to(DEVICE)
        history = fit(model, DIGITS.to(DEVICE), progress=notes, graphs=graphs)
        return essence(model, history), notes.told


def _replace_buffer(model: Any) -> None:
    model.weight = model.weight * 2


def _double(model: Any) -> None:
    model.weight.mul_(2)


def _next_factor(model: Any) -> None:
    model.factor *= 2


def _freeze(model: Any) -> None:
    model.encoder.eval()


CHANGING: dict[str, tuple[Callable[[Any], Any], Callable[[Any], None] | None, str]] = {
    "a number of Python's": (lambda m: 1.5, None, ""),
    "a counter": (lambda m: 1.0 / m.calls, None, "its operations differ from step to step"),
    "progress": (lambda m: 1.0 + m.progress, None, "it reads `progress`"),
    "progress that does not show yet": (lambda m: 2.0 if m.progress > 0.5 else 1.0, None, "it reads `progress`"),
    "progress, late": (lambda m: m.progress if m.calls >= 4 else 1.0, None, "it reads `progress`"),
    "a tensor of the host": (lambda m: torch.tensor(2.0), None, "it computes on another device (aten::"),
    "something late that cannot be captured": (
        lambda m: m.weight.item() if m.calls == 4 else 1.0,
        None,
        "operation not permitted when stream is capturing",
    ),
    "a hook that changes a buffer": (lambda m: m.weight, _double, ""),
    "a hook that replaces a buffer": (lambda m: m.weight, _replace_buffer, ""),
    "a hook that changes a number": (lambda m: m.factor, _next_factor, ""),
    "a hook that changes a mode": (lambda m: 1.0, _freeze, ""),
}


@pytest.mark.parametrize("kind", CHANGING)
def test_changes_during_a_stage_take_effect_with_graphs_too(kind: str) -> None:
    scale, hook, why = CHANGING[kind]
    found, told = scheduled(scale, hook)
    assert len(told) == bool(why) and all(why in text for text in told), told
    assert found == scheduled(scale, hook, graphs=False)[0]


def test_a_value_that_only_later_steps_log_is_in_the_history(gpu: Device) -> None:
    class Late(Faulty):
        calls = 0

        def step(self, x: Tensor, index: Tensor) -> Any:
            self.calls += 1
            if self.calls >= 4:
                self.log("late", x.mean())
            yield from super().step(x, index)

    notes = Notes()
    history = fit(Late(NETS, lambda model, z: 0.0).to(DEVICE), DIGITS.to(DEVICE), progress=notes)
    (told,) = notes.told
    assert "what it logs differs from step to step" in told
    assert [("late" in row["logs"]) for row in history.epochs] == [True, True]


def test_optimizers_can_be_captured_on_a_cuda_device_only(gpu: Device) -> None:
    """`capturable` is set on a CUDA device only."""
    model = made("glf")
    on_device = Optimizers({"model": [{"params": list(model.parameters()), "lr": 1e-3}]}, [])
    on_host = Optimizers({"model": [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": 1e-3}]}, [])
    assert on_device._adam["model"].param_groups[0]["capturable"]
    assert not on_host._adam["model"].param_groups[0]["capturable"]


@pytest.mark.parametrize(("name", "graphs", "captured"), [("glf", True, 1), ("glf", False, 0), ("vampprior", True, 0)])
def test_a_forecast_times_steps_as_training_takes_them(
    name: str, graphs: bool, captured: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from aegen_bench.cost import counting
    from aegen_bench.study import Study

    seen: list[Graph] = []
    begin = Graph.capture_begin
    monkeypatch.setattr(Graph, "capture_begin", lambda graph, **k: (seen.append(graph), begin(graph, **k)))
    study = Study("smoke", local=tmp_path, data=tmp_path, settings=["stages.*.batch=8"])
    kind = counting.Kind(study.config(name, "digits"), study.entry(name), (1, 8, 8), 32, tmp_path)
    costs = counting.count(kind)
    with emulated_cuda():
        counting.measure(kind, costs, DEVICE, graphs=graphs)
    assert len(seen) == captured * len(costs) and all(cost.step_seconds > 0 for cost in costs)
    # The timed steps are replays: of the step that was captured, and of at least two more.
    assert all(graph.replays >= 3 for graph in seen)


# ---- precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_tf32_is_on_in_training_steps_only(precision: str) -> None:
    seen: dict[str, set[bool]] = {}

    def note(where: str) -> None:
        flags = {torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32}
        seen.setdefault(where, set()).update(flags)

    class Noting(Baseline):
        def __init__(self, nets: Nets) -> None:
            super().__init__(nets)
            self.encoder, self.decoder = nets.encoder(), nets.decoder()

        def stages(self) -> list[Stage]:
            return [Stage("train", self.step, before_epoch=self.before), Stage("codes", self.step_2, data="codes")]

        def before(self, images: Tensor) -> None:
            note("hook")

        def step(self, x: Tensor, index: Tensor) -> Any:
            z = self.encoder(x)
            z.register_hook(lambda gradient: note("backward")) if z.requires_grad else None
            note("step" if self.training else "probe")
            yield "model", {"reconstruction": self.recon(self.decoder(z), x)}

        def step_2(self, z: Tensor, index: Tensor) -> Any:
            yield "model", {"size": (self.decoder(z) ** 2).mean() + self.encoder(self.decoder(z)).mean()}

        def extract(self, x: Tensor, index: Tensor) -> Tensor:
            note("extract")
            return self.encoder(x)

        def decode(self, z: Tensor) -> Tensor:
            return self.decoder(z)

    with environment.exact(), emulated_cuda():
        model, images = Noting(replace(NETS, precision=precision)).to(DEVICE), DIGITS.to(DEVICE)
        fit(model, images, probe=Probe(1, images[:6], images[6:12], lambda model: {}))
        assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
    on = {precision == "tf32"}
    assert seen == {"hook": {False}, "step": on, "backward": on, "probe": {False}, "extract": {False}}


# ---- the command ---------------------------------------------------------------------------------


def test_a_run_on_the_device_is_the_same_trial_with_and_without_graphs(bench: Bench) -> None:
    run = ("run", "--profile", "tiny", "--models", "rae_gmm", "--device", "cuda")
    with emulated_cuda():
        ended = [bench(*run), bench(*run, "--no-graphs", "--results", "eager")]
        bench(*run, "--precision", "tf32")
    assert [e.code for e in ended] == [0, 0]
    record = bench.record("rae_gmm")
    eager = json.loads((bench.folder / "eager/tiny/digits/rae_gmm/seed-0/record.json").read_text())
    assert record["key"] == eager["key"] and record["weights_sha256"] == eager["weights_sha256"]
    assert record["metrics"] == eager["metrics"] and record["environment"]["device"] == "Emulated GPU"
    rounded = bench.record("rae_gmm", profile="tiny+precision=tf32")
    assert rounded["config"]["precision"] == "tf32" and rounded["key"] != record["key"]


def test_tf32_on_a_device_without_it_gives_a_warning(bench: Bench) -> None:
    run = ("run", "--profile", "tiny", "--models", "glf", "--device", "cpu")
    assert "warning: cpu does not support TF32" in bench(*run, "--precision", "tf32").out
    assert "does not support TF32" not in bench(*run).out


def test_checkpoints_belong_to_a_gpu_model_and_records_say_how_many_trials_share_it(bench: Bench) -> None:
    run = ("run", "--profile", "tiny", "--models", "glf", "--device", "cuda")
    with emulated_cuda():
        assert bench(*run).code == 0
        environment_of = bench.record("glf")["environment"]
        assert (environment_of["trials_at_once"], environment_of["graphs"]) == (1, True)

    def identity(name: str) -> dict[str, str]:
        """Return the identity of a checkpoint that is saved after the first step."""
        with emulated_cuda(name=name):
            bench(*run, "--results", name, "--checkpoint-every", "0.00001", "--time-limit", "0.0001s")
        (path, *_) = (bench.folder / name).glob("tiny/digits/glf/seed-0")
        saved = Checkpoints(path).read()
        assert saved
        return saved["identity"]  # type: ignore[no-any-return]

    here, there = identity("A"), identity("B")
    assert {name for name in here if here[name] != there[name]} == {"model of GPU"}


def test_a_prior_that_reads_progress_is_not_captured(gpu: Device) -> None:
    class Warmed(Prior):
        def __init__(self, nets: Nets) -> None:
            super().__init__(nets)
            self.centre = torch.nn.Parameter(torch.zeros(nets.d))

        def loss(self, u: Tensor, index: Tensor) -> dict[str, Tensor]:
            return {"distance": (1 + self.progress) * (u - self.centre).square().mean()}

        def sample(self, e: Tensor) -> Tensor:
            return e + self.centre

    notes = Notes()
    fit(Pair(build("ae", NETS), Warmed(NETS)).to(DEVICE), DIGITS.to(DEVICE), progress=notes)
    (told,) = notes.told
    assert told.startswith("stage 'prior': ") and "it reads `progress`" in told
