"""The mathematics of the methods that match the aggregate posterior to a prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from methods import NETS, Fixed, X, build, losses, noise_of_step, updates
from scipy.stats import truncnorm
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from aegen_bench import seeding
from aegen_bench.blocks.aggregate import moment_distance, taken_for, truncated_normal
from aegen_bench.numerics.mmd import mmd2
from aegen_bench.training.optimizers import make_optimizers
from aegen_bench.training.schedule import StagePlan

CODES = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


# ---- what they share ----------------------------------------------------------------------------


def test_taken_for_is_the_cross_entropy_with_one_label() -> None:
    logits = 9 * CODES
    for real in (True, False):
        assert taken_for(real, logits) == pytest.approx(bce(logits, torch.full_like(logits, real)).item(), rel=1e-6)


def test_the_truncated_normal_has_the_same_quantiles_as_scipys() -> None:
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    assert np.allclose(truncated_normal(u).numpy(), truncnorm(-2, 2).ppf(u.numpy()), atol=1e-9)
    assert truncated_normal(torch.tensor([0.0, 1 - 2**-24])).abs().max() <= 2 + 1e-5


def test_the_moment_distance_is_that_of_means_and_covariances() -> None:
    a, b = torch.randn(2, 50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    b = 2 * b + 1
    means = np.square(a.mean(0).numpy() - b.mean(0).numpy()).mean()
    covariances = np.square(np.cov(a.numpy().T) - np.cov(b.numpy().T)).mean()
    assert moment_distance(a, b).item() == pytest.approx(means + covariances, rel=1e-12)
    assert moment_distance(a, a).item() == 0


# ---- WAE-GAN ------------------------------------------------------------------------------------


def test_the_two_losses_of_wae_gan_are_those_of_the_authors() -> None:
    model = build("wae_gan", lam=7.0, sigma2=2.0, recon_scale=0.3, input_noise=0.0)
    model.encoder = Fixed(CODES)
    model.decoder = Fixed(torch.full_like(X, 0.5))
    autoencoder, critic = updates(model)
    fake, real = model.critic(CODES), model.critic(2**0.5 * noise_of_step(model, 8, 4))
    one, zero = torch.ones_like(fake), torch.zeros_like(fake)
    assert autoencoder["reconstruction"].item() == pytest.approx(0.3 * (X - 0.5).square().sum().item() / 8, rel=1e-5)
    assert autoencoder["penalty"].item() == pytest.approx(7 * bce(fake, one).item(), rel=1e-5)
    assert critic["prior"].item() == pytest.approx(7 * bce(real, one).item(), rel=1e-5), "the prior is the real class"
    assert critic["codes"].item() == pytest.approx(7 * bce(fake, zero).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["wae_gan", "aae"])
def test_the_adversarys_loss_gives_no_gradient_to_the_encoder(name: str) -> None:
    model = build(name)
    critic = updates(model)[1]
    gradients = torch.autograd.grad(
        sum(critic.values()), [*model.critic.parameters(), *model.encoder.parameters()], allow_unused=True
    )
    trained = len(list(model.critic.parameters()))
    assert all(g is not None for g in gradients[:trained]) and all(g is None for g in gradients[trained:])


@pytest.mark.parametrize("name", ["wae_gan", "aae"])
def test_auto_encoder_and_adversary_are_changed_by_their_own_steps_only(name: str) -> None:
    model = build(name)
    adam = make_optimizers(model, StagePlan(epochs=1, batch=8, lr=1e-3), full_size=24, size=24)
    moved = {}
    with model.using(seeding.stream(0, "train")):
        for optimizer, terms in model.step(X, torch.arange(8)):
            before = {k: v.clone() for k, v in model.named_parameters()}
            adam.update(optimizer, sum(terms.values()))
            moved[optimizer] = {k.split(".")[0] for k, v in model.named_parameters() if not torch.equal(v, before[k])}
    assert moved["critic"] == {"critic"}
    assert moved["autoencoder"] == {"encoder", "decoder"}
    assert moved.get("encoder", {"encoder"}) == {"encoder"}


def test_without_reconstruction_the_auto_encoders_step_makes_the_codes_pass_for_the_prior() -> None:
    model = build("wae_gan", recon_scale=0.0, input_noise=0.0)
    adam = make_optimizers(model, StagePlan(epochs=1, batch=8, lr=1e-3), full_size=24, size=24)

    def taken() -> float:
        return taken_for(True, model.critic(model.encoder(X))).item()

    before = taken()
    with model.using(seeding.stream(0, "train")):
        name, terms = next(model.step(X, torch.arange(8)))
        adam.update(name, sum(terms.values()))
    assert taken() < before - 1e-4


def test_the_adversary_may_know_the_priors_density() -> None:
    model, plain = (build("wae_gan", sigma2=2.0, prior_in_adversary=known) for known in (True, False))
    density = Independent(Normal(torch.zeros(4), 2**0.5), 1).log_prob(CODES)
    assert model.logits(CODES).shape == (8, 1)
    assert torch.allclose(model.logits(CODES), plain.logits(CODES) + density[:, None], atol=1e-5)


@pytest.mark.parametrize("name", ["wae_gan", "wae_mmd"])
def test_samples_of_wae_are_drawn_with_the_priors_variance(name: str) -> None:
    model = build(name, sigma2=2.0)
    with model.using(seeding.stream(0, "noise")):
        z = model.prior(model.noise(50_000))
    assert z.var().item() == pytest.approx(2, rel=5 * (2 / z.numel()) ** 0.5)


@pytest.mark.parametrize("name", ["wae_gan", "wae_mmd"])
def test_the_encoder_sees_noise_only_in_training(name: str) -> None:
    model = build(name, input_noise=0.5)
    model.encoder = seen = Kept()
    for training in (True, False):
        updates(model.train(training))
        change = seen.images - X
        assert (0.1 < change.std() < 0.5 and change.abs().max() <= 1) if training else torch.equal(seen.images, X)
    model.train().encode(X)
    assert torch.equal(seen.images, X)


class Kept(nn.Module):
    """An encoder that keeps the last images it received."""

    def forward(self, x: Tensor) -> Tensor:
        self.images = x
        return x.flatten(1)[:, : NETS.d]


@pytest.mark.parametrize("name", ["wae_gan", "wae_mmd"])
def test_pretraining_moves_the_codes_moments_towards_the_priors_and_can_be_left_out(name: str) -> None:
    model = build(name, input_noise=0.0)
    first, last = model.stages()
    assert (first.name, last.name) == ("pretrain", "train")
    adam = make_optimizers(model, StagePlan(steps=30, batch=8, lr=1e-3), full_size=24, size=24)
    begin = losses(model, first.step)["moments"].item()
    for _ in range(30):
        adam.update("encoder", losses(model, first.step)["moments"])
    assert losses(model, first.step)["moments"].item() < 0.5 * begin
    assert [stage.name for stage in build(name, pretrain=False).stages()] == ["train"]


# ---- WAE-MMD ------------------------------------------------------------------------------------


def test_the_kernel_is_the_inverse_multiquadratic_at_seven_scales() -> None:
    model = build("wae_mmd", sigma2=0.5)
    points = torch.tensor([[0.0, 0, 0, 0], [3, 0, 0, 0], [0, 4, 0, 0]])
    k = model.kernel(points, points)
    # C = 2 * d * sigma2 * s = 4 s, and the squared distances are 9, 16 and 25
    sizes = [0.4, 0.8, 2, 4, 8, 20, 40]
    for (i, j), square in {(0, 1): 9, (0, 2): 16, (1, 2): 25, (1, 1): 0}.items():
        assert k[i, j].item() == pytest.approx(sum(c / (c + square) for c in sizes), rel=1e-6)
    assert torch.equal(k, k.T)


def test_the_penalty_of_wae_mmd_equals_the_mmd_computed_by_hand() -> None:
    model = build("wae_mmd", lam=3.0, recon_scale=0.3, input_noise=0.0)
    z = CODES[:3]
    model.encoder, model.decoder = Fixed(z), Fixed(torch.full_like(X[:3], 0.5))
    (terms,) = updates(model, data=X[:3])
    p = noise_of_step(model, 3, 4)

    def k(a: Tensor, b: Tensor) -> float:
        square = float((a - b).square().sum())
        return sum(8 * s / (8 * s + square) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10))

    pairs = [(i, j) for i in range(3) for j in range(3)]
    within = sum(k(z[i], z[j]) + k(p[i], p[j]) for i, j in pairs if i != j) / 6
    across = sum(k(z[i], p[j]) for i, j in pairs) / 9
    assert terms["penalty"].item() == pytest.approx(3 * (within - 2 * across), rel=1e-4)
    assert terms["reconstruction"].item() == pytest.approx(0.3 * (X[:3] - 0.5).square().sum().item() / 3, rel=1e-5)


def test_a_step_down_the_mmd_moves_the_codes_towards_the_prior() -> None:
    model = build("wae_mmd")
    random = torch.Generator().manual_seed(0)
    z, p = (5 + torch.randn(50, 4, generator=random)).requires_grad_(), torch.randn(50, 4, generator=random)
    mmd2(model.kernel(z, z), model.kernel(p, p), model.kernel(z, p)).backward()
    assert (z.grad.mean(0) > 0).all()


# ---- AAE ----------------------------------------------------------------------------------------


def test_the_three_losses_of_the_aae() -> None:
    model = build("aae")
    model.encoder, model.decoder = Fixed(CODES), Fixed(torch.full_like(X, 0.5))
    autoencoder, critic, encoder = updates(model)
    fake, real = model.critic(CODES), model.critic(noise_of_step(model, 8, 4))
    one, zero = torch.ones_like(fake), torch.zeros_like(fake)
    assert autoencoder["reconstruction"].item() == pytest.approx(0.5 * (X - 0.5).square().sum().item() / 8, rel=1e-5)
    assert critic["prior"].item() == pytest.approx(bce(real, one).item(), rel=1e-5)
    assert critic["codes"].item() == pytest.approx(bce(fake, zero).item(), rel=1e-5)
    assert encoder["penalty"].item() == pytest.approx(bce(fake, one).item(), rel=1e-5)
