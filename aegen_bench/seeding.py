"""Random streams: (seed, purpose, stage, epoch) -> a generator. Everything that is seeded is seeded here.

Each use of randomness has its own stream, so that adding an evaluation, a probe or a draw changes no other number.
Streams do not depend on the row's name: with the same seed, all rows get the same initial weights for equal networks
and the same data order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["LARGEST_SEED", "derive", "initialising", "restart", "stream"]

LARGEST_SEED = 2**31 - 1
"""The largest seed a user can choose: numpy's seeds end at 2^32 - 1, and metrics count upwards from the seed."""


def derive(seed: int, purpose: str, stage: int = 0, epoch: int = 0) -> int:
    """Return a 63-bit seed that is a hash of its arguments; `stage` and `epoch` count from 0."""
    text = f"{seed}/{purpose}/{stage}/{epoch}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def stream(
    seed: int,
    purpose: str,
    stage: int = 0,
    epoch: int = 0,
    device: torch.device | str = "cpu",
    state: torch.Tensor | None = None,
) -> torch.Generator:
    """Return a generator on `device`, at its start or, with `state` from its `get_state`, at that position.

    CPU and CUDA generators give different numbers for the same seed.
    """
    import torch

    return restart(torch.Generator(device=device), seed, purpose, stage, epoch, state)


def restart(
    generator: torch.Generator,
    seed: int,
    purpose: str,
    stage: int = 0,
    epoch: int = 0,
    state: torch.Tensor | None = None,
) -> torch.Generator:
    """Reset an existing generator to what `stream` would return, and return it."""
    generator.manual_seed(derive(seed, purpose, stage, epoch))
    return generator if state is None else generator.set_state(state)


@contextmanager
def initialising(seed: int) -> Iterator[None]:
    """Context that seeds torch's global CPU generator for building networks, and restores it on exit."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        yield
