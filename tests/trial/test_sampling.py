"""From a trained method to uint8 images: rounding, batches, seeds, interpolation, reconstruction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline
from aegen_bench.blocks.nets import Nets
from aegen_bench.errors import Diverged
from aegen_bench.trial import sampling

CPU = torch.device("cpu")
NETS = Nets((1, 2, 2), d=4, flow_width=4, n_train=10)


class Sigmoid(Baseline):
    """Its codes are the logits of its four pixels."""

    def __init__(self) -> None:
        super().__init__(NETS)
        self.scale = nn.Parameter(torch.ones(()))

    def decode(self, z: Tensor) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        return torch.sigmoid(self.scale * z).view(-1, 1, 2, 2)


class Identity(Sigmoid):
    """Its codes are the pixels."""

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        return z.view(-1, 1, 2, 2)


def test_floats_are_rounded_to_the_nearest_byte_and_kept_in_range() -> None:
    x = torch.tensor([-0.1, 0.0, 0.49 / 255, 0.51 / 255, 0.5, 254.6 / 255, 1.0, 1.1])
    assert sampling.to_uint8(x).tolist() == [0, 0, 0, 1, 128, 255, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert sampling.to_uint8(every.float() / 255).tolist() == every.tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_image_that_is_not_finite_diverges(value: float) -> None:
    model = Sigmoid()
    with torch.no_grad():
        model.scale.fill_(float("nan"))
    with pytest.raises(Diverged, match="a generated image is not finite"):
        sampling.generate(model, 3, seed=0, draw=0, device=CPU)
    with pytest.raises(Diverged):
        sampling.to_uint8(torch.tensor([0.5, value]))


def test_generated_images_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sampling.generate(Sigmoid(), 7, seed=0, draw=0, device=CPU)
    monkeypatch.setattr(sampling, "BATCH", 3)
    assert whole.shape == (7, 1, 2, 2) and whole.dtype == np.uint8
    np.testing.assert_array_equal(sampling.generate(Sigmoid(), 7, seed=0, draw=0, device=CPU), whole)


def test_a_draw_is_repeated_by_its_seed_and_number_and_differs_from_every_other() -> None:
    def draw(seed: int, number: int) -> bytes:
        return sampling.generate(Sigmoid(), 5, seed=seed, draw=number, device=CPU).tobytes()

    assert draw(0, 0) == draw(0, 0)
    assert len({draw(seed, number) for seed in (0, 1) for number in (0, 1)}) == 4


def test_sampling_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    sampling.generate(Sigmoid(), 5, seed=0, draw=0, device=CPU)
    noise = sampling.fixed_noise(Sigmoid(), 4, CPU)
    sampling.interpolate(Sigmoid(), noise[:2], noise[2:], 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_interpolations_are_straight_in_noise_space_and_end_at_the_samples_of_their_noise() -> None:
    model = Sigmoid()
    e = sampling.fixed_noise(model, 4, CPU)
    images = sampling.interpolate(model, e[:2], e[2:], steps=5)
    assert images.shape == (2, 5, 1, 2, 2)
    np.testing.assert_array_equal(images[:, 0], sampling.decode_noise(model, e[:2]))
    np.testing.assert_array_equal(images[:, 4], sampling.decode_noise(model, e[2:]))
    np.testing.assert_array_equal(images[:, 1], sampling.decode_noise(model, 0.75 * e[:2] + 0.25 * e[2:]))


def test_fixed_noise_is_the_same_for_every_method_with_the_same_noise() -> None:
    assert torch.equal(sampling.fixed_noise(Sigmoid(), 3, CPU), sampling.fixed_noise(Identity(), 3, CPU))


def test_a_reconstruction_is_the_decoded_code_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BATCH", 30)
    images = np.arange(256, dtype=np.uint8).reshape(64, 1, 2, 2)
    restored = sampling.reconstruct(Identity(), images, seed=0, device=CPU)
    assert restored is not None
    np.testing.assert_array_equal(restored, images)
    assert sampling.reconstruct(Sigmoid(), images, seed=0, device=CPU) is None


def test_half_way_images_mix_two_different_codes_and_use_each_twice() -> None:
    z = (2.0 ** torch.arange(6))[:, None].repeat(1, 4) * 2 / 255
    mixed = sampling.halfway(Identity(), z, seed=0)
    sums = mixed[:, 0, 0, 0].astype(int)  # a pixel is a power of two, so a half sum names its pair
    assert all(bin(value).count("1") == 2 for value in sums)
    assert sums.sum() == sum(2 ** (i + 1) for i in range(6))
    np.testing.assert_array_equal(mixed, sampling.halfway(Identity(), z, seed=0))


def test_sampled_codes_are_those_that_the_generated_images_are_decoded_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BATCH", 3)
    model = Sigmoid()
    z = sampling.sample_codes(model, 7, seed=4, device=CPU)
    with torch.no_grad():
        expected = sampling.to_uint8(model.decode(z))
    np.testing.assert_array_equal(sampling.generate(model, 7, seed=4, draw=0, device=CPU), expected)


def test_what_a_method_logs_while_sampling_goes_to_whoever_listens() -> None:
    class Counting(Sigmoid):
        def prior(self, e: Tensor) -> Tensor:
            self.log("function_evaluations", 7)
            return e

    heard: dict[str, float] = {}
    model = Counting()
    sampling.generate(model, 3, seed=0, draw=0, device=CPU)
    with model.using(None, lambda name, value: heard.__setitem__(name, float(value))):
        sampling.generate(model, 3, seed=0, draw=0, device=CPU)
    assert heard == {"function_evaluations": 7.0}
