"""The mathematics of the methods beyond the paper's tables, as test_baselines.py does for those in them."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from test_baselines import INDEX, NETS, X, build
from torch import Tensor

from aegen_bench import seeding
from aegen_bench.history import History
from aegen_bench.schedule import StagePlan
from aegen_bench.training import train


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- GLO and GLANN --------------------------------------------------------------------------------


def test_the_generator_sees_the_direction_of_a_code_and_sends_no_gradient_through_its_length() -> None:
    generator = build("glo").generator.eval()
    z = normal(3, NETS.d).requires_grad_()
    unit = (z / z.norm(dim=1, keepdim=True)).detach().requires_grad_()
    assert torch.allclose(generator(z), generator(5 * z), atol=1e-6)
    assert torch.allclose(generator(z), generator.body(unit), atol=1e-6)
    (through,) = torch.autograd.grad(generator(unit).square().sum(), unit)
    (plain,) = torch.autograd.grad(generator.body(unit).square().sum(), unit)
    assert torch.allclose(through, plain, atol=1e-6) and (through * unit).sum(1).abs().max() > 1e-6


def test_the_generator_has_batch_normalisation_or_none_and_no_bias_in_its_linear_layers() -> None:
    for batch_norm in (True, False):
        layers = list(build("glo", batch_norm=batch_norm).generator.body)
        assert sum("BatchNorm" in type(layer).__name__ for layer in layers) == 2 * batch_norm
        assert all(layer.bias is None for layer in layers if isinstance(layer, torch.nn.Linear))


@pytest.mark.parametrize("name", ["glo", "glann"])
def test_after_an_epoch_every_code_has_moved_and_lies_on_the_unit_sphere(name: str) -> None:
    model = build(name)
    start = model.codes.detach().clone()
    images = (255 * X).to(torch.uint8).repeat(3, 1, 1, 1)
    plans = {stage.name: StagePlan(epochs=1, batch=8, lr=1e-3) for stage in model.stages()}
    train(model, images, plans, seed=0, history=History())
    assert torch.allclose(model.codes.norm(dim=1), torch.ones(NETS.n_train), atol=1e-6)
    cosine = torch.cosine_similarity(model.codes.detach(), start)
    assert float(cosine.max()) < 1 - 1e-6
    assert torch.equal(model.extract(X, INDEX), model.codes[:8])


def test_codes_move_ten_times_as_fast_as_the_generator_and_no_moment_outlives_an_epoch() -> None:
    model = build("glo")
    generator, codes = model.optimizers()["glo"]
    assert "lr" not in generator and codes["lr"] == 1e-2
    assert generator["betas"] == codes["betas"] == (0.5, 0.999)
    assert [stage.fresh_optimizers for stage in [*model.stages(), *build("glann").stages()]] == [True] * 3


@pytest.mark.parametrize("rank", [4, 2])
def test_glo_samples_a_gaussian_with_the_mean_and_covariance_of_the_codes(rank: int) -> None:
    codes = normal(50, rank, seed=1) @ normal(rank, 4, seed=2) + 3
    model = build("glo")
    with torch.no_grad():
        model.fit(codes)
    assert torch.allclose(model.prior(torch.zeros(1, 4))[0], codes.mean(0), atol=1e-5)
    assert torch.allclose(model.factor @ model.factor.T, codes.T.cov(), atol=1e-4)


@pytest.mark.parametrize("chunk", [4096, 5])
def test_imle_gives_each_code_the_candidate_that_brute_force_finds(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("glann").train()
    monkeypatch.setattr(sys.modules[type(model).__module__], "CHUNK", chunk)
    codes = torch.nn.functional.normalize(normal(24, NETS.d))
    before = copy.deepcopy(model.mapping)
    with torch.no_grad(), model.using(seeding.stream(0, "before")):
        model.match(codes)
    with torch.no_grad(), model.using(seeding.stream(0, "before")):
        candidates = model.randn(256, 32)
        mapped = torch.cat([before(half) for half in candidates.chunk(2)])
    nearest = (codes.double()[:, None] - mapped.double()).square().sum(2).argmin(1)
    assert torch.equal(model.matched, candidates[nearest])
    assert len(nearest.unique()) > 1


def test_the_second_stage_of_glann_moves_its_mapping_towards_the_codes_and_nothing_else() -> None:
    model = build("glann")
    z, model.matched = normal(24, NETS.d), normal(24, 32, seed=1)
    ((name, terms),) = model.imle_step(z[INDEX], INDEX)
    residual = model.mapping(model.matched[INDEX]) - z[INDEX]
    assert terms["distance"].item() == pytest.approx(residual.square().mean().item(), rel=1e-5)
    terms["distance"].backward()
    assert {part for part, p in model.named_parameters() if p.grad is not None} == {
        f"mapping.{part}" for part, _ in model.mapping.named_parameters()
    }
    assert name == "imle" and model.optimizers()["imle"][0]["weight_decay"] == 1e-5


@pytest.mark.parametrize(("name", "width"), [("glo", NETS.d), ("glann", 32)])
def test_glo_and_glann_have_no_encoder_and_sample_from_noise_of_their_own_width(name: str, width: int) -> None:
    model = build(name)
    assert not model.has("encode") and model.noise(5).shape == (5, width)
