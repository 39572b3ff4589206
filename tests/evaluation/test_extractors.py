"""The extractors `pixels`, `wavelet`, `dinov2` and `classifier`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from measuring import scored
from PIL import Image
from safetensors import safe_open
from scipy.linalg import hadamard, sqrtm
from torch import nn

from aegen_bench import weights
from aegen_bench.errors import UserError
from aegen_bench.evaluation import Protocol, extractors, vision_transformer
from aegen_bench.evaluation.extractors import classifier, dinov2, dinov2_small
from aegen_bench.evaluation.features import extract
from aegen_bench.evaluation.train_classifier import PLANS

DOCS = Path(__file__).parents[2] / "docs/extractors.md"


def noise(n, channels=3, side=28, seed=0):
    return np.random.default_rng(seed).integers(256, size=(n, channels, side, side)).astype(np.uint8)


def features(network, images):
    return extract(images, network, batch=2, device="cpu")


# ---- pixels


def test_pixels_are_those_of_pillows_bilinear_filter_whatever_the_size(tmp_path):
    network = extractors.build("pixels", tmp_path, "digits")
    for side in (8, 16, 28, 64):
        images = noise(3, side=side)
        found = features(network, images)
        assert found.shape == (3, extractors.recipe("pixels").dim) and found.min() >= 0 and found.max() <= 1
        for image, row in zip(images, found, strict=True):
            pillow = [Image.fromarray(x.astype(np.float32)).resize((16, 16), Image.Resampling.BILINEAR) for x in image]
            np.testing.assert_allclose(row, np.stack(pillow).ravel() / 255, atol=1e-5)


def test_pixels_of_grey_images_are_three_equal_channels(tmp_path):
    found = features(extractors.build("pixels", tmp_path, "digits"), noise(2, channels=1)).reshape(2, 3, 256)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    np.testing.assert_array_equal(found[:, 0], found[:, 2])


# ---- wavelet


def haar_packets(image, level):
    """Return the packets [4^level, c, s / 2^level, s / 2^level] of an image [c, s, s].

    They are its blocks of 2^level x 2^level pixels, multiplied by the Walsh functions.
    """
    block = 2**level
    walsh = hadamard(block) / block**0.5
    blocks = image.reshape(len(image), image.shape[1] // block, block, image.shape[2] // block, block)
    found = np.einsum("ai,bj,cyixj->abcyx", walsh, walsh, blocks)
    return found.reshape(block**2, *found.shape[2:])


@pytest.mark.parametrize(("side", "level"), [(8, 1), (28, 1), (32, 1), (64, 2), (256, 4)])
def test_wavelet_packets_are_products_with_walsh_functions_at_the_papers_level(side, level, tmp_path):
    images = noise(2, side=side)
    found = features(extractors.build("wavelet", tmp_path, "digits"), images)
    assert found.shape == (2, 4**level, 3 * side**2 // 4**level) and found.dtype == np.float32
    for image, packets in zip(images, found, strict=True):
        expected = haar_packets(image / 255, level).reshape(4**level, -1)
        for packet in packets:  # the order of packets has no meaning
            assert np.abs(expected - packet).max(axis=1).min() < 1e-5


def test_odd_sides_are_extended_by_the_pixel_before_the_last(tmp_path):
    image = noise(1, side=29)
    network = extractors.build("wavelet", tmp_path, "digits")
    np.testing.assert_array_equal(
        features(network, image), features(network, np.pad(image, [(0, 0)] * 2 + [(0, 1)] * 2, "reflect"))
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_the_wavelet_distance_is_the_mean_over_packets_as_the_authors_tool_computes_it(channels, tmp_path):
    """The tool converts images to RGB and takes, in float64, the square root of the product of the covariances.

    Of the metrics used here, only `fd` and `reconstruction_fd` apply to packets.
    """
    generated, real = noise(300, channels, side=8), noise(300, channels, side=8, seed=1) // 2
    protocol = Protocol(extractor="wavelet", count=300, metrics=("fd", "reconstruction_fd", "fd_infinity", "kid"))
    swapped = {"reconstructions": lambda: (real, generated)}
    found = scored(protocol, generated=[generated], real=real, data_folder=tmp_path, **swapped)

    def packets(images):
        rgb = np.repeat(images, 3 // channels, axis=1) / 255
        return np.stack([haar_packets(image, 1).reshape(4, -1) for image in rgb], axis=1)

    distances = []
    for a, b in zip(packets(generated), packets(real), strict=True):
        cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
        root = sqrtm(cov_a @ cov_b).real
        distances.append(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root))
    assert found.draws[0] == {"fwd": pytest.approx(np.mean(distances), rel=1e-4)}
    assert found.model["reconstruction_fd"] == found.draws[0]["fwd"] and not found.failed
    assert all("packets" in found.settings[name]["not_applicable"] for name in ("fd_infinity", "kid"))
    again = scored(protocol, generated=[generated], real=real, data_folder=tmp_path, **swapped)
    assert again.draws == found.draws  # computed from the cached features and reference


# ---- dinov2


@pytest.fixture(scope="module")
def transformer():
    """The network, with random weights that make every part matter."""
    network = vision_transformer.VisionTransformer(384, 6, 12).eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        spread = parameter[0].numel() ** -0.5 if name.endswith("weight") and parameter.ndim > 1 else 0.3
        parameter.add_(spread * torch.randn(parameter.shape, generator=draw))
    return network


def test_parameters_are_named_as_in_the_official_file(transformer):
    shapes = {name: tuple(value.shape) for name, value in transformer.state_dict().items()}
    block = {
        "norm1.weight": (384,),
        "norm1.bias": (384,),
        "attn.qkv.weight": (1152, 384),
        "attn.qkv.bias": (1152,),
        "attn.proj.weight": (384, 384),
        "attn.proj.bias": (384,),
        "ls1.gamma": (384,),
        "norm2.weight": (384,),
        "norm2.bias": (384,),
        "mlp.fc1.weight": (1536, 384),
        "mlp.fc1.bias": (1536,),
        "mlp.fc2.weight": (384, 1536),
        "mlp.fc2.bias": (384,),
        "ls2.gamma": (384,),
    }
    assert shapes == {
        "cls_token": (1, 1, 384),
        "pos_embed": (1, 1370, 384),
        "mask_token": (1, 384),
        "patch_embed.proj.weight": (384, 3, 14, 14),
        "patch_embed.proj.bias": (384,),
        **{f"blocks.{i}.{name}": shape for i in range(12) for name, shape in block.items()},
        "norm.weight": (384,),
        "norm.bias": (384,),
    }


def cubic(target: int, scale: float, source: int) -> np.ndarray:
    """Return the matrix [target, source] of cubic convolution (Keys 1981, a = -0.75) at `scale`; borders repeat."""
    matrix = np.zeros((target, source))
    for i in range(target):
        at = (i + 0.5) / scale - 0.5
        for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            t = abs(at - j)
            inner, outer = 1.25 * t**3 - 2.25 * t**2 + 1, -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
            matrix[i, min(max(j, 0), source - 1)] += inner if t <= 1 else outer
    return matrix


@pytest.mark.slow
def test_dinov2_equals_torchvisions_transformer_with_equal_weights(transformer):
    from torchvision.models import VisionTransformer

    state = transformer.state_dict()
    to_16 = torch.from_numpy(cubic(16, 16.1 / 37, 37)).float()  # 16.1: see facebookresearch/dino, issue 8
    grid = state["pos_embed"][0, 1:].reshape(37, 37, 384)
    grid = torch.einsum("ai,bj,ijc->abc", to_16, to_16, grid).reshape(1, 256, 384)
    theirs = {
        "class_token": state["cls_token"],
        "conv_proj.weight": state["patch_embed.proj.weight"],
        "conv_proj.bias": state["patch_embed.proj.bias"],
        "encoder.pos_embedding": torch.cat([state["pos_embed"][:, :1], grid], dim=1),
        "encoder.ln.weight": state["norm.weight"],
        "encoder.ln.bias": state["norm.bias"],
    }
    names = {"attn.qkv": "self_attention.in_proj_", "norm1": "ln_1.", "norm2": "ln_2.", "mlp.fc1": "mlp.0."}
    # torchvision's transformer has no layer scale, so it is multiplied into the layer before it.
    scaled = {"attn.proj": ("self_attention.out_proj.", "ls1"), "mlp.fc2": ("mlp.3.", "ls2")}
    for i in range(12):
        for kind in ("weight", "bias"):
            layer = f"encoder.layers.encoder_layer_{i}."
            theirs |= {layer + their + kind: state[f"blocks.{i}.{our}.{kind}"] for our, their in names.items()}
            for our, (their, scale) in scaled.items():
                gamma, value = state[f"blocks.{i}.{scale}.gamma"], state[f"blocks.{i}.{our}.{kind}"]
                theirs[layer + their + kind] = gamma.unflatten(0, (-1, *[1] * (value.ndim - 1))) * value
    reference = VisionTransformer(224, 14, 12, 6, 384, 1536, norm_layer=lambda d: nn.LayerNorm(d, eps=1e-6)).eval()
    reference.heads = nn.Identity()
    reference.load_state_dict(theirs)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, expected = transformer(x), reference(x)
    assert ours.shape == (2, 384) and (ours[0] - ours[1]).abs().max() > 0.1
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [28, 32, 64, 300])
def test_images_are_resized_as_pillow_resizes_them(side):
    image = noise(1, side=side)
    pillow = Image.fromarray(image[0].transpose(1, 2, 0)).resize((224, 224), Image.Resampling.BICUBIC)
    ours = vision_transformer.resized(torch.from_numpy(image))[0].permute(1, 2, 0).numpy()
    gap = np.abs(ours - np.asarray(pillow, np.float32))
    assert gap.max() <= 2 and (gap > 0).mean() < 0.02, (
        "only rounding may differ: pixels are whole numbers, and Pillow's factors have 8 bits less"
    )


@pytest.mark.slow
def test_dinov2_reads_the_official_layout_and_normalises_for_imagenet(transformer, tmp_path, monkeypatch):
    torch.save(transformer.state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(weights, "path", lambda name, folder: tmp_path / "weights.pth")
    network = extractors.build("dinov2_small", tmp_path, "digits")
    grey = noise(2, channels=1, side=32)
    found = features(network, grey)
    x = vision_transformer.resized(torch.from_numpy(grey)) / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    np.testing.assert_allclose(found, transformer(x).numpy(), rtol=1e-4, atol=1e-4)


def test_dinov2_is_the_large_network_and_the_small_one_keeps_its_protocol_id(monkeypatch):
    sizes = {}
    monkeypatch.setattr(torch, "load", lambda file, **how: sizes.setdefault("state", {}))
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda network, state: sizes.update(network=network))
    for module, parameters in ((dinov2, 304_368_640), (dinov2_small, 22_056_576)):
        with torch.device("meta"):
            module.build(None)
        assert sum(p.numel() for p in sizes["network"].parameters()) == parameters
        assert sizes["network"].norm.weight.numel() == extractors.recipe(module.__name__.rpartition(".")[2]).dim
    ids = [Protocol(extractor=name).id for name in ("dinov2_small", "dinov2")]
    assert ids[0] == "4e1e9a3844c9" != ids[1]


def test_missing_dinov2_weights_say_how_to_fetch_them(tmp_path):
    with pytest.raises(UserError, match="`aegen-bench fetch dinov2 --data "):
        extractors.build("dinov2", tmp_path, "digits")


# ---- classifier

SHIPPED = sorted(name for name, file in weights.FILES.items() if file.packages == ("aegen_bench",))


def metadata(name, folder):
    with safe_open(weights.path(name, folder), "pt") as held:
        return held.metadata()


@pytest.mark.parametrize("dataset", extractors.recipe("classifier").weights)
def test_a_classifier_gives_finite_repeatable_features_from_verified_weights(dataset, tmp_path):
    network = extractors.build("classifier", tmp_path, dataset)
    images = noise(5, channels=1)
    found = features(network, images)
    assert found.shape == (5, extractors.recipe("classifier").dim) and found.dtype == np.float32
    assert np.isfinite(found).all() and found.min() >= 0 and found.std(axis=0).max() > 0
    np.testing.assert_array_equal(found, features(extractors.build("classifier", tmp_path, dataset), images))
    np.testing.assert_array_equal(found, features(network, images.repeat(3, axis=1)))


def test_two_datasets_have_different_networks(tmp_path):
    names = extractors.recipe("classifier").weights
    assert set(names.values()) == set(SHIPPED)
    found = [
        features(extractors.build("classifier", tmp_path, dataset), noise(2)) for dataset in ("fashion", "cifar10")
    ]
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_a_dataset_without_a_network_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="has weights for cifar10, fashion, mnist, none for digits"):
        extractors.build("classifier", tmp_path, "digits")


def test_another_file_in_place_of_shipped_weights_is_refused(tmp_path, monkeypatch):
    wrong = replace(weights.FILES["classifier_fashion"], sha256="0" * 64)
    monkeypatch.setitem(weights.FILES, "classifier_fashion", wrong)
    with pytest.raises(UserError, match=r"expected sha256 0{64}, found .*: install the package again"):
        extractors.build("classifier", tmp_path, "fashion")
    monkeypatch.setitem(weights.FILES, "classifier_fashion", replace(wrong, filename="elsewhere.safetensors"))
    with pytest.raises(UserError, match=r"pip install aegen-bench$"):
        extractors.build("classifier", tmp_path, "fashion")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_small_and_the_docs_say_how_they_were_trained(name, tmp_path):
    network = extractors.build("classifier", tmp_path, name.removeprefix("classifier_"))
    assert sum(parameter.numel() for parameter in classifier.Classifier().parameters()) <= 400_000
    assert sum(buffer.numel() for buffer in network.state_dict().values()) < 400_000
    about = metadata(name, tmp_path)
    row = next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{about['dataset']}` |"))
    for said in (f"{int(about['n_train']):,}", about["epochs"], f"{float(about['test_accuracy']):.2%}"):
        assert said in row
    assert f"python -m aegen_bench.evaluation.train_classifier {about['dataset']}\n" in DOCS.read_text()
    assert about["epochs"] == str(PLANS[about["dataset"]].epochs) and about["seed"] == "0"
