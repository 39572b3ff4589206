"""The batches of an epoch: indexed on the device, or streamed to it if the training set does not fit there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from aegen_bench.baseline import Stage
from aegen_bench.errors import UserError

__all__ = ["batches", "placed", "require_resident", "resident"]

BUDGET = 0.5  # share of the device's free memory for images; the rest is for the model and its activations


def placed(images: Tensor, device: torch.device) -> Tensor:
    """Return the training set on the device if it fits into `BUDGET` there, otherwise where it is."""
    return images if device.type == "cuda" and images.nbytes > BUDGET * _free(device) else images.to(device)


def _free(device: torch.device) -> int:
    """Bytes available for a tensor: free on the device, or freed but kept by torch."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def resident(data: Tensor, device: torch.device) -> bool:
    """Whether `data` is on the device that uses it, so that its batches are indexed there and not streamed."""
    return data.device == device


def require_resident(stages: Sequence[Stage], images: Tensor, device: torch.device) -> None:
    """Raise UserError if a stage uses all images at once and they do not fit on the device."""
    for stage in stages:
        if stage.looks_at_all and stage.data == "images" and not resident(images, device):
            size = f"{images.nbytes / 1e9:.1f} GB, over {BUDGET:.0%} of what is free on {device}"
            cure = "use a device with more memory, or fewer images (--set train_images=N)"
            raise UserError(f"stage '{stage.name}' uses all training images at once, and they take {size}: {cure}")


def batches(data: Tensor, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (rows of `data`, their positions) in batches of `size` in the given order, on the device of `order`.

    Streaming gathers rows on the host into pinned memory, from which the device copies them asynchronously. A step only
    queues work on the device, so the next batch is gathered and queued while the device computes.
    """
    if resident(data, order.device):
        for index in torch.split(order, size):
            yield data[index], index
        return
    pinned = order.device.type == "cuda"
    on_host = order.cpu()  # the only synchronisation, before the first step
    for index, where in zip(torch.split(order, size), torch.split(on_host, size), strict=True):
        # The allocator of pinned memory reuses it only after the copy has finished.
        rows = torch.empty((len(where), *data.shape[1:]), dtype=data.dtype, pin_memory=pinned)
        torch.index_select(data, 0, where, out=rows)
        yield rows.to(order.device, non_blocking=True), index
