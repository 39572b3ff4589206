"""The data that a trial saves for figures: samples of fixed noise, interpolations, reconstructions, nearest training
images, the PRD curve.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aegen_bench.baseline import Baseline
from aegen_bench.errors import UserError
from aegen_bench.files import write_bytes
from aegen_bench.numerics.neighbours import nearest
from aegen_bench.numerics.pictures import grid
from aegen_bench.results.artefacts import FILE, read_artefacts
from aegen_bench.trial.sampling import decode_noise, fixed_noise, interpolate, reconstruct

__all__ = ["add_curves", "make", "write"]

Images = NDArray[np.uint8]

NEIGHBOURS = 5
STEPS = 10


def make(model: Baseline, train: torch.Tensor, test: Images, seed: int, device: torch.device) -> dict[str, Any]:
    """Return the arrays of artefacts.npz by name, without curves (docs/results-format.md).

    The number of images depends only on their side, and keeps the file below 2 MB (12 MB at 256 px). `train` and `test`
    are uint8 NCHW.
    """
    side = train.shape[-1]
    samples, lines, pairs, rows = (100, 6, 16, 10) if side <= 32 else (36, 6, 8, 8) if side <= 64 else (25, 2, 3, 1)
    made: dict[str, Any] = {"samples": decode_noise(model, fixed_noise(model, samples, device))}
    if (noise := fixed_noise(model, 2 * lines, device)).is_floating_point():
        made["interpolations"] = interpolate(model, noise[:lines], noise[lines:], STEPS)
    if (restored := reconstruct(model, test[:pairs], seed=seed, device=device)) is not None:
        made["reconstructions"] = np.stack([test[:pairs], restored], 1)
    queries = torch.from_numpy(made["samples"][:rows]).to(train.device)
    index, _ = nearest(queries, train, min(NEIGHBOURS, len(train)))
    found = train[index.flatten()].cpu().numpy().reshape(len(queries), -1, *train.shape[1:])
    made["neighbours"] = np.concatenate([made["samples"][:rows, None], found], 1)
    return made


def write(folder: Path, made: dict[str, Any]) -> None:
    """Write artefacts.npz and samples.png, each atomically."""
    from PIL import Image

    picture = io.BytesIO()
    Image.fromarray(grid(made["samples"])).save(picture, "PNG", optimize=True)
    write_bytes(folder / FILE, _packed(made))
    write_bytes(folder / "samples.png", picture.getvalue())


def add_curves(folder: Path, curves: dict[str, Any]) -> None:
    """Add curves, such as that of PRD, to artefacts.npz without replacing any. UserError if the file is damaged."""
    path = folder / FILE
    held: dict[str, Any] = {}
    if curves and path.is_file():
        try:
            held = read_artefacts(folder)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged, so the curves of this evaluation cannot be saved: {error}") from error
    if new := {name: np.asarray(curve, dtype=np.float32) for name, curve in curves.items() if name not in held}:
        write_bytes(path, _packed(held | new))


def _packed(arrays: dict[str, Any]) -> bytes:
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()
