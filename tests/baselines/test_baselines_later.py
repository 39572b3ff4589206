"""The mathematics of the methods that are not in the paper's tables; see test_baselines.py for the others."""

from __future__ import annotations

import copy
import dataclasses
import sys

import pytest
import torch
from methods import INDEX, NETS, Largest, X, build
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from aegen_bench import seeding
from aegen_bench.blocks.pixelcnn import GatedPixelCNN
from aegen_bench.numerics import neighbours
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- GLO and GLANN --------------------------------------------------------------------------------


def test_the_generator_normalises_codes_and_treats_their_length_as_a_constant() -> None:
    generator = build("glo").generator.eval()
    z = normal(3, NETS.d).requires_grad_()
    unit = (z / z.norm(dim=1, keepdim=True)).detach().requires_grad_()
    assert torch.allclose(generator(z), generator(5 * z), atol=1e-6)
    assert torch.allclose(generator(z), generator.body(unit), atol=1e-6)
    (through,) = torch.autograd.grad(generator(unit).square().sum(), unit)
    (plain,) = torch.autograd.grad(generator.body(unit).square().sum(), unit)
    assert torch.allclose(through, plain, atol=1e-6) and (through * unit).sum(1).abs().max() > 1e-6


def test_the_generators_batch_normalisation_is_optional_and_its_linear_layers_have_no_bias() -> None:
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


def test_codes_have_their_own_learning_rate_and_adam_is_new_in_each_epoch() -> None:
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
def test_imle_gives_each_code_the_same_candidate_as_brute_force(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("glann").train()
    monkeypatch.setattr(sys.modules[type(model).__module__], "CHUNK", chunk)
    codes = normalize(normal(24, NETS.d))
    before = copy.deepcopy(model.mapping)
    with torch.no_grad(), model.using(seeding.stream(0, "before")):
        model.match(codes)
    with torch.no_grad(), model.using(seeding.stream(0, "before")):
        candidates = model.randn(256, 32)
        mapped = torch.cat([before(half) for half in candidates.chunk(2)])
    nearest = (codes.double()[:, None] - mapped.double()).square().sum(2).argmin(1)
    assert torch.equal(model.matched, candidates[nearest])
    assert len(nearest.unique()) > 1


def test_imle_holds_its_candidates_in_memory_but_not_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = normalize(normal(512, NETS.d))
    model = build("glann", dataclasses.replace(NETS, n_train=len(codes))).train()
    monkeypatch.setattr(sys.modules[type(model).__module__], "CHUNK", 16)
    monkeypatch.setattr(neighbours, "CHUNK", 64)
    with torch.no_grad(), model.using(seeding.stream(0, "before")), Largest() as made:
        model.match(codes)
    # There are twice as many candidates as codes, each of 32 numbers, and 512 x 1024 pairs.
    assert made.numbers == 2 * 512 * 32


def test_the_second_stage_of_glann_only_moves_its_mapping_towards_the_codes() -> None:
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


# ---- VQ-VAE with an autoregressive prior ------------------------------------------------------------


def pixelcnn(codewords: int = 3, layers: int = 5) -> GatedPixelCNN:
    with seeding.initialising(0):
        model = GatedPixelCNN(codewords, channels=6, layers=layers)
        for p in model.parameters():
            p.data *= 3  # so that the context matters
    return model.requires_grad_(False)


def test_logits_depend_on_every_earlier_position_and_on_no_later_one() -> None:
    model, side = pixelcnn(), 4
    k = torch.randint(3, (1, side, side), generator=torch.Generator().manual_seed(0))
    before = model(k).flatten(2)
    for place in range(side**2):
        changed = k.clone()
        changed.view(-1)[place] = (changed.view(-1)[place] + 1) % 3
        moved = (model(changed).flatten(2) - before).abs().amax((0, 1)) > 1e-7
        assert moved.tolist() == [later > place for later in range(side**2)]


def test_the_probabilities_of_all_grids_add_up_to_one() -> None:
    grids = torch.cartesian_prod(*[torch.arange(3)] * 4).view(-1, 2, 2)
    nll = cross_entropy(pixelcnn()(grids), grids, reduction="none").sum((1, 2))
    assert float(torch.exp(-nll).sum()) == pytest.approx(1, rel=1e-5) and float(nll.std()) > 0.1


def test_a_sample_is_the_inverse_cdf_of_its_noise_under_the_trained_probabilities() -> None:
    model, u = pixelcnn(), torch.rand(200, 3, 3, generator=torch.Generator().manual_seed(0))
    k = model.sample(u)
    edges = model(k).softmax(1).cumsum(1)
    upper = edges.gather(1, k[:, None])[:, 0]
    lower = upper - model(k).softmax(1).gather(1, k[:, None])[:, 0]
    assert (lower - 1e-5 <= u).all() and (u <= upper + 1e-5).all()
    assert sorted(k.unique().tolist()) == [0, 1, 2]


def test_gradients_pass_straight_through_the_codewords_to_the_encoder() -> None:
    model = build("vqvae_ar").eval()
    z = normal(8, 4, 64).requires_grad_()
    model.vectors = lambda x: z
    with model.using(seeding.stream(0, "train")):
        _, terms = next(model.step(X, INDEX))
    c = model.codebook[model.nearest(z)].detach().requires_grad_()
    (through,) = torch.autograd.grad(terms["reconstruction"], z, retain_graph=True)
    (straight,) = torch.autograd.grad(model.recon(model.paint(c), X), c)
    assert torch.allclose(through, straight, atol=1e-6) and float(through.abs().sum()) > 0
    assert terms["commitment"].item() == pytest.approx(0.25 * (z - c).square().sum().item() / 8, rel=1e-5)


def test_codewords_are_moving_averages_and_unused_ones_restart_at_a_vector() -> None:
    model = build("vqvae_ar", codewords=3, width=2, decay=0.75)
    model.counts, model.sums = torch.tensor([2.0, 4.0, 0.0]), torch.tensor([[2.0, 0.0], [4.0, 8.0], [0.0, 0.0]])
    z, k = torch.tensor([[5.0, 1.0], [7.0, 3.0], [9.0, 9.0]]), torch.tensor([0, 0, 1])
    with model.using(seeding.stream(0, "train")):
        model.average(z, one_hot(k, 3).float())
    assert torch.allclose(model.counts, torch.tensor([2.0, 3.25, 1.0]))  # the third codeword: a third of three vectors
    assert torch.allclose(model.sums[0], torch.tensor([0.75 * 2 + 0.25 * 12, 0.25 * 4]))
    assert torch.allclose(model.codebook[1], torch.tensor([0.75 * 4 + 0.25 * 9, 0.75 * 8 + 0.25 * 9]) / 3.25)
    assert any(torch.equal(model.codebook[2], vector) for vector in z)


def test_codewords_start_as_vectors_and_each_vector_goes_to_its_nearest_codeword() -> None:
    model = build("vqvae_ar", codewords=16)
    images = (255 * X).to(torch.uint8)
    with torch.no_grad(), model.eval().using(seeding.stream(0, "start")):
        model.scatter(images)
        z = model.vectors(images.float() / 255).flatten(0, 1)
    apart = (model.codebook[:, None] - z).abs().amax(2)
    assert float(apart.amin(1).max()) < 1e-6
    brute = (z.double()[:, None] - model.codebook.double()).square().sum(2).argmin(1)
    assert torch.equal(model.nearest(z), brute)


@pytest.mark.parametrize(("used", "perplexity"), [(1, 1), (4, 4)])
def test_perplexity_counts_the_codewords_in_use(used: int, perplexity: float) -> None:
    model, logged = build("vqvae_ar", codewords=8), dict[str, float]()
    model.nearest = lambda z: (torch.arange(32) % used).view(8, 4)
    with model.using(seeding.stream(0, "train"), lambda name, value: logged.update({name: float(value)})):
        next(model.step(X, INDEX))
    assert logged["perplexity"] == pytest.approx(perplexity, rel=1e-5)


def test_the_prior_learns_the_encoders_codes_and_decode_paints_their_codewords() -> None:
    model = build("vqvae_ar").eval()
    k = model.encode(X)
    assert k.shape == (8, 4) and k.dtype == torch.long
    assert torch.equal(model.extract(X, INDEX), k)
    ((name, terms),) = model.prior_step(k, INDEX)
    logits = model.pixelcnn(k.view(8, 2, 2))
    chosen = logits.log_softmax(1).gather(1, k.view(8, 1, 2, 2))
    assert name == "prior" and terms["nll"].item() == pytest.approx(-chosen.sum().item() / 8, rel=1e-5)
    assert torch.equal(model.decode(k), model.paint(model.codebook[k]))
