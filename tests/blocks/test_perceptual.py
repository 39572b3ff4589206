"""The perceptual loss: compared with torchvision's network, and how rows select it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import Bench
from torch import Tensor, nn
from torchvision.models import vgg16

from aegen_bench import weights
from aegen_bench.blocks.execution import tf32
from aegen_bench.blocks.perceptual import PerceptualLoss
from aegen_bench.study import catalog
from aegen_bench.trial import model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plain() -> nn.Sequential:
    """torchvision's layers with their in-place ReLUs, seeded weights, and biases that are not zero."""
    with torch.device("meta"):
        features = vgg16(weights=None).features
    draw = torch.Generator().manual_seed(0)
    made = {
        k: torch.randn(v.shape, generator=draw) * (2 / v[0].numel()) ** 0.5 for k, v in features.state_dict().items()
    }
    features.load_state_dict(made, assign=True)
    return features.requires_grad_(False)


def vgg(plain: nn.Sequential, side: int) -> PerceptualLoss:
    return PerceptualLoss("vgg16", side, lambda: {f"features.{k}": v for k, v in plain.state_dict().items()})


def pair(side: int, channels: int = 3, n: int = 2) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(side)
    return torch.rand(n, channels, side, side, generator=draw), torch.rand(n, channels, side, side, generator=draw)


def as_published(plain: nn.Sequential, x: Tensor, levels: int) -> list[Tensor]:
    """Return the outputs of layers 2, 7, 12, ... of torchvision, changed in place by the ReLUs that follow."""
    kept: list[Tensor] = []
    wanted = [2, 7, 12, 21, 30][:levels]
    hooks = [plain[i].register_forward_hook(lambda module, inputs, output: kept.append(output)) for i in wanted]
    plain[: wanted[-1] + 1](x)
    for hook in hooks:
        hook.remove()
    return kept


@pytest.mark.parametrize(("side", "levels"), [(32, 3), (64, 4), (72, 5)])
def test_the_taps_are_those_of_the_published_code_with_its_in_place_relus(
    plain: nn.Sequential, side: int, levels: int
) -> None:
    x, _ = pair(side)
    seen, *ours = vgg(plain, side).maps(x, 1, levels)
    theirs = as_published(plain, 2 * x - 1, levels)
    assert torch.equal(seen, 2 * x - 1)
    assert len(ours) == len(theirs) == levels
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))
    assert min(float(tap.min()) for tap in ours[:-1]) == 0, "after the ReLU"
    assert (float(ours[-1].min()) < 0) == (levels < 5), "the last of 3 or 4 is before the ReLU; the fifth is a pooling"


def test_the_distance_is_the_sum_of_means_over_pixels_and_taps(plain: nn.Sequential) -> None:
    x_hat, x = pair(32)
    a, b = (as_published(plain, 2 * v - 1, 3) for v in (x_hat, x))
    apart = [2 * (x_hat - x), *(p - q for p, q in zip(a, b, strict=True))]
    loss = vgg(plain, 32)
    assert torch.allclose(loss(x_hat, x), sum(v.abs().mean((1, 2, 3)) for v in apart), rtol=1e-5)
    assert torch.equal(loss(x, x), torch.zeros(2))


def test_images_above_64_px_are_also_compared_at_a_quarter_of_their_size(plain: nn.Sequential) -> None:
    x_hat, x = pair(72, n=1)
    loss = vgg(plain, 72)
    wanted = torch.zeros(1)
    for levels, size in ((5, 72), (4, 18)):
        a, b = (F.adaptive_avg_pool2d(2 * v - 1, size) for v in (x_hat, x))
        taps = zip([a, *as_published(plain, a, levels)], [b, *as_published(plain, b, levels)], strict=True)
        wanted = wanted + sum((p - q).abs().mean() for p, q in taps)
    assert torch.allclose(loss(x_hat, x), wanted, rtol=1e-5)


def test_grey_images_are_as_far_apart_as_their_rgb_copies(plain: nn.Sequential) -> None:
    x_hat, x = pair(32, channels=1)
    loss = vgg(plain, 32)
    assert torch.allclose(loss(x_hat, x), loss(x_hat.repeat(1, 3, 1, 1), x.repeat(1, 3, 1, 1)), rtol=1e-6)


def test_images_of_28_px_are_padded_with_black_to_32_px_before_rescaling(plain: nn.Sequential) -> None:
    x_hat, x = pair(28, channels=1)
    seen = vgg(plain, 28).maps(x, 1, 3)[0]
    assert seen.shape == (2, 3, 32, 32)
    assert float(seen[..., :2, :].max()) == float(seen[..., -2:].max()) == -1
    assert torch.equal(seen[:, :1, 2:-2, 2:-2], 2 * x - 1)
    assert torch.allclose(vgg(plain, 28)(x_hat, x), vgg(plain, 32)(F.pad(x_hat, [2] * 4), F.pad(x, [2] * 4)))


@pytest.mark.parametrize(("side", "strides"), [(8, (2, 4, 8)), (28, (2, 4, 8)), (32, (2, 4, 8)), (64, (2, 4, 8, 16))])
def test_efficientnet_is_read_at_the_last_block_of_each_stride(side: int, strides: tuple[int, ...]) -> None:
    loss, (x_hat, x) = lite(side), pair(side, channels=1)
    seen, *taps = loss.maps(x, 1, len(strides))
    padded = -(-side // 8) * 8
    assert torch.allclose(
        seen, (255 * F.pad(x, [(padded - side) // 2] * 4) - 127).expand(-1, 3, -1, -1) / 128, atol=1e-6
    )
    assert [tap.shape[1:] for tap in taps] == [
        (channels, padded // stride, padded // stride)
        for channels, stride in zip((16, 24, 40, 112), strides, strict=False)
    ]
    assert torch.equal(loss(x, x), torch.zeros(2)) and float(loss(x_hat, x).min()) > 0


def test_efficientnets_first_layers_are_those_of_the_extractor(tmp_path: Path) -> None:
    from aegen_bench.evaluation import extractors

    network = extractors.build("efficientnet_lite0", tmp_path, "fashion").network
    kept: dict[int, Tensor] = {}
    for i in (0, 2, 4, 10):
        network._blocks[i].register_forward_hook(lambda module, inputs, output, i=i: kept.update({i: output}))
    x, _ = pair(64)
    with torch.no_grad():
        network.extract_features((255 * x - 127) / 128)
    ours = lite(64).maps(x, 1, 4)[1:]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, kept.values(), strict=True))


def test_gradients_flow_through_the_reconstruction_only() -> None:
    loss = lite(8)
    x_hat, x = (v.requires_grad_() for v in pair(8, channels=1))
    loss(x_hat, x).mean().backward()
    assert x.grad is None and x_hat.grad is not None and float(x_hat.grad.abs().sum()) > 0


def test_the_network_follows_the_images_to_their_device_and_back() -> None:
    loss, (x_hat, x) = lite(8), pair(8, channels=1)
    before = loss(x_hat, x)
    assert loss(x_hat.to("meta"), x.to("meta")).device.type == "meta"
    assert torch.equal(loss(x_hat, x), before)


def lite(side: int) -> PerceptualLoss:
    pytest.importorskip("efficientnet_lite_pytorch")
    return PerceptualLoss("efficientnet_lite0", side, lambda: weights.load("efficientnet_lite0", Path()))


# ---- how it runs -----------------------------------------------------------------------------------


def flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


class Watched(nn.Module):
    """A layer that records the TF32 flags of its forward and backward passes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.seen = layer, list[Any]()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        self.seen.append(("forward", flags()))
        if y.requires_grad:
            y.register_hook(lambda gradient: self.seen.append(("backward", flags())))
        return y


def gradient(loss: PerceptualLoss, x_hat: Tensor, x: Tensor, around: bool = False) -> tuple[Tensor, Tensor]:
    """Return distance and gradient of a loss with a second term, whose backward pass comes after the network's."""
    x_hat = x_hat.clone().requires_grad_()
    with tf32(around):
        distance = loss(2 * x_hat, x)
        (distance.mean() + x_hat.square().sum()).backward()
    assert x_hat.grad is not None
    return distance.detach(), x_hat.grad


@pytest.mark.parametrize(("precision", "around"), [("tf32", "fp32"), ("tf32", "bf16"), ("fp32", "tf32")])
def test_the_network_may_use_tf32_differently_from_the_step_around_it(
    plain: nn.Sequential, precision: str, around: str
) -> None:
    state = {f"features.{k}": v for k, v in plain.state_dict().items()}
    usual, apart = (
        PerceptualLoss("vgg16", 32, lambda: state),
        PerceptualLoss("vgg16", 32, lambda: state, precision=precision, around=around),
    )
    layers = apart._layers(torch.device("cpu"))
    layers[0] = watched = Watched(layers[0])
    x_hat, x = pair(32)
    (distance, slope), (same, same_slope) = gradient(usual, x_hat, x), gradient(apart, x_hat, x, around == "tf32")
    assert torch.equal(distance, same) and torch.allclose(slope, same_slope, rtol=1e-5, atol=1e-8)
    on = (precision == "tf32", precision == "tf32")
    assert watched.seen == [("forward", on), ("forward", on), ("backward", on)]
    with torch.no_grad():
        assert torch.equal(apart(2 * x_hat, x), distance)


def test_in_bf16_the_network_rounds_and_the_distance_is_float32(plain: nn.Sequential) -> None:
    state = {f"features.{k}": v for k, v in plain.state_dict().items()}
    usual, rounded = (
        PerceptualLoss("vgg16", 32, lambda: state),
        PerceptualLoss("vgg16", 32, lambda: state, precision="bf16", around="bf16"),
    )
    (distance, slope), (other, other_slope) = (gradient(loss, *pair(32)) for loss in (usual, rounded))
    assert other.dtype == other_slope.dtype == torch.float32
    assert [a.dtype for a in rounded.maps(pair(32)[0], 1, 3)] == [torch.float32, *[torch.bfloat16] * 3]
    assert not torch.equal(distance, other) and torch.allclose(distance, other, rtol=1e-2)
    assert not torch.equal(slope, other_slope) and float((slope - other_slope).norm() / slope.norm()) < 0.1


@pytest.mark.slow
def test_the_network_is_compiled_as_one_graph_in_training_steps_only(
    plain: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **o: real(f, **o, backend=backend, fullgraph=True))
    state = {f"features.{k}": v for k, v in plain.state_dict().items()}
    usual, fast = (PerceptualLoss("vgg16", 32, lambda: state, compile=on) for on in (False, True))
    x_hat, x = pair(32)
    with torch.no_grad():
        assert torch.equal(usual(x_hat, x), fast(x_hat, x)) and graphs == []
    (distance, slope), (same, same_slope) = gradient(usual, x_hat, x), gradient(fast, x_hat, x)
    assert len(graphs) == 2, "with and without gradients"
    assert torch.equal(distance, same) and torch.equal(slope, same_slope)
    torch.compiler.reset()


# ---- a row that asks for it -----------------------------------------------------------------------


def test_a_model_with_a_perceptual_loss_holds_nothing_of_its_network(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    entry = catalog.read("glf", ROOT / "baselines" / "glf.py")
    config: dict[str, Any] = {"d": 4, "flow_width": 8, "precision": "fp32", "with": {}}
    kinds: list[dict[str, Any]] = [{"recon": "sse"}, {"recon": "perceptual", "perceptual_net": "efficientnet_lite0"}]
    plain, made = (model.build(config | kind, entry, (1, 8, 8), 24, 0, tmp_path) for kind in kinds)
    logged: dict[str, Tensor] = {}
    x_hat, x = pair(8, channels=1)
    with made.using(None, lambda name, value: logged.update({name: value})):
        distance = made.recon(x_hat, x)
    assert torch.equal(distance, lite(8)(x_hat, x).mean())
    assert float(logged["half_sse"]) == pytest.approx(float((x_hat - x).square().sum() / 4), rel=1e-5)
    assert model.anatomy(made) == model.anatomy(plain)
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), plain.state_dict().values(), strict=True))


def test_missing_weights_of_the_loss_are_reported_before_anything_trains(bench: Bench) -> None:
    rows = {"glf_perceptual": {"baseline": "glf", "recon": "perceptual"}}
    bench.declare(rows=rows, profiles=bench.tiny(models=["glf", "glf_perceptual"], perceptual_net="vgg16"))
    ended = bench("run", "--profile", "tiny")
    assert ended.code == 2 and not (bench.folder / "results").exists()
    assert ended.err.count("\n") == 1 and ended.err.endswith("`aegen-bench fetch vgg16`\n")
    assert "row glf_perceptual needs vgg16" in ended.err


def test_a_file_that_is_not_the_weights_is_never_used_in_training(bench: Bench) -> None:
    rows = {"glf_perceptual": {"baseline": "glf", "recon": "perceptual"}}
    bench.declare(rows=rows, profiles=bench.tiny(models=["glf_perceptual"], perceptual_net="vgg16"))
    (bench.data / "weights").mkdir(parents=True)
    (bench.data / "weights" / weights.FILES["vgg16"].filename).write_bytes(b"something else")
    assert bench("run", "--profile", "tiny").code == 1
    record = bench.record("glf_perceptual")
    assert record["status"] == "failed" and "expected sha256" in record["reason"] and record["stages"] == {}
