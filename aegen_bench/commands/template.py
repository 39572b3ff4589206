"""What `aegen-bench new` writes: a method that works as it stands. It is a row of the tables without further ado."""

from __future__ import annotations

import keyword
import os
from collections.abc import Iterator
from pathlib import Path

from aegen_bench import data
from aegen_bench.errors import UserError
from aegen_bench.files import write_bytes
from aegen_bench.study import Study, command

__all__ = ["new"]

BASELINE = '''\
from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class {cls}(Baseline):
    """An auto-encoder whose codes are drawn towards N(0, I) (this line is what `aegen-bench list` shows).

    Loss: 0.5 SSE + beta/2 ||z||^2 with z = E(x). Sample: z ~ N(0, I), then D(z).
    """

    def __init__(self, nets: Nets, *, beta: float = 1.0) -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()
        self.beta = beta

    def step(self, x: Tensor, index: Tensor) -> Updates:
        z = self.encoder(x)
        self.log("code_std", z.std(0).mean())
        yield (
            "model",
            {{
                "reconstruction": self.recon(self.decoder(z), x),
                "penalty": self.beta * 0.5 * z.square().sum(1).mean(),
            }},
        )

    def prior(self, e: Tensor) -> Tensor:
        return e  # noise -> codes. `noise` draws N(0, I); a density that is fitted after training goes into `fit`

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
'''

IMPORTED = ("Baseline", "Nets", "Tensor", "Updates")


def new(name: str, local: Path, folder: Path | None = None) -> Iterator[str]:
    """Write baselines/NAME.py in the folder `local` and yield what to say of it.

    `folder` is the data folder, whose datasets a local benchmarks.yaml may name. UserError, and nothing written, for a
    name that is taken or cannot be one.
    """
    cls = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    if (
        not name.isidentifier()
        or not name.isascii()
        or name.startswith("_")
        or keyword.iskeyword(name)
        or keyword.iskeyword(cls)
    ):
        raise UserError(f"'{name}' cannot name a baseline: use letters, digits and underscores, a letter first")
    if cls in IMPORTED:
        raise UserError(f"'{name}' cannot name a baseline: its class {cls} would hide the one that it needs")
    study = Study("paper", local=local, data=folder or data.default_folder())
    if name in study.entries:
        raise UserError(f"'{name}' is taken: {study.entries[name].path} is a baseline of this name")
    if name in study.rows or name in study.groups:
        raise UserError(f"'{name}' is taken: it is a {'row' if name in study.rows else 'group'} of benchmarks.yaml")
    path = local / "baselines" / f"{name}.py"
    if os.path.lexists(path):
        raise UserError(f"{path} exists already")
    write_bytes(path, BASELINE.format(cls=cls).encode())
    yield f"{path.relative_to(local)}: a method that works as it stands, for you to change"
    yield f"next: aegen-bench check {name}; {command('run', 'smoke', models=[name], data=folder)}"
