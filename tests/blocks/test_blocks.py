"""Networks, flow and losses, compared with the paper's Table 2, closed forms and torch.distributions."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from aegen_bench.blocks.flows import CouplingFlow
from aegen_bench.blocks.losses import (
    gaussian_entropy,
    half_sse,
    kl_standard_normal,
    reparameterise,
    standard_normal_nll,
)
from aegen_bench.blocks.nets import Nets, describe
from aegen_bench.blocks.pixelcnn import GatedPixelCNN

MNIST = Nets((1, 28, 28), d=20, flow_width=64, n_train=60_000)
CIFAR = Nets((3, 32, 32), d=64, flow_width=256, n_train=50_000)
CELEBA = Nets((3, 64, 64), d=64, flow_width=256, n_train=162_770)
HQ = Nets((3, 256, 256), d=128, flow_width=256, n_train=27_000)
DIGITS = Nets((1, 8, 8), d=8, flow_width=32, n_train=1_000)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---- networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nets", "encoder", "decoder", "vae", "flow", "critic"),
    [
        (MNIST, 6_578_644, 6_597_185, 13_196_329, 49_312, 799_233),
        (CIFAR, 8_591_872, 8_616_131, 17_273_603, 725_504, 821_761),
        (CELEBA, 33_757_696, 33_855_683, 67_678_979, 725_504, 821_761),
    ],
)
def test_parameter_totals_are_those_of_table_2(
    nets: Nets, encoder: int, decoder: int, vae: int, flow: int, critic: int
) -> None:
    with torch.device("meta"):
        assert _count(nets.encoder()) == encoder
        assert _count(nets.decoder()) == decoder
        assert _count(nets.encoder(2 * nets.d)) + decoder == vae
        assert _count(nets.flow()) == flow
        assert _count(nets.critic()) == critic


def test_at_256_px_the_auto_encoder_is_that_of_dcgan() -> None:
    """The count in the specification, 24,393,539, leaves out the biases that batch normalisation cancels."""
    with torch.device("meta"):
        encoder, decoder, flow = HQ.encoder(), HQ.decoder(), HQ.flow()
    undone = {
        part: sum(layer.bias.numel() for layer in _before_normalisation(part.body)) for part in (encoder, decoder)
    }
    assert (_count(encoder) - undone[encoder], _count(decoder) - undone[decoder]) == (12_196_800, 12_196_739)
    assert (_count(encoder), _count(decoder), _count(flow)) == (12_198_720, 12_206_403, 922_624)
    assert _count(encoder) + _count(decoder) == 24_405_123 == 24_393_539 + sum(undone.values())
    assert describe(encoder).startswith("4x4 Conv64, ReLU, 4x4 Conv128, BN, ReLU, 4x4 Conv256, BN, ReLU, 4x4 Conv512")
    assert describe(decoder).startswith("FC8192, BN, ReLU, 4x4 Deconv512, BN, ReLU, 4x4 Deconv512, BN, ReLU, 4x4 Deco")
    assert describe(decoder).endswith("4x4 Deconv64, BN, ReLU, 4x4 Deconv3, Sigmoid")


@pytest.mark.parametrize("nets", [DIGITS, MNIST, CIFAR, CELEBA, HQ], ids=lambda nets: f"side{nets.shape[1]}")
def test_networks_have_the_shapes_of_table_2_for_every_image_size(nets: Nets) -> None:
    m = nets.shape[1] // 4
    with torch.device("meta"):
        x, z, grid = torch.empty(2, *nets.shape), torch.empty(2, nets.d), torch.empty(2, 5, m, m)
        assert nets.encoder()(x).shape == (2, nets.d)
        assert nets.encoder(7)(x).shape == (2, 7)
        assert nets.encoder().features(x).shape == (2, 8192 if nets is HQ else 1024)
        assert nets.decoder()(z).shape == x.shape
        assert nets.decoder(5)(z[:, :5]).shape == x.shape
        assert nets.grid_encoder(5)(x).shape == grid.shape
        assert nets.grid_decoder(5)(grid).shape == x.shape
        assert nets.critic()(z).shape == (2, 1)
        assert nets.flow()(z)[0].shape == z.shape
    assert nets.pixels == x[0].numel()


@pytest.mark.parametrize("nets", [DIGITS, Nets((1, 256, 256), 2, 2, 10)], ids=lambda nets: f"side{nets.shape[1]}")
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_initial_weights_are_drawn_in_the_order_of_the_layers(nets: Nets, part: str) -> None:
    torch.manual_seed(3)
    made = getattr(nets, part)()
    again = copy.deepcopy(made)
    torch.manual_seed(3)
    for layer in again.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    assert all(map(torch.equal, made.parameters(), again.parameters()))


def test_networks_are_described_layer_by_layer() -> None:
    with torch.device("meta"):
        parts = MNIST.encoder(), MNIST.decoder(), MNIST.flow(), MNIST.critic(), MNIST.flow(context=512)
        parts += GatedPixelCNN(128, channels=32, layers=8), nn.Sequential(nn.Linear(2, 3), nn.SiLU())
    assert [describe(part) for part in parts] == [
        "4x4 Conv64, ReLU, 4x4 Conv128, BN, ReLU, FC1024, BN, ReLU, FC20",
        "FC1024, BN, ReLU, FC6272, BN, ReLU, 4x4 Deconv64, BN, ReLU, 4x4 Deconv1, Sigmoid",
        "4 blocks of 2 affine couplings (FC 10-64-64-20, log scale within ±5) and a fixed permutation",
        "FC512, ReLU, FC512, ReLU, FC512, ReLU, FC512, ReLU, FC1",
        "4 blocks of 2 affine couplings (FC 10-64-64-20, log scale within ±5) and a fixed permutation, "
        "conditioned on 512 features",
        "8 gated layers of 32 channels (2x3 above, 1x2 left), 1x1 Conv128",
        "FC3, SiLU",
    ]


def test_an_encoder_applies_its_head_to_its_features() -> None:
    encoder = DIGITS.encoder().eval()
    x = torch.rand(3, *DIGITS.shape)
    assert torch.equal(encoder(x), encoder.head(encoder.features(x)))
    assert encoder.features(x).min() == 0  # after the ReLU


def test_decoders_stay_within_zero_and_one() -> None:
    images = DIGITS.decoder().eval()(100 * torch.randn(50, DIGITS.d))
    assert images.min() >= 0 and images.max() <= 1


def test_mixed_leaves_fp32_networks_alone_and_runs_any_module_in_bf16() -> None:
    x = torch.randn(4, 3)
    torch.manual_seed(1)
    exact = DIGITS.mixed(nn.Linear(3, 3))
    torch.manual_seed(1)
    rounded = Nets((1, 8, 8), 8, 32, 10, precision="bf16").mixed(nn.Linear(3, 3))
    assert rounded(x).dtype == torch.float32
    assert torch.equal(rounded(x), rounded(x).bfloat16().float())
    assert not torch.equal(exact(x), exact(x).bfloat16().float())


@pytest.mark.parametrize("how", [{"precision": "bf16"}, {"compile": True}])
def test_mixed_passes_on_arguments_by_name(how: Any) -> None:
    class Timed(nn.Linear):
        def forward(self, x: Tensor, *, t: Tensor) -> Tensor:
            return super().forward(x) + t

    net = Nets((1, 8, 8), 8, 32, 10, **how).mixed(Timed(3, 3)).eval()
    x = torch.randn(4, 3)
    assert torch.allclose(net(x, t=torch.ones(())), net(x, t=torch.zeros(())) + 1, atol=0.02)


# ---- flow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [6, 5])
@pytest.mark.parametrize("context", [0, 3])
def test_the_flows_logdet_is_that_of_its_jacobian_and_its_inverse_undoes_it(d: int, context: int) -> None:
    flow = CouplingFlow(d, 16, context=context).double()
    z = torch.randn(4, d, dtype=torch.float64)
    c = torch.randn(4, context, dtype=torch.float64) if context else None
    e, logdet = (v.detach() for v in flow(z, c))
    for i in range(4):
        ci = None if c is None else c[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(lambda v, ci=ci: flow(v[None], ci)[0][0], z[i])
        assert float(torch.linalg.slogdet(jacobian).logabsdet) == pytest.approx(float(logdet[i]), abs=1e-8)
    assert torch.allclose(flow.inverse(e, c), z, atol=1e-10)
    assert torch.allclose(flow(flow.inverse(z, c), c)[0], z, atol=1e-10)
    base = Independent(Normal(torch.zeros(d, dtype=torch.float64), 1), 1)
    assert torch.allclose(flow.nll(z, c), -base.log_prob(e) - logdet, atol=1e-10)


@pytest.mark.parametrize("d", [6, 5])
def test_four_blocks_change_every_coordinate_exactly_four_times(d: int) -> None:
    flow = CouplingFlow(d, 8)
    s = 0.25
    with torch.no_grad():  # every coupling multiplies what it changes by exp(s) and adds nothing
        for coupling in [*flow.lower, *flow.upper]:
            last = coupling.rest[-1]  # type: ignore[index,union-attr]
            half = len(last.bias) // 2
            last.weight.zero_()
            last.bias[:half] = 5 * math.tan(s / (0.636 * 5))
            last.bias[half:] = 0
        z = torch.arange(1.0, d + 1)[None]
        e, logdet = flow(z)
    assert torch.allclose(e.sort().values, z * math.exp(4 * s), rtol=1e-5)
    assert float(logdet) == pytest.approx(4 * s * d, rel=1e-5)


def test_log_scales_stay_below_the_clamp() -> None:
    flow = CouplingFlow(4, 8, blocks=1)
    with torch.no_grad():
        for coupling in [*flow.lower, *flow.upper]:
            coupling.rest[-1].bias.fill_(1e9)  # type: ignore[index,union-attr]
    assert 4 * 4.99 < flow(torch.zeros(1, 4))[1].item() < 4 * 5


def test_a_context_changes_the_result() -> None:
    flow = CouplingFlow(4, 8, context=3)
    z = torch.randn(2, 4)
    assert not torch.allclose(flow(z, torch.zeros(2, 3))[0], flow(z, torch.ones(2, 3))[0], atol=1e-4)


def test_the_state_dict_holds_the_permutations() -> None:
    flow, other = CouplingFlow(8, 8), CouplingFlow(8, 8)
    z = torch.randn(2, 8)
    assert not torch.equal(flow.order, other.order)
    other.load_state_dict(flow.state_dict())
    assert torch.equal(flow(z)[0], other(z)[0])
    assert torch.equal(flow.inverse(z), other.inverse(z))


# ---- losses -------------------------------------------------------------------------------------


def _gaussians() -> tuple[Tensor, Tensor, Independent]:
    mu, logvar = torch.randn(2, 6, 5, dtype=torch.float64).unbind()
    return mu, logvar, Independent(Normal(mu, torch.exp(0.5 * logvar)), 1)


def test_kl_and_entropy_are_those_of_torch_distributions() -> None:
    mu, logvar, q = _gaussians()
    standard = Independent(Normal(torch.zeros_like(mu), 1), 1)
    assert torch.allclose(kl_standard_normal(mu, logvar), kl_divergence(q, standard), atol=1e-12)
    assert torch.allclose(gaussian_entropy(logvar), q.entropy(), atol=1e-12)
    assert torch.allclose(standard_normal_nll(mu), -standard.log_prob(mu), atol=1e-12)


def test_a_reparameterised_sample_has_the_given_mean_and_deviation() -> None:
    mu, logvar, q = _gaussians()
    assert torch.equal(reparameterise(mu, logvar, torch.zeros_like(mu)), mu)
    assert torch.allclose(reparameterise(mu, logvar, torch.ones_like(mu)) - mu, q.base_dist.stddev, atol=1e-12)


def test_half_sse_is_the_gaussian_log_density_up_to_its_constant() -> None:
    x, x_hat = torch.rand(2, 4, 3, 8, 8, dtype=torch.float64).unbind()
    nll = -Independent(Normal(x_hat, 1), 3).log_prob(x)
    constant = torch.full((4,), 3 * 8 * 8 / 2 * math.log(2 * math.pi), dtype=torch.float64)
    assert torch.allclose(nll - half_sse(x_hat, x), constant, atol=1e-10)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _before_normalisation(layers: nn.Sequential) -> list[nn.Module]:
    weighted = [layer for layer in layers if list(layer.parameters())]
    return [layer for layer, after in pairwise(weighted) if isinstance(after, nn.BatchNorm2d)]


def test_a_copy_of_a_bf16_network_uses_its_own_weights() -> None:
    decoder = Nets((1, 8, 8), 8, 32, 10, precision="bf16").decoder().eval()
    average = copy.deepcopy(decoder)
    with torch.no_grad():
        average.body[0].weight.zero_()
        z = torch.randn(2, 8)
        assert torch.equal(average(z)[0], average(z)[1]), "with zero weights on z, all images are the same"
        assert not torch.equal(decoder(z)[0], decoder(z)[1])
