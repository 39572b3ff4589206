"""The mathematics of the methods trained on an evidence lower bound."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from methods import BASELINES, INDEX, NETS, Fixed, X, build, losses, noise_of_step
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from aegen_bench.blocks.losses import gaussian_entropy, gaussian_nll, half_sse
from aegen_bench.blocks.nets import Nets
from aegen_bench.conformance.subject import made_up
from aegen_bench.study import catalog
from aegen_bench.training.history import History
from aegen_bench.training.loop import as_float, train
from aegen_bench.training.optimizers import make_optimizers
from aegen_bench.training.schedule import StagePlan

MU, LOGVAR = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(1)).unbind()


def posterior(model: Any, mu: Tensor, logvar: Tensor) -> Any:
    """Return the model with an encoder that gives every batch this posterior."""
    model.encoder = Fixed(torch.cat([mu, logvar], 1))
    return model


def logged(model: Any) -> dict[str, float]:
    """Return what a step logs."""
    found: dict[str, float] = {}
    with model.using(None, lambda name, value: found.update({name: float(value)})):
        losses(model)
    return found


def gradient(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, inputs))


# ---- a learned gamma ----------------------------------------------------------------------------


def test_the_nll_with_gamma_is_that_of_a_gaussian() -> None:
    x, x_hat = torch.rand(2, 5, 12, dtype=torch.float64)
    log_gamma = torch.tensor(-0.7, dtype=torch.float64)
    density = Independent(Normal(x_hat, log_gamma.exp()), 1)
    assert torch.allclose(gaussian_nll(half_sse(x_hat, x), log_gamma, 12), -density.log_prob(x), atol=1e-12)


@pytest.mark.parametrize("name", ["vae_flow_prior", "two_stage_vae"])
def test_the_loss_is_minimal_where_gamma_squared_is_the_mean_squared_error(name: str) -> None:
    model = build(name, **({"learn_beta": True} if name == "vae_flow_prior" else {}))
    model.decoder = Fixed(torch.full_like(X, 0.5))
    log_gamma = model.log_gamma if name == "vae_flow_prior" else model.log_gamma_x
    optimum = 0.5 * math.log((X - 0.5).square().mean())
    slopes = []
    for shift in (-0.1, 0.0, 0.1):
        with torch.no_grad():
            log_gamma.fill_(optimum + shift)
        slopes += [float(*gradient(losses(model)["reconstruction"], log_gamma))]
    assert slopes[0] < -1 and slopes[2] > 1
    assert slopes[1] == pytest.approx(0, abs=1e-3)


def test_a_learned_gamma_is_not_decayed_and_its_rate_is_raised_in_a_short_schedule() -> None:
    model = build("vae_flow_prior", learn_beta=True)
    short = StagePlan(epochs=1, batch=8, lr=1e-3, unscaled=StagePlan(epochs=4, batch=8, lr=1e-3))
    (adam,) = make_optimizers(model, short, full_size=24, size=24)._adam.values()
    (group,) = [g for g in adam.param_groups if any(p is model.log_gamma for p in g["params"])]
    assert (group["weight_decay"], len(group["params"])) == (0, 1)
    assert group["lr"] == pytest.approx(4e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments"), [("vae_flow_prior", {"learn_beta": True}), ("two_stage_vae", {})])
def test_in_a_short_schedule_gamma_reaches_its_optimum_only_with_the_raised_rate(
    name: str, arguments: dict[str, Any]
) -> None:
    images = made_up(NETS)
    optimum = 0.5 * math.log((as_float(images) - 0.5).square().mean())  # of log gamma, which starts at 0

    def reached(unscaled: StagePlan | None) -> float:
        model, history = build(name, **arguments), History()
        model.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 2 * NETS.d))  # fast; it gets no gradient from images
        model.decoder = Fixed(torch.full_like(X, 0.5))
        plans = {stage.name: StagePlan(epochs=1, batch=8, lr=1e-3) for stage in model.stages()}
        first = model.stages()[0].name
        plans[first] = StagePlan(epochs=80, batch=8, lr=1e-3, unscaled=unscaled)  # 240 steps
        train(model, images, plans, seed=0, history=history)
        (logs,) = [row["logs"] for row in history.epochs if (row["stage"], row["epoch"]) == (first, 80)]
        return math.log(logs["gamma_x"]) if "gamma_x" in logs else -0.5 * math.log(logs["beta_eff"])

    assert reached(StagePlan(epochs=800, batch=8, lr=1e-3)) == pytest.approx(optimum, abs=0.05)
    assert reached(None) > optimum + 0.8


def test_methods_with_a_learned_gamma_need_a_likelihood() -> None:
    for name in ("vae_flow_prior", "two_stage_vae"):
        assert catalog.read(name, BASELINES / f"{name}.py").likelihood


# ---- VAE + flow prior ---------------------------------------------------------------------------


def test_the_loss_with_a_flow_prior_is_eq_3() -> None:
    model = posterior(build("vae_flow_prior", beta=3.0), MU, LOGVAR)
    z = MU + torch.exp(LOGVAR / 2) * noise_of_step(model, 8, 4)
    q = Independent(Normal(MU, torch.exp(LOGVAR / 2)), 1)
    terms = {name: term.item() for name, term in losses(model).items()}
    assert terms["reconstruction"] == pytest.approx(3 * half_sse(model.decoder(z), X).mean().item(), rel=1e-5)
    assert terms["nll"] == pytest.approx(model.flow.nll(z).mean().item(), rel=1e-5)
    assert terms["minus_entropy"] == pytest.approx(-q.entropy().mean().item(), rel=1e-5)


def test_with_an_identity_flow_the_bound_is_the_vaes_in_expectation() -> None:
    n = 20_000
    model = posterior(build("vae_flow_prior"), *(v[:1].expand(n, -1) for v in (MU, LOGVAR)))
    vae = posterior(build("vae"), MU[:1], LOGVAR[:1])
    for coupling in [*model.flow.lower, *model.flow.upper]:
        nn.init.zeros_(coupling.rest[-1].weight), nn.init.zeros_(coupling.rest[-1].bias)
    x = X[:1].expand(n, -1, -1, -1)
    model.decoder, vae.decoder = Fixed(x), Fixed(X[:1])
    terms = losses(model, data=x)
    rate = (terms["nll"] + terms["minus_entropy"]).item()
    # For one coordinate, z^2 / 2 has variance s^2 mu^2 + s^4 / 2.
    s2 = LOGVAR[0].exp()
    error = ((s2 * MU[0] ** 2 + s2**2 / 2).sum() / n).sqrt().item()
    assert rate == pytest.approx(losses(vae, data=X[:1])["kl"].item(), abs=4 * error)


def test_a_learned_beta_starts_at_beta_and_its_loss_is_shifted_by_a_constant() -> None:
    fixed, learned = build("vae_flow_prior", beta=9.0), build("vae_flow_prior", beta=9.0, learn_beta=True)
    constant = NETS.pixels / 2 * math.log(2 * math.pi / 9)
    a, b = losses(fixed), losses(learned)
    assert (b["reconstruction"] - a["reconstruction"]).item() == pytest.approx(constant, rel=1e-5)
    assert (b["nll"], b["minus_entropy"]) == (a["nll"], a["minus_entropy"])
    assert logged(learned)["beta_eff"] == pytest.approx(9)


def test_the_entropy_is_logged_correctly_and_as_the_paper_prints_it() -> None:
    found = logged(posterior(build("vae_flow_prior"), MU, LOGVAR))
    s = torch.exp(LOGVAR / 2)
    assert found["neg_entropy"] == pytest.approx(-s.log().sum(1).mean().item(), rel=1e-5)
    assert found["entropy_paper"] == pytest.approx((-s.log() / 2).sum(1).mean().item(), rel=1e-5)
    assert found["posterior_variance"] == pytest.approx(s.square().mean().item(), rel=1e-5)
    assert {"half_sse", "code_std"} <= found.keys()


@pytest.mark.parametrize("name", ["vae_flow_prior", "vae_flow_posterior"])
def test_only_the_weights_of_the_flow_are_decayed(name: str) -> None:
    model = build(name)
    rest, flow = model.optimizers()["model"]
    assert (rest.get("weight_decay", 0), flow["weight_decay"]) == (0, 2e-5)
    assert {id(p) for p in flow["params"]} == {id(p) for p in model.flow.parameters()}


# ---- VAE + flow posterior -----------------------------------------------------------------------


def test_a_flow_posterior_without_context_has_the_same_bound_as_a_flow_prior() -> None:
    """log|det| and the base density swap places; only the decoder must include the flow."""
    after = build("vae_flow_posterior", conditional=False, beta=2.0).double()
    before = build("vae_flow_prior", beta=2.0).double()
    before.encoder.load_state_dict(after.encoder.state_dict())
    before.flow.load_state_dict(after.flow.state_dict())
    flow, decoder = after.flow, after.decoder

    class Both(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return decoder(flow(z)[0])

    before.decoder = Both()
    x = X.double()
    assert sum(losses(after, data=x).values()).item() == pytest.approx(
        sum(losses(before, data=x).values()).item(), abs=1e-9
    )


def test_the_negative_entropy_has_the_gradient_of_log_q_at_a_sample() -> None:
    mu, logvar = MU.clone().requires_grad_(), LOGVAR.clone().requires_grad_()
    q = Independent(Normal(mu, torch.exp(logvar / 2)), 1)
    eps = torch.randn(8, 4, generator=torch.Generator().manual_seed(2))
    by_mu, by_logvar = gradient(q.log_prob(mu + torch.exp(logvar / 2) * eps).sum(), mu, logvar)
    assert torch.allclose(by_mu, torch.zeros_like(mu), atol=1e-5)
    assert torch.allclose(by_logvar, *gradient(-gaussian_entropy(logvar).sum(), logvar), atol=1e-5)


def test_the_posteriors_flow_is_conditioned_on_the_encoders_features() -> None:
    model = build("vae_flow_posterior").eval()
    features = model.encoder.features(X)
    mu = model.encoder.head(features)[:, :4]
    assert torch.allclose(model.flow.inverse(model.encode(X), features), mu, atol=1e-4)
    assert not torch.allclose(model.flow.inverse(model.encode(X), features.roll(1, 0)), mu, atol=1e-3)
    assert torch.equal(model.prior(MU), MU), "the prior is N(0, I) itself"


# ---- Two-Stage VAE ------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "total"), [(20, 4_304_109), (64, 4_540_609)])
def test_the_second_stage_has_as_many_parameters_as_the_authors(d: int, total: int) -> None:
    with torch.device("meta"):
        model = build("two_stage_vae", Nets((1, 8, 8), d=d, flow_width=8, n_train=24))
    (second,) = model.optimizers()["second"]
    assert sum(p.numel() for p in second["params"]) == total


def test_the_first_stage_is_a_vae_with_a_softplus_standard_deviation() -> None:
    model = posterior(build("two_stage_vae"), MU, LOGVAR)
    s = 1e-6 + nn.functional.softplus(LOGVAR)
    with torch.no_grad():
        model.log_gamma_x.fill_(-1)
    x_hat = model.decoder(MU + s * noise_of_step(model, 8, 4))
    terms = {name: term.item() for name, term in losses(model).items()}
    nll = -Independent(Normal(x_hat, math.exp(-1)), 3).log_prob(X).mean()
    kl = torch.distributions.kl_divergence(Independent(Normal(MU, s), 1), Independent(Normal(0 * MU, 1), 1)).mean()
    assert terms == {"reconstruction": pytest.approx(nll.item(), rel=1e-5), "kl": pytest.approx(kl.item(), rel=1e-5)}
    assert torch.allclose(model.extract(X, INDEX), torch.cat([MU, s], 1), rtol=1e-6)


def test_the_second_stage_is_a_vae_of_freshly_sampled_codes() -> None:
    model = build("two_stage_vae")
    with torch.no_grad():
        model.log_gamma_z.fill_(-0.5)
    s = torch.exp(LOGVAR / 2)
    with model.using(torch.Generator().manual_seed(5)):
        z, eps = MU + s * model.randn(8, 4), model.randn(8, 4)
    mu_u, log_s_u = model.second_encoder(z).chunk(2, 1)
    q = Independent(Normal(mu_u, log_s_u.exp()), 1)
    p = Independent(Normal(model.second_decoder(mu_u + log_s_u.exp() * eps), math.exp(-0.5)), 1)
    with model.using(torch.Generator().manual_seed(5)):
        ((name, terms),) = model.second_step(torch.cat([MU, s], 1), INDEX)
    standard = Independent(Normal(torch.zeros_like(mu_u), 1), 1)
    assert name == "second"
    assert terms["reconstruction"].item() == pytest.approx(-p.log_prob(z).mean().item(), rel=1e-5)
    assert terms["kl"].item() == pytest.approx(torch.distributions.kl_divergence(q, standard).mean().item(), rel=1e-5)


def test_a_sample_adds_the_second_stages_noise_to_the_code_and_none_to_the_pixels() -> None:
    model = build("two_stage_vae").eval()
    with torch.no_grad():
        model.log_gamma_z.fill_(math.log(0.3))
    u, eps = MU, LOGVAR
    assert torch.allclose(model.prior(torch.cat([u, eps], 1)), model.second_decoder(u) + 0.3 * eps, atol=1e-6)
    assert torch.equal(model.decode(u), model.decoder(u))


def test_the_second_stage_trains_nothing_of_the_first() -> None:
    first, second = ({id(p) for p in g["params"]} for (g,) in build("two_stage_vae").optimizers().values())
    assert not first & second


# ---- VampPrior ----------------------------------------------------------------------------------


def test_the_prior_is_the_mixture_of_the_pseudo_inputs_posteriors() -> None:
    model = build("vampprior", pseudo_inputs=5)
    mu, logvar = model.components()
    k = torch.distributions.Categorical(logits=torch.zeros(5))
    mixture = torch.distributions.MixtureSameFamily(k, Independent(Normal(mu, torch.exp(logvar / 2)), 1))
    assert torch.allclose(model.log_prior(MU), mixture.log_prob(MU), atol=1e-5)


def test_the_kl_is_zero_if_the_posterior_is_the_only_component() -> None:
    model = build("vampprior", pseudo_inputs=1)
    model.encoder, model.decoder = Fixed(torch.cat([MU[:1], LOGVAR[:1]], 1)), Fixed(X[:1])
    model.progress = 1.0
    assert losses(model, data=X[:1])["weighted_kl"].item() == pytest.approx(0, abs=1e-5)


def test_the_kl_is_one_sample_of_log_q_over_p_and_its_weight_warms_up() -> None:
    model = build("vampprior", pseudo_inputs=5, beta=3.0).eval()  # in eval mode, running statistics stay fixed
    mu, logvar = model.posterior(X)
    z = mu + torch.exp(logvar / 2) * noise_of_step(model, 8, 4)
    kl = (Independent(Normal(mu, torch.exp(logvar / 2)), 1).log_prob(z) - model.log_prior(z)).mean().item()
    for progress, weight in ((0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.9, 1.0)):
        model.progress = progress
        terms = losses(model)
        assert terms["weighted_kl"].item() == pytest.approx(weight * kl, rel=1e-4)
    assert terms["reconstruction"].item() == pytest.approx(3 * half_sse(model.decoder(z), X).mean().item(), rel=1e-5)
    model.progress, model.warmup = 0.0, 0.0
    assert losses(model)["weighted_kl"].item() == pytest.approx(kl, rel=1e-4)


def test_log_variances_are_clipped_for_images_and_pseudo_inputs_alike() -> None:
    model = build("vampprior", pseudo_inputs=5)
    model.encoder = Fixed(torch.linspace(-20, 20, 40).view(5, 8))
    for logvar in (model.posterior(X)[1], model.components()[1]):
        assert (logvar.min().item(), logvar.max().item()) == (-6, 2)


def test_pseudo_inputs_start_as_different_training_images() -> None:
    model = build("vampprior", pseudo_inputs=20)
    images = (255 * torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))).to(torch.uint8)
    with torch.no_grad(), model.using(torch.Generator().manual_seed(0)):
        model.start(images)
    distance = (model.pseudo_inputs.sigmoid()[:, None] - images / 255).abs().flatten(2).amax(2)
    assert (distance.min(1).values <= 0.01 + 1e-6).all()
    assert len(set(distance.argmin(1).tolist())) == 20
    assert len(build("vampprior").pseudo_inputs) == 24, "no more than there are training images"


def test_pseudo_inputs_neither_change_nor_use_batch_statistics() -> None:
    model, alone = build("vampprior", pseudo_inputs=5), build("vampprior", pseudo_inputs=5)
    losses(model)
    alone.encoder(X)
    pairs = zip(model.encoder.buffers(), alone.encoder.buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert model.encoder.training
    at_training, at_sampling = model.components()[0], model.eval().components()[0]
    assert torch.equal(at_training, at_sampling)


def test_every_component_is_drawn_equally_often() -> None:
    model = build("vampprior", pseudo_inputs=5).eval()
    n = 1000
    u = (torch.arange(n)[:, None] + 0.5) / n
    z = model.prior(torch.cat([u, torch.zeros(n, 4)], 1))
    share = [(z == mean).all(1).float().mean().item() for mean in model.components()[0]]
    assert share == pytest.approx([0.2] * 5)
    one = model.prior(torch.cat([u[:1], torch.ones(1, 4)], 1))
    assert torch.allclose(one, z[:1] + torch.exp(model.components()[1][:1] / 2), atol=1e-6)
