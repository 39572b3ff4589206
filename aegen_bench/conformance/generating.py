"""A trained model: its samples, reconstructions and codes, and that its state_dict is all of it."""

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
    def generate(e: Tensor) -> Tensor:
        return model.decode(model.prior(e))

    before = global_streams()
    with torch.no_grad(), model.eval().using(seeding.stream(1, "check")):
        e = model.noise(SAMPLES)
        if len(e) != SAMPLES:
            yield f"noise({SAMPLES}) has {len(e)} rows"
        for name, call in (("prior(e)", model.prior), ("decode(prior(e))", generate)):
            whole, again, halves = call(e), call(e), torch.cat([call(part) for part in e.chunk(2)])
            if not torch.equal(whole.nan_to_num(), again.nan_to_num()):
                yield f"{name} differs from call to call: all randomness of sampling belongs in noise(n)"
            elif not torch.allclose(whole.double(), halves.double(), atol=1e-5, equal_nan=True):
                yield f"{name} of a batch is not that of its halves: a sample must not depend on its neighbours"
        yield from images_of("decode(prior(e))", whole, model.nets)
    yield from foreign_randomness("sampling", before)
    if not torch.equal(_samples(model, 1), _samples(model, 1)):
        yield "noise(n) of one stream differs from call to call: draw from self.randn, self.rand or self.randint"
    if torch.equal(_samples(model, 1), _samples(model, 2)):
        yield "the samples do not depend on the noise"


def encoding(subject: Subject, model: Baseline) -> Iterator[str]:
    x, index = as_float(made_up(model.nets)[:SAMPLES]), torch.arange(SAMPLES)
    with torch.no_grad(), model.eval().using(seeding.stream(1, "check")):
        if model.has("encode"):
            yield from images_of("decode(encode(x))", model.decode(model.encode(x)), model.nets)
        if model.has("encode") or model.has("extract"):
            codes = model.extract(x, index)
            if len(codes) != SAMPLES:
                yield f"extract gives shape {tuple(codes.shape)} for {SAMPLES} images: a row an image is needed"


def density(subject: Subject, model: Baseline) -> Iterator[str]:
    """Of a prior that has one: the log-density of codes is a finite number each."""
    if not isinstance(model, Pair) or not model.density.has("log_prob"):
        return
    with torch.no_grad(), model.eval().using(seeding.stream(1, "check")):
        log_p = model.density.log_prob(model.density.sample(model.density.noise(SAMPLES)))
    if log_p.shape != (SAMPLES,):
        yield f"log_prob gives shape {tuple(log_p.shape)} for {SAMPLES} codes, a number each is needed"
    elif not torch.isfinite(log_p).all():
        yield "log_prob of its own samples is not finite"


def reloading(subject: Subject, model: Baseline) -> Iterator[str]:
    fresh = subject.build(seed=2)
    try:
        fresh.load_state_dict(model.state_dict())
    except RuntimeError as error:
        yield f"the trained state_dict does not load into a new instance: {error}"
        return
    if not torch.equal(_samples(model, 1), _samples(fresh, 1)):
        yield "a new instance with the trained state_dict gives other samples: keep all state in parameters and buffers"


def other_images(subject: Subject) -> Iterator[str]:
    """Colour images of another side, as many as another dataset has."""
    model = subject.build(1, COLOUR)
    try:
        train_a_little(model)
        made = _samples(model, 1)
    except Exception as error:
        shape = "x".join(map(str, COLOUR.shape))
        yield f"on images of {shape} it fails, perhaps for a size that is written down: {located(error, subject.entry)}"
    else:
        yield from images_of("decode(prior(e))", made, COLOUR)


def _samples(model: Baseline, seed: int) -> Tensor:
    with torch.no_grad(), model.eval().using(seeding.stream(seed, "noise")):
        return model.decode(model.prior(model.noise(SAMPLES)))
