"""Priors: each keeps the contract, has a comparable budget, and implements the mathematics it names."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Bench
from methods import build
from test_cli import refused
from torch import Tensor, nn

from aegen_bench import seeding
from aegen_bench.blocks.latent import Standardise
from aegen_bench.blocks.nets import Nets
from aegen_bench.conformance import check
from aegen_bench.prior import Pair, Prior
from aegen_bench.study import catalog
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan

PRIORS = catalog.find_priors(Path("/nowhere"))
NETS = Nets((1, 8, 8), d=4, flow_width=8, n_train=2000)
CODES = torch.randn(2000, 4, generator=torch.Generator().manual_seed(1))


def make(name: str, nets: Nets = NETS, **arguments: Any) -> Any:
    return build(f"priors/{name}", nets, **arguments).eval()


def fitted(name: str, codes: torch.Tensor, **arguments: Any) -> Any:
    prior = make(name, **arguments)
    with torch.no_grad(), prior.using(seeding.stream(0, "fit")):
        prior.fit(codes)
    return prior


def sampled(prior: Any, n: int) -> torch.Tensor:
    with torch.no_grad(), prior.using(seeding.stream(0, "noise")):
        return prior.sample(prior.noise(n))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_keeps_the_contract(name: str) -> None:
    assert check(PRIORS[name]) == []


def test_the_priors_are_those_of_the_matrix() -> None:
    wanted = {"normal", "gaussian", "gmm", "flow", "spline", "flow_matching", "diffusion", "second_vae", "imle", "kde"}
    assert set(PRIORS) == wanted and all(prior.doc.endswith(".") for prior in PRIORS.values())


@pytest.mark.parametrize(("d", "flow_width"), [(20, 64), (64, 256)], ids=["mnist", "celeba"])
def test_learned_priors_have_as_many_parameters_as_the_papers_flow(d: int, flow_width: int) -> None:
    nets = Nets((1, 28, 28), d=d, flow_width=flow_width, n_train=10)
    sizes = {name: sum(p.numel() for p in make(name, nets).parameters()) for name, p in PRIORS.items() if p.stages}
    assert {name: size for name, size in sizes.items() if abs(size / sizes["flow"] - 1) > 0.2} == {}
    assert len(sizes) == 6 and all(PRIORS[name].stages == ("prior",) for name in sizes)


def test_sizing_a_network_uses_up_no_random_numbers() -> None:
    prior, widths = make("imle"), list[int]()

    def square(width: int) -> torch.nn.Linear:
        widths.append(width)
        return torch.nn.Linear(width, width)

    torch.manual_seed(1)
    sized = prior.sized(square)
    torch.manual_seed(1)
    assert len(widths) > 1 and torch.equal(sized.weight, square(widths[-1]).weight)


def test_a_gaussian_prior_has_the_moments_and_density_of_its_codes() -> None:
    mixing = torch.tensor([[2.0, 0.0, 0.0, 0.0], [1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.3], [0.0, 0.0, 0.0, 1.0]])
    codes = CODES @ mixing.T + 3
    prior = fitted("gaussian", codes)
    mean, covariance = codes.mean(0), codes.T.cov(correction=0)
    drawn = sampled(prior, 200_000)
    assert torch.allclose(drawn.mean(0), mean, atol=0.02) and torch.allclose(drawn.T.cov(), covariance, atol=0.05)
    exact = torch.distributions.MultivariateNormal(mean, covariance_matrix=covariance)
    assert torch.allclose(prior.log_prob(codes[:50]), exact.log_prob(codes[:50]), atol=1e-2)


def test_a_mixture_finds_two_clusters_and_samples_from_both() -> None:
    codes = torch.cat([CODES[:500] * 0.1 - 2, CODES[500:] * 0.1 + 2])
    prior = fitted("gmm", codes, components=2)
    assert sorted(prior.weights.tolist()) == pytest.approx([0.25, 0.75], abs=1e-4)
    drawn = sampled(prior, 4000)
    assert float((drawn.mean(1) < 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(drawn.abs().min()) > 1 and prior.log_prob(codes).mean() > prior.log_prob(-2 * codes).mean()


def test_a_kernel_density_samples_near_the_codes_of_training_images() -> None:
    prior = fitted("kde", CODES, bandwidth=0.01)
    nearest = torch.cdist(sampled(prior, 500), CODES).min(1).values
    assert float(nearest.max()) < 0.06
    assert len(torch.cdist(sampled(prior, 500), CODES).argmin(1).unique()) > 400


def test_the_normal_prior_does_not_standardise_codes() -> None:
    prior = make("normal")
    assert not prior.standardised and torch.equal(prior.sample(CODES), CODES)
    assert torch.allclose(prior.log_prob(CODES), torch.distributions.Normal(0, 1).log_prob(CODES).sum(1), atol=1e-5)


@pytest.mark.parametrize("name", ["flow", "spline"])
def test_the_density_of_a_flow_is_that_of_its_samples(name: str) -> None:
    """log p(u) = log N(e) - log|du/de|, where automatic differentiation gives the Jacobian of sampling."""
    prior, e = make(name).double(), CODES[:3].double()
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda x: prior.sample(x[None])[0], one) for one in e])
    base = torch.distributions.Normal(0, 1).log_prob(e).sum(1)
    assert torch.allclose(prior.log_prob(prior.sample(e)), base - jacobian.det().abs().log(), atol=1e-4)


def silent(prior: Any) -> Any:
    """Set all parameters to zero, so that the network of the prior returns zero, and return the prior."""
    with torch.no_grad():
        for p in prior.parameters():
            p.zero_()
    return prior


@pytest.mark.slow
def test_diffusion_with_the_exact_denoiser_of_a_standard_normal_samples_from_it() -> None:
    """The best denoiser of N(0, I) is u / (s^2 + 1), which is what the preconditioning gives if the network returns
    zero. Its ODE takes s_max e to s_max e / sqrt(s_max^2 + 1), which is within a part in 10,000 of e.
    """
    prior = silent(make("diffusion"))
    assert torch.allclose(prior.denoised(CODES, torch.full((len(CODES), 1), 3.0)), CODES / 10)
    assert torch.allclose(prior.sample(CODES), CODES, rtol=0.01)
    assert torch.allclose(silent(make("diffusion", solver_steps=128)).sample(CODES), CODES, rtol=0.001)
    assert prior.levels[0] == pytest.approx(80) and prior.levels[-2] == pytest.approx(0.002) and prior.levels[-1] == 0


def test_the_loss_of_diffusion_is_the_squared_error_of_its_network() -> None:
    """Since w(s) = 1 / c_out^2, the loss is ||F - F*||^2. Its mean over the noise is d if F is zero and u is normal."""
    prior = silent(make("diffusion"))
    with torch.no_grad(), prior.using(seeding.stream(0, "train")):
        loss = sum(float(prior.loss(CODES, torch.arange(2000))["denoising"]) for _ in range(20)) / 20
    assert loss == pytest.approx(4, rel=0.05)


def test_flow_matching_follows_its_velocity() -> None:
    prior = make("flow_matching")
    with torch.no_grad():
        for p in prior.parameters():
            p.zero_()
        prior.velocity.layers[-1].bias.fill_(2.0)
    assert torch.allclose(prior.sample(CODES), CODES + 2, atol=1e-5)


MEAN, DEVIATION = torch.tensor([1.0, -2.0, 0.0, 0.5]), torch.tensor([0.5, 2.0, 1.0, 0.1])


class Counted(nn.Module):
    """A network given as a function of (u, t) that counts its calls and keeps the arguments of the last one."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.calls, self.seen = function, 0, ()

    def forward(self, u: Tensor, t: Tensor) -> Tensor:
        self.calls, self.seen = self.calls + 1, (u, t)
        return self.function(u, t)


def gaussian_velocity(u: Tensor, t: Tensor) -> Tensor:
    """Return E[u_1 - e | u_t = u] for u_1 ~ N(MEAN, DEVIATION^2), which is what flow matching learns in the limit."""
    t = t[:, None]
    return MEAN + (t * DEVIATION**2 - (1 - t)) / ((t * DEVIATION) ** 2 + (1 - t) ** 2) * (u - t * MEAN)


def test_the_ode_of_the_exact_velocity_maps_noise_to_the_data() -> None:
    errors = []
    for steps in (25, 50):
        prior = make("flow_matching", solver_steps=steps)
        prior.velocity = Counted(gaussian_velocity)
        errors.append(float((prior.sample(CODES[:100]) - (MEAN + DEVIATION * CODES[:100])).abs().max()))
    assert errors[1] < 1e-3 and errors[1] < errors[0] / 3, "at least of second order"


def test_heun_with_the_exact_denoiser_maps_noise_to_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The denoiser of N(m, v) is m + v (u - m) / (v + s^2). Along its ODE, u - m is proportional to sqrt(v + s^2)."""
    errors = []
    for steps in (40, 160):
        prior = make("diffusion", solver_steps=steps)
        share = lambda s: DEVIATION**2 / (DEVIATION**2 + s**2)  # noqa: E731
        monkeypatch.setattr(prior, "denoised", lambda u, s, share=share: MEAN + share(s) * (u - MEAN))
        start = (80 * CODES[:100] - MEAN) / (DEVIATION**2 + 80**2).sqrt()
        errors.append(float((prior.sample(CODES[:100]) - (MEAN + DEVIATION * start)).abs().max()))
    assert errors[0] < 0.2 and errors[1] < errors[0] / 6, "of second order"


@pytest.mark.parametrize(
    ("name", "network", "calls"), [("flow_matching", "velocity", 100), ("diffusion", "network", 79)]
)
def test_the_logged_function_evaluations_are_the_calls_of_the_network(name: str, network: str, calls: int) -> None:
    prior, facts, counted = make(name), dict[str, float](), Counted(lambda u, t: 0 * u)
    setattr(prior, network, counted)
    with prior.using(None, lambda fact, value: facts.update({fact: float(value)})):
        prior.sample(CODES[:3])
    assert facts == {"function_evaluations": counted.calls} and counted.calls == calls


def test_flow_matching_regresses_the_straight_line_from_noise_to_code() -> None:
    prior = make("flow_matching")
    prior.velocity = Counted(lambda u, t: torch.zeros_like(u))
    u = CODES[:8]
    with prior.using(seeding.stream(0, "train")):
        terms = prior.loss(u, torch.arange(8))
    with prior.using(seeding.stream(0, "train")):
        e, t = prior.randn(8, NETS.d), prior.rand(8)
    u_t, told = prior.velocity.seen
    assert torch.equal(told, t) and torch.allclose(u_t, (1 - t[:, None]) * e + t[:, None] * u, atol=1e-6)
    assert terms["velocity"].item() == pytest.approx((u - e).square().sum(1).mean().item(), rel=1e-5)


def test_imle_matches_each_code_with_its_nearest_candidate() -> None:
    prior = make("imle")
    with torch.no_grad(), prior.using(seeding.stream(0, "before")):
        prior.before_epoch(CODES)
        candidates = prior.mapping(prior.matched)
        prior.before_epoch(CODES)
    taken = (candidates - CODES).norm(dim=1).mean()
    others = (candidates.roll(1, 0) - CODES).norm(dim=1).mean()
    assert taken < others


class Doubled(Prior):
    def sample(self, e: torch.Tensor) -> torch.Tensor:
        return torch.cat([e, e], 1)


def test_a_pair_freezes_its_trunk_standardises_codes_and_refuses_other_widths() -> None:
    pair = Pair(build("ae", NETS), make("gaussian"))
    assert not any(p.requires_grad for p in pair.trunk.parameters())
    codes = 5 + 0.1 * CODES
    with torch.no_grad():
        pair.fit(codes)
        assert torch.allclose(pair.density.mean, torch.zeros(4), atol=1e-4)
        assert torch.allclose(pair.prior(CODES).mean(0), codes.mean(0), atol=0.01)
        exact = torch.distributions.MultivariateNormal(codes.mean(0), covariance_matrix=codes.T.cov())
        assert torch.allclose(pair.log_prior(codes[:50]), exact.log_prob(codes[:50]), atol=0.02)
    assert pair.has_density and not Pair(build("ae", NETS), make("kde")).has_density
    with pytest.raises(ValueError, match=r"Doubled.sample returns codes of shape \(2000, 8\), not \(2000, 4\)"):
        Pair(build("ae", NETS), Doubled(NETS)).prior(CODES)


@pytest.mark.parametrize("name", [name for name, prior in PRIORS.items() if prior.stages])
def test_a_learned_prior_sees_standardised_codes_of_the_finished_encoder_in_eval_mode(name: str) -> None:
    nets = replace(NETS, n_train=24)
    pair = build(f"ae+{name}", nets)
    images = torch.randint(256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    before = copy.deepcopy(pair.trunk.state_dict())
    (stage,) = pair.stages()
    train(pair, images, {stage.name: StagePlan(epochs=1, batch=8, lr=1e-3)}, seed=0, history=History())
    assert all(torch.equal(value, before[key]) for key, value in pair.trunk.state_dict().items())
    z = pair.eval().encode(images.float() / 255).detach()
    u = pair.standard(z)
    assert torch.allclose(u.mean(0), torch.zeros(nets.d), atol=1e-4)
    assert torch.allclose(u.std(0), torch.ones(nets.d), atol=1e-3)
    assert torch.allclose(pair.standard.inverse(u), z, atol=1e-5)


@pytest.mark.parametrize("name", ["flow", "spline"])
def test_a_pair_with_a_flow_minimises_only_the_nll_with_the_weight_decay_of_glf(name: str) -> None:
    """This is two-step GLF (paper, section 3.3)."""
    pair = build(f"ae+{name}", NETS)
    codes = 3 + 2 * CODES[:8]
    pair.start(codes)
    ((optimizer, terms),) = pair.step(codes, torch.arange(8))
    assert optimizer == "prior" and terms.keys() == {"nll"}
    assert terms["nll"].item() == pytest.approx(-pair.density.log_prob(pair.standard(codes)).mean().item())
    ((group,),) = pair.optimizers().values()
    assert group["weight_decay"] == 2e-5
    assert {id(p) for p in group["params"]} == {id(p) for p in pair.parameters() if p.requires_grad}


def test_a_dimension_in_which_all_codes_are_equal_causes_no_division_by_zero() -> None:
    standard = Standardise(2)
    standard.fit(torch.tensor([[1.0, 3.0], [2.0, 3.0]]))
    assert torch.allclose(standard.inverse(standard(torch.tensor([[5.0, 3.0]]))), torch.tensor([[5.0, 3.0]]))


# ---- new --prior and check ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_new_prior_keeps_the_contract_and_can_be_paired(bench: Bench) -> None:
    ended = bench("new", "my_prior", "--prior")
    assert ended.code == 0 and "baselines/priors/my_prior.py: a working prior" in ended.out
    assert bench("check", "my_prior").out == "my_prior keeps the contract\n"
    bench.declare(rows={"ae+my_prior": {"trunk": "ae", "prior": "my_prior"}})
    assert re.search(r"^  ae\+my_prior +A flow of affine couplings", bench("list", "models").out, re.M)
    refused(bench("new", "my_prior", "--prior"), "'my_prior' is taken")
    refused(bench("new", "flow", "--prior"), "'flow' is taken")


FAULTS = {
    "u": ("return self.flow.inverse(e)", "return torch.cat([e, e], 1)", "returns codes of shape"),
    "not of its noise": ("return self.flow.inverse(e)", "return torch.randn(len(e), self.nets.d)", "differs from call"),
    "nan": ("return -self.flow.nll(u)", "return self.flow.nll(u) * float('nan')", "log_prob of its own samples"),
    "no number each": ("return -self.flow.nll(u)", "return u", "log_prob returns shape"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("right", "wrong", "said"), FAULTS.values(), ids=FAULTS)
def test_check_names_what_is_wrong_with_a_prior(bench: Bench, right: str, wrong: str, said: str) -> None:
    bench("new", "mine", "--prior")
    path = bench.folder / "baselines" / "priors" / "mine.py"
    path.write_text("import torch\n" + path.read_text().replace(right, wrong))
    ended = bench("check", "mine")
    assert ended.code == 1 and said in ended.out
