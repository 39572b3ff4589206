"""The mathematics of the shipped methods, and the numbers that a tiny trial of each must reproduce."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from methods import BASELINES, NETS, Fixed, X, build, losses
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from aegen_bench import seeding
from aegen_bench.study import catalog
from aegen_bench.training import loop
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.probe import Probe
from aegen_bench.training.schedule import StagePlan

GOLDEN = {  # the mean loss of the last epoch of `_tiny_trial`
    "aae": 5.44046068,
    "ae": 3.32498236,
    "ae+diffusion": 4.14277550,
    "ae+flow": 6.34982077,
    "ae+flow_matching": 8.89846412,
    "ae+imle": 3.53647618,
    "ae+second_vae": 6.41652970,
    "ae+spline": 29.7652911,
    "glann": 0.130582759,
    "glf": 12.2794189,
    "glf_regularized": 11.283708,
    "glo": 2.08784399,
    "rae": 7.79006228,
    "rae_gmm": 7.79006228,
    "sigma_vae": 64.8711518,
    "two_stage_vae": 4.77319678,
    "vae": 6.18540923,
    "vae_flow_posterior": 7.81307717,
    "vae_flow_prior": 14.1744201,
    "vampprior": 7.58406383,
    "vqvae_ar": 20.7993078,
    "wae_gan": 21.8149758,
    "wae_mmd": 2.42539606,
}


LEARNED = sorted(f"ae+{name}" for name, prior in catalog.find_priors(BASELINES).items() if prior.stages)


# ---- densities of codes -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["glf", "glf_regularized", "vae_flow_prior"])
def test_the_density_of_a_flows_codes_is_that_of_its_noise_over_the_jacobian(name: str) -> None:
    model = build(name).double()
    e = torch.randn(3, NETS.d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        volumes = [torch.func.jacfwd(lambda row: model.prior(row[None])[0])(row).slogdet().logabsdet for row in e]
        exact = Normal(0, 1).log_prob(e).sum(1) - torch.stack(volumes)
        assert torch.allclose(model.log_prior(model.prior(e)), exact, atol=1e-8)


@pytest.mark.parametrize("name", ["wae_gan", "wae_mmd"])
def test_the_density_of_waes_codes_has_the_variance_of_its_draws(name: str) -> None:
    model, z = build(name, sigma2=2.0), torch.randn(5, NETS.d, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.log_prior(z), Normal(0, 2**0.5).log_prob(z).sum(1))
    assert model.noise(20_000).var().item() == pytest.approx(2, rel=0.05)


def test_the_density_of_rae_gmms_codes_is_that_of_the_fitted_mixture() -> None:
    model, draw = build("rae_gmm", components=2), torch.Generator().manual_seed(0)
    codes = torch.randn(400, NETS.d, generator=draw) + 6 * (torch.arange(400) % 2)[:, None]
    with torch.no_grad():
        model.fit(codes)
        parts = [MultivariateNormal(group.mean(0), group.T.cov(correction=0)) for group in (codes[::2], codes[1::2])]
        exact = torch.stack([part.log_prob(codes[:9]) for part in parts]).logsumexp(0) - math.log(2)
        assert torch.allclose(model.log_prior(codes[:9]), exact, atol=0.01)


# ---- VAE ----------------------------------------------------------------------------------------


def test_the_vaes_loss_is_zero_for_a_perfect_reconstruction_and_a_standard_normal_posterior() -> None:
    model = build("vae")
    model.encoder, model.decoder = Fixed(torch.zeros(8, 2 * NETS.d)), Fixed(X)
    assert {name: float(term) for name, term in losses(model).items()} == {"reconstruction": 0, "kl": 0}


def test_the_vaes_loss_is_beta_half_sse_of_a_decoded_posterior_sample_plus_kl() -> None:
    model = build("vae", beta=3.0)
    mu, logvar = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(1)).unbind()
    model.encoder, model.decoder = Fixed(torch.cat([mu, logvar], 1)), nn.Linear(4, 64).requires_grad_(False)
    model.decoder.register_forward_hook(lambda module, inputs, output: output.view(8, 1, 8, 8))
    terms = losses(model)
    with model.using(seeding.stream(0, "train")):
        z = mu + torch.exp(logvar / 2) * model.randn(8, 4)
    assert float(terms["reconstruction"]) == pytest.approx(
        float(1.5 * (model.decoder(z) - X).square().sum() / 8), rel=1e-5
    )
    assert float(terms["kl"]) == pytest.approx(float(0.5 * (mu**2 + logvar.exp() - logvar - 1).sum() / 8), rel=1e-5)
    assert torch.equal(model.encode(X), mu)


# ---- GLF ----------------------------------------------------------------------------------------


def test_glfs_flow_gives_the_auto_encoder_no_gradient() -> None:
    def gradients(terms_used: slice) -> list[Tensor]:
        model = build("glf")
        parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
        loss = sum(list(losses(model).values())[terms_used])
        return list(torch.autograd.grad(loss, parameters))  # type: ignore[arg-type]

    both, reconstruction = gradients(slice(None)), gradients(slice(1))
    assert all(torch.equal(a, b) for a, b in zip(both, reconstruction, strict=True))


def test_glfs_loss_is_eq_5_including_the_constant_of_the_density() -> None:
    model = build("glf", beta=2.0)
    z = model.encoder(X)
    e, logdet = model.flow(z)
    base = torch.distributions.Normal(0, 1)
    terms = {name: term.item() for name, term in losses(model).items()}
    assert terms["reconstruction"] == pytest.approx(
        (model.decoder(z) - X).square().flatten(1).sum(1).mean().item(), rel=1e-5
    )
    assert terms["nll"] == pytest.approx((-base.log_prob(e).sum(1) - logdet).mean().item(), rel=1e-5)


def test_glf_decays_the_weights_of_its_flow_only() -> None:
    groups = build("glf").optimizers()["model"]
    assert [group.get("weight_decay", 0) for group in groups] == [0, 2e-5]
    assert sum(p.numel() for p in groups[1]["params"]) == sum(p.numel() for p in build("glf").flow.parameters())


# ---- GLF without the stop-gradient ---------------------------------------------------------------


def test_regularized_glf_is_glf_whose_encoder_also_lowers_the_nll() -> None:
    glf, regularized = build("glf", beta=2.0), build("glf_regularized", beta=2.0)
    assert {k: v.item() for k, v in losses(glf).items()} == {k: v.item() for k, v in losses(regularized).items()}
    parameters = list(regularized.encoder.parameters())
    assert any(g.any() for g in torch.autograd.grad(losses(regularized)["nll"], parameters))
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        torch.autograd.grad(losses(glf)["nll"], list(glf.encoder.parameters()))


def test_regularized_glf_reconstructs_just_as_well_from_shrunken_codes() -> None:
    """Why the stop-gradient is needed: batch normalisation after the decoder's first layer undoes the scale."""
    model = build("glf_regularized").double()
    z = model.encoder(X.double())
    model.decoder.body[1].eps = 1e-20  # the only part that depends on the scale
    assert torch.allclose(model.decoder(0.01 * z), model.decoder(z), atol=1e-9)


# ---- RAE+GMM ------------------------------------------------------------------------------------


def _clusters(n: int = 900) -> Tensor:
    """Codes in three correlated clusters of unequal size."""
    random = torch.Generator().manual_seed(3)
    k = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), n, replacement=True, generator=random)
    means, mixing = 4 * torch.randn(3, 4, generator=random), torch.randn(3, 4, 4, generator=random)
    return means[k] + (mixing[k] @ torch.randn(n, 4, 1, generator=random))[..., 0]


def _fitted(codes: Tensor, components: int = 3, seed: int = 0) -> Any:
    model = build("rae_gmm", components=components)
    with torch.no_grad(), model.using(seeding.stream(seed, "fit")):
        model.fit(codes)
    return model


def test_the_mixture_and_its_samples_have_the_mean_and_covariance_of_the_codes() -> None:
    codes = _clusters()
    model = _fitted(codes)
    with model.using(seeding.stream(0, "noise")):
        z = model.prior(model.noise(100_000))
    deviation = codes.std(0)
    assert torch.allclose(model.weights @ model.means, codes.mean(0), atol=2e-3 * float(deviation.max()))
    assert ((z.mean(0) - codes.mean(0)) / deviation).abs().max() < 5 / 100_000**0.5  # five standard errors
    assert ((z.T.cov() - codes.T.cov()) / torch.outer(deviation, deviation)).abs().max() < 0.02


def test_each_component_is_chosen_as_often_as_its_weight_says() -> None:
    model = _fitted(_clusters())
    n = 10_000
    e = torch.zeros(n, 5)
    e[:, 0] = (torch.arange(n) + 0.5) / n  # the uniform part at its quantiles; a normal part of zero gives the means
    z = model.prior(e)
    share = torch.stack([(z == mean).all(1).float().mean() for mean in model.means])
    assert torch.allclose(share, model.weights, atol=1.5 / n)
    assert float(share.sum()) == pytest.approx(1)


def test_a_single_component_has_the_covariance_of_the_codes() -> None:
    model = _fitted(_clusters(), components=1)
    e = torch.cat([torch.rand(10_000, 1), torch.randn(10_000, 4, generator=torch.Generator().manual_seed(0))], 1)
    residual = torch.linalg.solve(model.factors[0], (model.prior(e) - model.means[0]).T).T
    assert torch.allclose(residual, e[:, 1:], atol=1e-4)
    assert torch.allclose(model.factors[0] @ model.factors[0].T, _clusters().T.cov(correction=0), rtol=1e-3, atol=1e-2)


def test_the_fit_is_determined_by_its_seed() -> None:
    codes = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))  # without structure, so the start decides
    first, again, other = (_fitted(codes, 10, seed) for seed in (0, 0, 1))
    assert torch.equal(first.means, again.means) and torch.equal(first.factors, again.factors)
    assert not torch.allclose(first.means.sort(0).values, other.means.sort(0).values, atol=1e-3)


def test_shrunken_codes_give_the_same_mixture_except_for_the_scale() -> None:
    codes = _clusters()
    plain, shrunken = _fitted(codes), _fitted(1e-4 * codes)
    assert torch.allclose(shrunken.weights, plain.weights, atol=1e-4)
    assert torch.allclose(1e4 * shrunken.means, plain.means, atol=1e-3)
    assert torch.allclose(1e4 * shrunken.factors, plain.factors, atol=1e-3)


def test_raes_loss_is_half_sse_plus_gamma_times_the_squared_norm() -> None:
    model = build("rae_gmm", gamma=0.7)
    z = model.encoder(X)
    terms = {name: term.item() for name, term in losses(model).items()}
    assert terms["reconstruction"] == pytest.approx(0.5 * (model.decoder(z) - X).square().sum().item() / 8, rel=1e-5)
    assert terms["penalty"] == pytest.approx(0.7 * z.square().sum().item() / 8, rel=1e-5)


# ---- the data of Figures 3 and 4 -----------------------------------------------------------------

ENTROPY = {"neg_entropy", "entropy_paper", "posterior_variance"}


@pytest.mark.parametrize(
    ("name", "arguments", "terms", "logs"),
    [
        ("vae_flow_prior", {"beta": 50.0}, {"nll"}, {*ENTROPY, "code_std"}),
        ("vae_flow_prior", {"learn_beta": True}, {"nll"}, {*ENTROPY, "code_std", "beta_eff"}),
        ("glf", {}, {"nll"}, {"code_std"}),
        ("glf_regularized", {"beta": 50.0}, {"nll"}, {"code_std"}),
        ("vae", {"beta": 50.0}, {"kl"}, {"entropy", "posterior_variance"}),
        ("rae_gmm", {"gamma": 0.1}, {"penalty"}, {"code_std"}),
    ],
)
def test_the_history_has_the_data_of_the_curves_for_each_epoch_and_probe(
    name: str, arguments: dict[str, Any], terms: set[str], logs: set[str]
) -> None:
    model, history = build(name, **arguments), History()
    images = (255 * torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))).to(torch.uint8)
    probe = Probe(2, images[:12], images[12:], lambda model: {"fd": 1.0})
    train(model, images, {"train": StagePlan(epochs=2, batch=12, lr=1e-3)}, seed=0, history=history, probe=probe)
    (last,) = history.probes
    for row in (*history.epochs, last["probe_train"], last["probe_test"]):
        assert {"reconstruction", *terms} <= row["terms"]["model"].keys()
        assert {"half_sse", *logs} <= row["logs"].keys()
    assert last["metrics"] == {"fd": 1.0}
    assert last["probe_train"] != last["probe_test"]


# ---- golden numbers -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted(path.stem for path in BASELINES.glob("*.py")), *LEARNED])
@pytest.mark.usefixtures("float64")
def test_a_tiny_trial_still_gives_its_stored_loss(name: str) -> None:
    assert name in GOLDEN, f"store the loss of {name} in GOLDEN: {_tiny_trial(name)}"
    hint = (
        "the harness changes the numbers of trained models: raise aegen_bench.study.NUMERICS, then store the new loss"
    )
    assert _tiny_trial(name) == pytest.approx(GOLDEN[name], rel=1e-6), hint


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """float64 as the default dtype. Adam takes a full step along any gradient, even one that is only round-off, so in
    float32 another machine would reach another loss.
    """
    monkeypatch.setattr(loop, "as_float", lambda images: images / 255)  # to the default dtype
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _tiny_trial(name: str) -> float:
    """Train for four steps on 24 smooth images and return the mean loss of the last two."""
    side = np.linspace(0, np.pi, 8)
    waves = [np.outer(np.sin(side * (1 + i % 4)), np.cos(side * (1 + i // 4))) for i in range(24)]
    images = torch.from_numpy(np.round(127.5 * (1 + np.array(waves))).astype(np.uint8)[:, None])
    model, history = build(name), History()
    plan = StagePlan(epochs=2, batch=12, lr=1e-3, lr_at=((1, 0.5),))
    train(model, images, {s.name: plan for s in model.stages()}, seed=0, history=history)
    return sum(value for terms in history.epochs[-1]["terms"].values() for value in terms.values())
