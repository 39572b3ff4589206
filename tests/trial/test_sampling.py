"""From a trained method to uint8 images: rounding, batches, seeds, interpolation, reconstruction."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aegen_bench.baseline import Baseline
from aegen_bench.blocks.nets import Nets
from aegen_bench.errors import BrokenContract, Diverged
from aegen_bench.numerics import pixels
from aegen_bench.trial import sampling

CPU = torch.device("cpu")
NETS = Nets((1, 2, 2), d=4, flow_width=4, n_train=10)


class Sigmoid(Baseline):
    """A method whose codes are the logits of the four pixels."""

    def __init__(self) -> None:
        super().__init__(NETS)
        self.scale = nn.Parameter(torch.ones(()))

    def decode(self, z: Tensor) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        return torch.sigmoid(self.scale * z).view(-1, 1, 2, 2)


class Identity(Sigmoid):
    """A method whose codes are the pixels."""

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
def test_an_image_that_is_not_finite_counts_as_divergence(value: float) -> None:
    model = Sigmoid()
    with torch.no_grad():
        model.scale.fill_(float("nan"))
    with pytest.raises(Diverged, match="a generated image is not finite"):
        sampling.generate(model, 3, seed=0, draw=0, device=CPU)
    with pytest.raises(Diverged):
        sampling.to_uint8(torch.tensor([0.5, value]))


def test_generated_images_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sampling.generate(Sigmoid(), 7, seed=0, draw=0, device=CPU)
    monkeypatch.setattr(pixels, "AT_ONCE", 3)
    assert whole.shape == (7, 1, 2, 2) and whole.dtype == np.uint8
    np.testing.assert_array_equal(sampling.generate(Sigmoid(), 7, seed=0, draw=0, device=CPU), whole)


def test_a_draw_is_determined_by_its_seed_and_number() -> None:
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


def test_fixed_noise_is_the_same_for_methods_with_noise_of_the_same_shape() -> None:
    assert torch.equal(sampling.fixed_noise(Sigmoid(), 3, CPU), sampling.fixed_noise(Identity(), 3, CPU))


def test_a_reconstruction_is_the_decoded_code_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "AT_ONCE", 30)
    images = np.arange(256, dtype=np.uint8).reshape(64, 1, 2, 2)
    restored = sampling.reconstruct(Identity(), images, seed=0, device=CPU)
    assert restored is not None
    np.testing.assert_array_equal(restored, images)
    assert sampling.reconstruct(Sigmoid(), images, seed=0, device=CPU) is None


def test_half_way_images_mix_two_different_codes_and_use_each_twice() -> None:
    z = (2.0 ** torch.arange(6))[:, None].repeat(1, 4) * 2 / 255
    mixed = sampling.halfway(Identity(), z, seed=0)
    sums = mixed[:, 0, 0, 0].astype(int)  # each pixel is a power of two, so half the sum of two codes identifies them
    assert all(bin(value).count("1") == 2 for value in sums)
    assert sums.sum() == sum(2 ** (i + 1) for i in range(6))
    np.testing.assert_array_equal(mixed, sampling.halfway(Identity(), z, seed=0))


def test_half_way_to_the_nearest_code_uses_another_code_which_may_be_equal() -> None:
    z = torch.tensor([[0.0] * 4, [0.2] * 4, [1.0] * 4, [1.0] * 4, [0.6] * 4])
    mixed = sampling.halfway_to_nearest(Identity(), z)[:, 0, 0, 0]
    np.testing.assert_array_equal(mixed[:4], [26, 26, 255, 255])
    assert mixed[4] in (102, 204), "as near to 0.2 as to 1"
    assert sampling.halfway_to_nearest(Identity(), z[:2])[:, 0, 0, 0].tolist() == [26, 26]


def test_the_default_density_is_n_0_i_and_exists_only_if_codes_are_drawn_from_it() -> None:
    class Scaled(Identity):
        def prior(self, e: Tensor) -> Tensor:
            return 2 * e

    z = torch.randn(7, 4)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(Identity().log_prior(z), expected)
    assert not Scaled().has_density
    with pytest.raises(NotImplementedError, match="defines no log_prior"):
        Scaled().log_prior(z)


def test_generated_images_are_decoded_from_the_sampled_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "AT_ONCE", 3)
    model = Sigmoid()
    z = sampling.sample_codes(model, 7, seed=4, device=CPU)
    with torch.no_grad():
        expected = sampling.to_uint8(model.decode(z))
    np.testing.assert_array_equal(sampling.generate(model, 7, seed=4, draw=0, device=CPU), expected)


def test_what_a_method_logs_while_sampling_reaches_the_given_callback() -> None:
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


# ---- invalid images and codes -----------------------------------------------------------------------------------


class Faulty(Identity):
    """A method whose hooks can be replaced by those in `wrong`."""

    wrong: ClassVar[dict[str, Any]] = {}

    def __getattribute__(self, name: str) -> Any:
        wrong = object.__getattribute__(self, "wrong")
        return (lambda *given: wrong[name](*given)) if name in wrong else super().__getattribute__(name)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "above 1": ({"decode": lambda z: torch.full((len(z), 1, 2, 2), 1.01)}, "values from 1.01 to 1.01, but images must"),
    "below 0": ({"decode": lambda z: torch.full((len(z), 1, 2, 2), -1.0)}, "values from -1 to -1, but images must"),
    "far below 0": ({"decode": lambda z: torch.full((len(z), 1, 2, 2), -1e30)}, "images must be in"),
    "another side": ({"decode": lambda z: torch.zeros(len(z), 1, 3, 3)}, "but images have shape (3, 1, 2, 2)"),
    "another number": ({"decode": lambda z: torch.zeros(1, 1, 2, 2)}, "but images have shape (3, 1, 2, 2)"),
    "integers": ({"decode": lambda z: torch.zeros(len(z), 1, 2, 2, dtype=torch.int)}, "images must be floats"),
    "no tensor": ({"decode": lambda z: [z]}, "returns list, but images must be a tensor"),
    "noise of one row": ({"noise": lambda n: torch.zeros(1, 4)}, "noise(3) returns shape (1, 4) for 3 samples"),
    "codes of one row": ({"prior": lambda e: e[:1]}, "prior(e) returns shape (1, 4) for 3 samples"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_invalid_images_and_codes_are_refused_with_the_reason(kind: str) -> None:
    model = Faulty()
    model.wrong, told = FAULTS[kind]
    with pytest.raises(BrokenContract) as error:
        sampling.generate(model, 3, seed=0, draw=0, device=CPU)
    assert told in str(error.value)


def test_codes_of_images_are_checked_too() -> None:
    model = Faulty()
    model.wrong = {"encode": lambda x: x[:1].flatten(1)}
    with pytest.raises(BrokenContract, match=r"encode\(x\) returns shape \(1, 4\) for 3 samples"):
        sampling.reconstruct(model, np.zeros((3, 1, 2, 2), np.uint8), seed=0, device=CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_float_rounding_is_not_a_fault(dtype: torch.dtype) -> None:
    over = 1 + torch.finfo(dtype).eps
    images = torch.tensor([-(over - 1), over], dtype=dtype).view(1, 1, 1, 2)
    assert sampling.fault("decode(z)", images, (1, 1, 1, 2)) == ""
    assert sampling.to_uint8(images).flatten().tolist() == [0, 255]
    assert sampling.fault("decode(z)", images * 1.02, (1, 1, 1, 2)) != ""
