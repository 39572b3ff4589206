"""Where a training set lies, and the batches of an epoch from there: indexed on the device, or streamed to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from aegen_bench.baseline import Stage
from aegen_bench.errors import UserError

__all__ = ["batches", "placed", "require_resident", "resident"]

BUDGET = 0.5  # of the device's free memory, for the images; the rest is for the model and its activations


def placed(images: Tensor, device: torch.device) -> Tensor:
    """The training set where training reads it: on the device if it is within `BUDGET` there, else where it is."""
    return images if device.type == "cuda" and images.nbytes > BUDGET * _free(device) else images.to(device)


def _free(device: torch.device) -> int:
    """Bytes that a tensor can take: free on the device, or kept by torch from what was freed."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def resident(data: Tensor, device: torch.device) -> bool:
    """Whether batches of `data` are indexed on the device where they are used, and not streamed to it."""
    return data.device == device


def require_resident(stages: Sequence[Stage], images: Tensor, device: torch.device) -> None:
    """UserError where a stage looks at all images at once, which the device has no room for."""
    for stage in stages:
        if stage.looks_at_all and stage.data == "images" and not resident(images, device):
            size = f"{images.nbytes / 1e9:.1f} GB, over {BUDGET:.0%} of what is free on {device}"
            cure = "take a device with more memory, or fewer images (--set train_images=N)"
            raise UserError(f"stage '{stage.name}' looks at all training images at once, and they take {size}: {cure}")


def batches(data: Tensor, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (rows of `data`, their positions), `size` at a time in the order of the positions, on their device.

    Streaming gathers rows on the host into pinned memory, whence the device fetches them by itself. A step only queues
    its work on the device; so while the device is at it, the next batch is gathered and queued behind it.
    """
    if resident(data, order.device):
        for index in torch.split(order, size):
            yield data[index], index
        return
    pinned = order.device.type == "cuda"
    on_host = order.cpu()  # the only wait, before the first step
    for index, where in zip(torch.split(order, size), torch.split(on_host, size), strict=True):
        # Memory is pinned by an allocator that takes it back only when the copy has been done.
        rows = torch.empty((len(where), *data.shape[1:]), dtype=data.dtype, pin_memory=pinned)
        torch.index_select(data, 0, where, out=rows)
        yield rows.to(order.device, non_blocking=True), index
