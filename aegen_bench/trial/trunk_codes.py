"""The codes of a trunk, kept in memory for its other pairs.

All pairs of a trunk need the codes of the same images, and a run trains them one after the other. Each process keeps
those of the last trunk.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aegen_bench.data import Split
from aegen_bench.results.record import TrunkUsed

__all__ = ["kept"]

_kept: dict[Split, tuple[tuple[object, ...], Tensor]] = {}


def kept(
    split: Split, trunk: TrunkUsed, images: str, n: int, device: torch.device, extract: Callable[[], Tensor]
) -> Tensor:
    """Return `extract()`, the codes [n, ...] of a trunk for n images of a split, or what it returned before.

    The codes depend on the trunk's weights and the images, whose fingerprint is `images`; on another device, or with
    another number of threads, they are rounded differently and extracted again.
    """
    key = (trunk.weights_sha256, images, n, str(device), torch.get_num_threads())
    if split not in _kept or _kept[split][0] != key:
        _kept[split] = key, extract().cpu()
    return _kept[split][1].to(device)
