"""Checks of a trained model: its samples, reconstructions and codes, and that its state_dict is complete."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from aegen_bench import seeding
from aegen_bench.baseline import Baseline
from aegen_bench.blocks.nets import Nets
from aegen_bench.conformance.learning import foreign_randomness, global_streams
from aegen_bench.conformance.subject import SAMPLES, Subject, images_of, located, made_up, train_a_little
from aegen_bench.numerics.pixels import as_float
from aegen_bench.prior import Pair

__all__ = ["density", "encoding", "other_images", "reloading", "sampling"]

COLOUR = Nets((3, 12, 12), d=6, flow_width=8, n_train=20)


def sampling(subject: Subject, model: Baseline) -> Iterator[str]:
    """Check noise, codes and images: shapes, range, and that all randomness is in `noise` and follows the seed."""

    def generate(e: Tensor) -> Tensor:
        return model.decode(model.prior(e))

    before = global_streams()
    with torch.no_grad(), model.eval().using(seeding.stream(1, "check")):
        e = model.noise(SAMPLES)
        if len(e) != SAMPLES:
            yield f"noise({SAMPLES}) returns {len(e)} rows"
        for name, call in (("prior(e)", model.prior), ("decode(prior(e))", generate)):
            whole, again, halves = call(e), call(e), torch.cat([call(part) for part in e.chunk(2)])
            if not torch.equal(whole.nan_to_num(), again.nan_to_num()):
                yield f"{name} differs from call to call: all randomness of sampling belongs in noise(n)"
            elif not torch.allclose(whole.double(), halves.double(), atol=1e-5, equal_nan=True):
                yield f"{name} of a batch differs from that of its halves: samples must not depend on each other"
        yield from images_of("decode(prior(e))", whole, model.nets)
    yield from foreign_randomness("sampling", before)
    if not torch.equal(_samples(model, 1), _samples(model, 1)):
        yield "noise(n) differs from call to call for the same seed: use self.randn, self.rand or self.randint"
    if torch.equal(_samples(model, 1), _samples(model, 2)):
        yield "the samples do not depend on the noise"


def encoding(subject: Subject, model: Baseline) -> Iterator[str]:
    """Check reconstructions and extracted codes."""
    x, index = as_float(made_up(model.nets)[:SAMPLES]), torch.arange(SAMPLES)
    with torch.no_grad(), model.eval().using(seeding.stream(1, "check")):
        if model.has("encode"):
            yield from images_of("decode(encode(x))", model.decode(model.encode(x)), model.nets)
        if model.has("encode") or model.has("extract"):
            codes = model.extract(x, index)
            if len(codes) != SAMPLES:
                yield f"extract returns shape {tuple(codes.shape)} for {SAMPLES} images, but needs a row for each"


def density(subject: Subject, model: Baseline) -> Iterator[str]:
    """Check that the log density of the prior, if it has one, is a finite number for each code."""
    if not model.has_density:
        return
    name = "log_prob" if isinstance(model, Pair) else "log_prior"
    with torch.no_grad(), model.eval().using(seeding.stream(1, "check")):
        log_p = model.log_prior(model.prior(model.noise(SAMPLES)))
    if log_p.shape != (SAMPLES,):
        yield f"{name} returns shape {tuple(log_p.shape)} for {SAMPLES} codes, but needs a number for each"
    elif not torch.isfinite(log_p).all():
        yield f"{name} of its own samples is not finite"


def reloading(subject: Subject, model: Baseline) -> Iterator[str]:
    """Check that a new instance with the trained state_dict generates the same samples."""
    fresh = subject.build(seed=2)
    try:
        fresh.load_state_dict(model.state_dict())
    except RuntimeError as error:
        yield f"the trained state_dict does not load into a new instance: {error}"
        return
    if not torch.equal(_samples(model, 1), _samples(fresh, 1)):
        yield "a new instance with the trained state_dict generates different samples: keep state in buffers"


def other_images(subject: Subject) -> Iterator[str]:
    """Check that the method works for colour images with a different side and a different number of images."""
    model = subject.build(1, COLOUR)
    try:
        train_a_little(model)
        made = _samples(model, 1)
    except Exception as error:
        shape = "x".join(map(str, COLOUR.shape))
        yield f"fails on images of {shape}, perhaps because of a hard-coded size: {located(error, subject.entry)}"
    else:
        yield from images_of("decode(prior(e))", made, COLOUR)


def _samples(model: Baseline, seed: int) -> Tensor:
    with torch.no_grad(), model.eval().using(seeding.stream(seed, "noise")):
        return model.decode(model.prior(model.noise(SAMPLES)))
