"""The training loop, observed by tiny methods: the order of calls, and their data, learning rates and weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from methods import Waits
from torch import Tensor, nn

from aegen_bench import environment, seeding
from aegen_bench.baseline import Baseline, Stage
from aegen_bench.blocks.nets import Nets
from aegen_bench.errors import Diverged, UserError
from aegen_bench.numerics.pixels import as_float
from aegen_bench.study import catalog
from aegen_bench.study.settings import resolve
from aegen_bench.training.history import History, collapsed
from aegen_bench.training.loop import train
from aegen_bench.training.probe import Probe
from aegen_bench.training.schedule import StagePlan

HERE = Path(__file__).parents[1]
IMAGES = torch.randint(256, (10, 1, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
DIGITS = torch.randint(256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
NETS = Nets((1, 2, 2), d=4, flow_width=4, n_train=10)
PLAN = StagePlan(epochs=2, batch=4, lr=0.01)  # 10 images: 2 steps per epoch, since the third batch is incomplete


class Drift(Baseline):
    """A method whose loss is the sum of its weights. Adam moves each by the learning rate per step, as `path` shows."""

    def __init__(self, nets: Nets = NETS) -> None:
        super().__init__(nets)
        self.weight = nn.Parameter(torch.zeros(1))
        self.path: list[float] = []
        self.batches: list[Tensor] = []

    def step(self, x: Tensor, index: Tensor) -> Any:
        self.batches.append(index)
        before = self.weight.item()
        yield "model", {"sum": sum((p.sum() for p in self.parameters()), self.weight.sum() * 0)}
        self.path.append(before - self.weight.item())

    def decode(self, z: Tensor) -> Tensor:
        return z.view(-1, *self.nets.shape)


class Pixels(Baseline):
    """Learns one image; the reconstruction loss is smallest if that is the mean of the training set."""

    def __init__(self, nets: Nets = NETS) -> None:
        super().__init__(nets)
        self.image = nn.Parameter(torch.zeros(nets.shape))

    def step(self, x: Tensor, index: Tensor) -> Any:
        self.log("brightness", x.mean())
        yield "model", {"reconstruction": self.recon(self.image.expand_as(x), x)}

    def decode(self, z: Tensor) -> Tensor:
        return self.image.expand(len(z), *self.nets.shape)


def fit(model: Baseline, images: Tensor = IMAGES, plan: StagePlan = PLAN, seed: int = 0, **more: Any) -> History:
    history = History()
    train(model, images, {stage.name: plan for stage in model.stages()}, seed=seed, history=history, **more)
    return history


def from_file(path: str, precision: str = "fp32") -> Baseline:
    nets = Nets((1, 8, 8), d=4, flow_width=8, n_train=24, precision=precision)
    with seeding.initialising(0):
        return catalog.import_class(catalog.read(Path(path).stem, HERE.parent / path))(nets)  # type: ignore[no-any-return]


# ---- order of the data, budgets ------------------------------------------------------------------


def test_each_epoch_visits_every_image_at_most_once_in_a_new_order() -> None:
    model = Drift()
    fit(model, plan=PLAN.model_copy(update={"epochs": 3}))
    epochs = [torch.cat(model.batches[i : i + 2]).tolist() for i in (0, 2, 4)]
    assert [len(set(epoch)) for epoch in epochs] == [8, 8, 8]
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_order_depends_on_seed_stage_and_epoch_and_not_on_the_method() -> None:
    class Other(Drift):
        def stages(self) -> list[Stage]:
            return [Stage("first", self.step), Stage("second", self.step)]

        def step(self, x: Tensor, index: Tensor) -> Any:
            self.randn(100)  # a method that needs more random numbers
            return super().step(x, index)

    def order(model: Drift, seed: int) -> list[int]:
        fit(model, seed=seed)
        return torch.cat(model.batches).tolist()

    one, two, other = order(Drift(), 0), order(Other(), 0), order(Drift(), 1)
    assert two[: len(one)] == one
    assert two[len(one) :] != one
    assert other != one


def test_the_incomplete_batch_is_dropped_and_a_batch_is_at_most_the_training_set() -> None:
    model = Drift()
    history = fit(model)
    assert [len(b) for b in model.batches] == [4, 4, 4, 4]
    assert {k: history.stages["train"][k] for k in ("epochs", "steps", "images")} == {
        "epochs": 2,
        "steps": 4,
        "images": 16,
    }
    model = Drift()
    fit(model, plan=PLAN.model_copy(update={"batch": 64}))
    assert [len(b) for b in model.batches] == [10, 10]


def test_a_budget_in_steps_can_end_within_an_epoch() -> None:
    model = Drift()
    history = fit(model, plan=StagePlan(steps=5, batch=4, lr=0.01))
    assert len(model.batches) == 5
    assert [row["images"] for row in history.epochs] == [8, 16, 20]
    assert history.stages["train"]["steps"] == 5


def test_progress_is_the_fraction_of_the_stage_that_is_done() -> None:
    seen = []

    class Watcher(Drift):
        def step(self, x: Tensor, index: Tensor) -> Any:
            seen.append(self.progress)
            return super().step(x, index)

    fit(Watcher())
    assert seen == [0, 0.25, 0.5, 0.75]


def test_a_stage_without_a_budget_is_an_error() -> None:
    with pytest.raises(UserError, match=r"stage 'train' of Drift has no budget \(plans: first\)"):
        train(Drift(), IMAGES, {"first": PLAN}, seed=0, history=History())


# ---- optimizers and schedules --------------------------------------------------------------------


def test_the_learning_rate_changes_at_milestones_to_multiples_of_its_initial_value() -> None:
    model = Drift()
    fit(model, plan=StagePlan(epochs=4, batch=4, lr=0.01, lr_at=((1, 0.5), (3, 0.1))))
    assert model.path == pytest.approx([0.01] * 2 + [0.005] * 4 + [0.001] * 2, rel=1e-4)


def test_milestones_of_a_budget_in_steps_are_counted_in_steps() -> None:
    model = Drift()
    fit(model, plan=StagePlan(steps=4, batch=4, lr=0.01, lr_at=((3, 0.5),)))
    assert model.path == pytest.approx([0.01] * 3 + [0.005], rel=1e-4)


def test_a_scaled_profile_keeps_milestones_at_the_same_fraction_to_the_step() -> None:
    own = {"stages": {"train": {"epochs": 30, "batch": 4, "lr": 0.01, "lr_at": {15: 0.5, 20: 0.25}}}}
    plan = StagePlan(**resolve([own], [], ["train"], 0.1)["stages"]["train"])
    assert plan.milestones(10) == [(3, 0.5), (4, 0.25)]  # 3 epochs of 2 steps: one half and two thirds of 6
    model = Drift()
    fit(model, plan=plan)
    assert model.path == pytest.approx([0.01] * 3 + [0.005] + [0.0025] * 2, rel=1e-4)


def test_fresh_optimizers_forget_the_momentum_of_the_previous_epoch() -> None:
    class Halfway(Drift):
        """A method whose gradient vanishes after the first epoch: only momentum moves its weight then."""

        fresh = False

        def stages(self) -> list[Stage]:
            return [Stage("train", self.step, fresh_optimizers=self.fresh)]

        def step(self, x: Tensor, index: Tensor) -> Any:
            before = self.weight.item()
            yield "model", {"sum": self.weight.sum() * (self.progress < 0.5)}
            self.path.append(before - self.weight.item())

    class Fresh(Halfway):
        fresh = True

    kept, fresh = Halfway(), Fresh()
    fit(kept)
    fit(fresh)
    m, v = 0.9 * (1 - 0.9**2), 0.999 * (1 - 0.999**2)  # Adam's moments, with its default betas, after gradients 1, 1, 0
    assert kept.path[2] == pytest.approx(0.01 * m / (1 - 0.9**3) / math.sqrt(v / (1 - 0.999**3)), rel=1e-4)
    assert fresh.path[2:] == [0, 0]


def test_optimizers_start_anew_with_each_stage() -> None:
    class Stages(Drift):
        def stages(self) -> list[Stage]:
            return [Stage("first", self.step), Stage("second", self.still)]

        def still(self, x: Tensor, index: Tensor) -> Any:
            before = self.weight.item()
            yield "model", {"sum": self.weight.sum() * 0}
            self.path.append(before - self.weight.item())

    model = Stages()
    fit(model)
    assert model.path[4:] == [0, 0, 0, 0]


class Scalar(Drift):
    """Two learned scalars in a group with vectors; only `log_gamma` has a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.log_gamma = nn.Parameter(torch.ones(()))
        self.idle = nn.Parameter(torch.ones(()))
        self.other = nn.Parameter(torch.ones(1))

    def step(self, x: Tensor, index: Tensor) -> Any:
        before = self.log_gamma.item()
        yield "model", {"sum": self.log_gamma + 0 * (self.idle + self.other.sum() + self.weight.sum())}
        self.path.append(before - self.log_gamma.item())


def test_a_learned_scalar_has_no_weight_decay_even_if_its_group_has() -> None:
    model = Scalar()
    fit(model, plan=PLAN.model_copy(update={"optimizers": {"model": {"weight_decay": 0.1}}}))
    assert model.idle.item() == 1
    assert model.other.item() == pytest.approx(0.96, rel=1e-3)  # decay is added to the gradient: a full step each time


@pytest.mark.parametrize(
    ("changed", "lr"),
    [
        ({"unscaled": StagePlan(epochs=6, batch=4, lr=1e-3)}, 3e-3),  # 2 epochs instead of 6: three times the rate
        ({"unscaled": StagePlan(epochs=60, batch=4, lr=1e-3)}, 1e-2),  # at most 1e-2
        ({"unscaled": StagePlan(epochs=8, batch=4, lr=1e-3, lr_at=((4, 0.5),))}, 3e-3),  # the sum of the rates counts
        ({"lr": 0.05}, 0.05),  # an unscaled plan is left alone, even above the limit
        ({"lr": 0.05, "unscaled": StagePlan(epochs=6, batch=4, lr=0.05)}, 0.05),  # the limit lowers no rate of a user
        ({"unscaled": StagePlan(epochs=1, batch=4, lr=1e-3)}, 1e-3),  # nor does a longer schedule
    ],
)
def test_a_shortened_schedule_raises_a_learned_scalars_rate_in_proportion(changed: Any, lr: float) -> None:
    model = Scalar()
    history = fit(model, plan=StagePlan(**{"epochs": 2, "batch": 4, "lr": 1e-3, **changed}))
    assert model.path == pytest.approx([lr] * 4, rel=1e-3)
    assert history.facts == {"train_scalar_lr": pytest.approx(lr)}


def test_a_subset_of_the_images_also_raises_a_learned_scalars_rate() -> None:
    model = Scalar()
    fit(model, plan=StagePlan(epochs=2, batch=4, lr=1e-3), full_size=40)
    assert model.path == pytest.approx([5e-3] * 4, rel=1e-3)  # 10 steps per epoch on 40 images, 2 on 10


class Groups(Drift):
    """Two parameter groups; the first sets its own learning rate."""

    own: tuple[float | None, float | None] = (0.03, None)

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Parameter(torch.zeros(1))

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        pairs = zip((self.weight, self.second), self.own, strict=True)
        return {"model": [{"params": [p], **({} if lr is None else {"lr": lr})} for p, lr in pairs]}


@pytest.mark.parametrize(("yaml", "second"), [({}, 0.01), ({"model": {"lr": 0.02}}, 0.02)])
def test_a_group_overrides_the_yamls_optimizer_which_overrides_the_stage(yaml: Any, second: float) -> None:
    model = Groups()
    fit(model, plan=StagePlan(epochs=1, batch=10, lr=0.01, optimizers=yaml))
    assert model.weight.item() == pytest.approx(-0.03, rel=1e-4)
    assert model.second.item() == pytest.approx(-second, rel=1e-4)


def test_a_yaml_setting_that_all_groups_override_is_an_error() -> None:
    class Closed(Groups):
        own = (0.03, 0.04)

    with pytest.raises(UserError, match=r"optimizers\.model\.lr has no effect: Closed sets lr for all its groups"):
        fit(Closed(), plan=PLAN.model_copy(update={"optimizers": {"model": {"lr": 0.02}}}))


def test_an_unknown_optimizer_is_an_error_that_suggests_the_nearest_name() -> None:
    class Misspelt(Drift):
        def step(self, x: Tensor, index: Tensor) -> Any:
            yield "modle", {"sum": self.weight.sum()}

    with pytest.raises(UserError, match="unknown optimizer 'modle': did you mean 'model'"):
        fit(Misspelt())
    with pytest.raises(UserError, match="unknown optimizer 'critic'"):
        fit(Drift(), plan=PLAN.model_copy(update={"optimizers": {"critic": {"lr": 0.02}}}))


def test_a_trained_parameter_without_an_optimizer_is_an_error_that_names_it() -> None:
    class Orphan(Groups):
        def optimizers(self) -> dict[str, list[dict[str, Any]]]:
            return {"model": [{"params": [self.weight]}]}

    with pytest.raises(UserError, match=r"Orphan\.optimizers\(\) leaves out second: nothing would train them"):
        fit(Orphan())


class Duel(Baseline):
    """Two optimizers whose losses both depend on all weights; the weight `shared` belongs to both."""

    def __init__(self) -> None:
        super().__init__(NETS)
        self.a, self.b, self.shared = (nn.Parameter(torch.ones(1)) for _ in range(3))
        self.seen: list[tuple[float, ...]] = []

    def weights(self) -> tuple[float, ...]:
        return tuple(round(p.item(), 5) for p in (self.a, self.b, self.shared))

    def step(self, x: Tensor, index: Tensor) -> Any:
        yield "first", {"sum": (self.a * self.b * self.shared).sum()}
        self.seen.append(self.weights())
        assert self.b.grad is None  # its gradient is not even computed
        yield "second", {"sum": (self.a * self.b * self.shared).sum()}
        self.seen.append(self.weights())

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {"first": [{"params": [self.a, self.shared]}], "second": [{"params": [self.b, self.shared]}]}


def test_an_update_moves_the_parameters_of_its_own_optimizer_only() -> None:
    model = Duel()
    fit(model, plan=StagePlan(steps=1, batch=4, lr=0.01))
    assert model.seen == [(0.99, 1, 0.99), (0.99, 0.99, 0.98)]  # and code after a yield sees the updated weights


class FrozenDuel(Duel):
    """Freezes all parameters of its second optimizer, and updates only the first."""

    def stages(self) -> list[Stage]:
        return [Stage("train", self.step, start=self.freeze)]

    def freeze(self, images: Tensor) -> None:
        self.b.requires_grad_(False)

    def step(self, x: Tensor, index: Tensor) -> Any:
        yield "first", {"sum": (self.a * self.b * self.shared).sum()}

    def optimizers(self) -> dict[str, list[dict[str, Any]]]:
        return {"first": [{"params": [self.a, self.shared]}], "second": [{"params": [self.b]}]}


def test_a_stage_may_freeze_all_parameters_of_an_optimizer() -> None:
    model = FrozenDuel()
    fit(model, plan=StagePlan(steps=1, batch=4, lr=0.01))
    assert model.weights() == (0.99, 1, 0.99)


# ---- stages and hooks ----------------------------------------------------------------------------


class Hooked(Drift):
    """Records what its hooks and steps receive, and checks in which mode they run."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.given: list[Tensor] = []

    def stages(self) -> list[Stage]:
        hooks = {name: self.hook(name) for name in ("start", "before_epoch", "after_epoch")}
        return [Stage("first", self.noted), Stage("second", self.noted, data="codes", **hooks)]  # type: ignore[arg-type]

    def hook(self, name: str) -> Callable[[Tensor], None]:
        def run(data: Tensor) -> None:
            assert self.training and not torch.is_grad_enabled()
            self.randn(1)
            self.log("noted", len(self.events))
            self.events.append(name)
            self.given.append(data)

        return run

    def noted(self, x: Tensor, index: Tensor) -> Any:
        assert self.training and torch.is_grad_enabled()
        self.events.append(f"step {tuple(x.shape)}")
        return self.step(x, index)

    def extract(self, x: Tensor, index: Tensor) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        self.events.append("extract")
        return index * 7


def test_hooks_run_in_order_on_all_data_of_the_stage_in_train_mode_without_gradients() -> None:
    model, facts = Hooked(), {}
    fit(model, fact=facts.__setitem__)
    epoch = ["before_epoch", "step (4,)", "step (4,)", "after_epoch"]
    assert model.events == ["step (4, 1, 2, 2)"] * 4 + ["extract", "start", *epoch, *epoch]
    assert all(torch.equal(data, torch.arange(10) * 7) for data in model.given)
    assert list(facts) == ["noted"]


def test_hooks_of_an_image_stage_get_the_images_as_uint8() -> None:
    class OnImages(Hooked):
        def stages(self) -> list[Stage]:
            return [Stage("train", self.step, before_epoch=self.hook("before_epoch"))]

    model = OnImages()
    fit(model)
    assert [data is IMAGES for data in model.given] == [True, True]


def test_a_density_is_fitted_to_the_codes_of_all_images_in_eval_mode_and_its_time_is_recorded() -> None:
    class Fitted(Drift):
        def extract(self, x: Tensor, index: Tensor) -> Tensor:
            assert not self.training
            return x.flatten(1)

        def fit(self, codes: Tensor) -> None:
            assert not self.training and not torch.is_grad_enabled()
            self.log("mean", codes.mean())

    facts: dict[str, Tensor] = {}
    history = fit(Fitted(), fact=facts.__setitem__)
    assert float(facts["mean"]) == pytest.approx(float(IMAGES.float().mean()) / 255)
    assert history.seconds["extract"] > 0 and history.seconds["fit"] > 0


def test_training_ends_in_eval_mode() -> None:
    model = Drift()
    fit(model)
    assert not model.training


# ---- what is recorded ----------------------------------------------------------------------------


def test_an_epochs_terms_and_logs_are_the_means_of_its_steps() -> None:
    seen: list[tuple[float, float]] = []

    class Noted(Pixels):
        def step(self, x: Tensor, index: Tensor) -> Any:
            for name, terms in super().step(x, index):
                seen.append((float(terms["reconstruction"].detach()), float(x.mean())))
                yield name, terms

    rows = fit(Noted()).epochs
    for row, steps in zip(rows, (seen[:2], seen[2:]), strict=True):
        loss, brightness = (math.fsum(column) / 2 for column in zip(*steps, strict=True))
        assert row["terms"] == {"model": {"reconstruction": pytest.approx(loss, rel=1e-12)}}
        assert row["logs"] == {
            "half_sse": pytest.approx(loss, rel=1e-12),
            "brightness": pytest.approx(brightness, rel=1e-12),
        }
    assert [row["epoch"] for row in rows] == [1, 2]


def test_another_reconstruction_loss_still_logs_the_unweighted_half_sse() -> None:
    nets = Nets(
        (1, 2, 2), d=4, flow_width=4, n_train=10, recon=lambda x_hat, x: 3 * (x_hat - x).abs().flatten(1).sum(1)
    )
    row = fit(Pixels(nets), plan=StagePlan(epochs=1, batch=10, lr=0.01)).epochs[0]
    x = as_float(IMAGES).flatten(1)
    assert row["logs"]["half_sse"] == pytest.approx(float(0.5 * x.square().sum(1).mean()), rel=1e-6)
    assert row["terms"]["model"]["reconstruction"] == pytest.approx(float(3 * x.sum(1).mean()), rel=1e-6)


def waits(model: Baseline, steps: int) -> int:
    with Waits() as mode:
        fit(model, DIGITS, StagePlan(steps=steps, batch=4, lr=1e-3))
    return mode.count


TOYS = [f"tests/toys/{path.name}" for path in sorted((HERE / "toys").glob("*.py"))]


@pytest.mark.slow
@pytest.mark.parametrize("path", TOYS)
def test_no_step_waits_for_the_device(path: str) -> None:
    """For the shipped methods, test_emulated_cuda.py holds this."""
    assert waits(from_file(path), 6) == waits(from_file(path), 2)  # within one epoch


def test_a_wait_in_a_step_is_counted() -> None:
    assert waits(Drift(), 6) - waits(Drift(), 2) == 2 * 4  # Drift reads its weight twice per step

    class Chooses(Drift):
        def step(self, x: Tensor, index: Tensor) -> Any:
            yield "model", {"bright": self.weight.sum() * x[x > 0.5].sum()}

    assert waits(Chooses(), 2) - waits(Chooses(), 1) == 1


def test_a_record_says_whether_its_device_used_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        outside = environment.describe(torch.device("cuda"))
        with environment.exact():  # as in every trial
            within = environment.describe(torch.device("cuda"))
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    assert outside["tf32"] == {"matmul": True, "cudnn": True}
    assert within["tf32"] == {"matmul": False, "cudnn": False}
    assert within["device"] == "a GPU" and environment.describe(torch.device("cpu"))["tf32"] == {}


# ---- probes --------------------------------------------------------------------------------------


def test_a_probe_leaves_the_final_weights_bit_equal() -> None:
    def measure(model: Baseline) -> dict[str, float]:
        with model.using(seeding.stream(0, "noise")):
            return {"fd": float(model.decode(model.prior(model.noise(3))).mean())}

    plain, probed = from_file("baselines/vae.py"), from_file("baselines/vae.py")
    plan = StagePlan(epochs=3, batch=8, lr=1e-3)
    fit(plain, DIGITS, plan)
    history = fit(probed, DIGITS, plan, probe=Probe(1, DIGITS[:12], DIGITS[12:], measure))
    assert len(history.probes) == 3 and {"entropy", "half_sse"} <= history.probes[0]["probe_test"]["logs"].keys()
    assert all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), probed.state_dict().values(), strict=True)
    )


def test_a_probe_samples_a_copy_with_the_density_it_would_have_if_training_ended_here() -> None:
    def measure(model: Baseline) -> dict[str, float]:
        with model.using(seeding.stream(0, "noise")):
            return {"fd": float(model.prior(model.noise(50)).square().sum())}

    def rae_gmm() -> Baseline:
        return from_file("baselines/rae_gmm.py")

    plain, probed, short = rae_gmm(), rae_gmm(), rae_gmm()
    plan = StagePlan(epochs=3, batch=8, lr=1e-3)
    fit(plain, DIGITS, plan)
    fit(short, DIGITS, plan.model_copy(update={"epochs": 2}))
    probes = fit(probed, DIGITS, plan, probe=Probe(1, DIGITS[:12], DIGITS[12:], measure)).probes
    assert [probe["metrics"] for probe in probes[1:]] == [measure(short), measure(plain)] and len(probes) == 3
    assert all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), probed.state_dict().values(), strict=True)
    )


def test_a_probe_tells_a_step_where_its_images_are_in_the_training_set() -> None:
    seen = list[int]()

    class Finding(Pixels):
        def step(self, x: Tensor, index: Tensor) -> Any:
            if not self.training:
                seen.extend(index.tolist())
                assert torch.equal(x, as_float(IMAGES[index]))
            yield from super().step(x, index)

    places = torch.tensor([7, 2, 5])
    fit(
        Finding(),
        plan=PLAN.model_copy(update={"epochs": 1}),
        probe=Probe(1, IMAGES[places], IMAGES, lambda model: {}, places),
    )
    assert seen == [7, 2, 5]


def test_a_probe_skips_the_test_images_if_the_method_has_no_encoder() -> None:
    history = fit(Pixels(), probe=Probe(1, IMAGES, IMAGES, lambda model: {}))
    assert all("probe_train" in probe and "probe_test" not in probe for probe in history.probes)


def test_a_probe_gives_the_first_updates_losses_on_training_and_test_images_in_eval_mode() -> None:
    class Modes(Pixels):
        def step(self, x: Tensor, index: Tensor) -> Any:
            if self.training:
                yield from super().step(x, index)
            else:
                assert not torch.is_grad_enabled()
                yield from super().step(x, index)
                pytest.fail("a probe runs a step to its first yield only")

        def encode(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    kept = {}

    def measure(model: Any) -> dict[str, float]:
        assert not model.training
        kept["image"] = model.image.clone()
        return {"fd": 1.0}

    test = torch.randint(256, (700, 1, 2, 2), generator=torch.Generator().manual_seed(1)).to(torch.uint8)  # two batches
    history = fit(Modes(), plan=PLAN.model_copy(update={"epochs": 5}), probe=Probe(2, IMAGES, test, measure))
    assert [probe["epoch"] for probe in history.probes] == [2, 4, 5]
    assert history.probes[-1]["metrics"] == {"fd": 1.0}
    for name, images in (("probe_train", IMAGES), ("probe_test", test)):
        x = as_float(images)
        expected = 0.5 * (x - kept["image"]).square().flatten(1).sum(1).mean()
        assert history.probes[-1][name]["terms"]["model"]["reconstruction"] == pytest.approx(float(expected), rel=1e-6)
        assert history.probes[-1][name]["logs"]["brightness"] == pytest.approx(float(x.mean()), rel=1e-6)


def test_seconds_exclude_probes_and_the_rate_also_excludes_the_first_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("aegen_bench.training.loop.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    class Slow(Pixels):
        def step(self, x: Tensor, index: Tensor) -> Any:
            if self.training:
                clock[0] += 10 if self.progress == 0 else 1  # the first step warms up
            yield from super().step(x, index)

    def measure(model: Baseline) -> dict[str, float]:
        clock[0] += 1000
        return {}

    history = fit(Slow(), plan=PLAN.model_copy(update={"epochs": 3}), probe=Probe(1, IMAGES, IMAGES, measure))
    assert [row["seconds"] for row in history.epochs] == [11, 13, 15]
    assert [probe["seconds"] for probe in history.probes] == [11, 13, 15]
    assert history.stages["train"]["seconds"] == 15
    assert history.stages["train"]["seconds_per_epoch"] == 2
    assert history.seconds == {"train": 15, "extract": 0, "fit": 0}


# ---- divergence, precision, seeds ----------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_training_after_its_epoch_and_keeps_the_history() -> None:
    class Loss(Drift):
        def step(self, x: Tensor, index: Tensor) -> Any:
            self.batches.append(index)
            yield "model", {"sum": self.weight.sum() * (math.inf if len(self.batches) == 3 else 1)}

    model, history = Loss(), History()
    with pytest.raises(Diverged, match="the loss is not finite in epoch 2 of stage 'train'"):
        train(model, IMAGES, {"train": PLAN.model_copy(update={"epochs": 9})}, seed=0, history=history)
    assert len(model.batches) == 4
    assert [row["epoch"] for row in history.epochs] == [1, 2]
    assert history.stages["train"]["steps"] == 4


def test_a_weight_that_is_not_finite_ends_training_even_if_the_loss_is_finite() -> None:
    class Weight(Drift):
        def step(self, x: Tensor, index: Tensor) -> Any:
            yield "model", {"sum": self.weight.sum()}
            with torch.no_grad():
                self.weight.mul_(math.nan if self.progress == 0.25 else 1)

    with pytest.raises(Diverged, match="a parameter or buffer is not finite after epoch 1 of stage 'train'"):
        fit(Weight())


def test_a_fitted_density_that_is_not_finite_counts_as_diverged() -> None:
    class Density(Drift):
        def extract(self, x: Tensor, index: Tensor) -> Tensor:
            return x.flatten(1)

        def fit(self, codes: Tensor) -> None:
            self.weight.fill_(math.nan)

    with pytest.raises(Diverged, match="after fit"):
        fit(Density())


def test_bf16_networks_return_float32_and_keep_their_weights_in_float32() -> None:
    model, exact = from_file("baselines/glf.py", "bf16"), from_file("baselines/glf.py")
    x = as_float(DIGITS[:4])
    codes, features = model.encoder(x), model.encoder.features(x)  # type: ignore[operator,union-attr]
    assert codes.dtype == features.dtype == model.decoder(codes).dtype == torch.float32  # type: ignore[operator]
    assert 1e-5 < (codes - exact.encoder(x)).abs().max().item() < 0.1  # type: ignore[operator]
    history = fit(model, DIGITS, StagePlan(steps=2, batch=12, lr=1e-3))
    assert math.isfinite(history.epochs[-1]["terms"]["model"]["nll"])
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_equal_seeds_give_bit_equal_weights_and_another_seed_different_ones() -> None:
    def trained(seed: int) -> Tensor:
        model = from_file("baselines/vae.py")
        fit(model, DIGITS, StagePlan(steps=2, batch=8, lr=1e-3), seed=seed)
        return torch.cat([v.flatten().double() for v in model.state_dict().values()])

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_collapsed_means_no_better_than_the_mean_training_image() -> None:
    x = as_float(IMAGES).double().flatten(1)
    mean_image = float(0.5 * (x - x.mean(0)).square().sum(1).mean())

    def with_loss(value: float) -> History:
        codes_stage = {"logs": {"gamma": 0.5}}  # a later stage on codes has no reconstruction
        return History(epochs=[{"logs": {"half_sse": 0.0}}, {"logs": {"half_sse": value}}, codes_stage])

    assert collapsed(with_loss(mean_image * 1.0001), IMAGES)
    assert not collapsed(with_loss(mean_image * 0.9999), IMAGES)
    assert not collapsed(History(), IMAGES)


def test_a_probe_keeps_modules_in_eval_mode_that_the_method_put_there() -> None:
    class Frozen(Pixels):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1, affine=False)

        def stages(self) -> list[Stage]:
            return [Stage("train", self.step, start=lambda images: self.norm.eval() and None)]

        def step(self, x: Tensor, index: Tensor) -> Any:
            return super().step(self.norm(x), index)

    probed, plain = Frozen(), Frozen()
    fit(probed, probe=Probe(1, IMAGES, IMAGES, lambda model: {}))
    fit(plain)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, probed.state_dict()[name]), name


def test_what_hooks_log_is_a_fact_of_the_trial() -> None:
    class Telling(Pixels):
        def stages(self) -> list[Stage]:
            hooks = {name: lambda images, name=name: self.log(name, 1.0) for name in ("before_epoch", "after_epoch")}
            return [Stage("train", self.step, start=lambda images: self.log("start", len(images)), **hooks)]

    facts: dict[str, float] = {}
    fit(Telling(), fact=lambda name, value: facts.__setitem__(name, float(value)))
    assert facts == {"start": 10.0, "before_epoch": 1.0, "after_epoch": 1.0}
