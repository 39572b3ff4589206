"""The command `new`: writes a working method or prior."""

from __future__ import annotations

import keyword
import os
from collections.abc import Iterator
from pathlib import Path

from aegen_bench import data
from aegen_bench.errors import UserError
from aegen_bench.files import write_text
from aegen_bench.study import Study, command

__all__ = ["new"]

BASELINE = '''\
from torch import Tensor

from aegen_bench.baseline import Baseline, Updates
from aegen_bench.blocks.nets import Nets


class {cls}(Baseline):
    """An auto-encoder whose codes are pulled towards N(0, I) (`aegen-bench list` shows this line).

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
        return e  # noise -> codes. `noise` draws N(0, I); fit a density after training in `fit`

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)
'''

PRIOR = '''\
from collections.abc import Mapping

from torch import Tensor

from aegen_bench.blocks.flows import CouplingFlow
from aegen_bench.blocks.nets import Nets
from aegen_bench.prior import Prior


class {cls}(Prior):
    """A flow of affine couplings on the codes of a trunk (`aegen-bench list` shows this line).

    Loss: -log p(u) of codes u. Sample: e ~ N(0, I), then the inverse of the flow.
    """

    def __init__(self, nets: Nets, *, blocks: int = 4) -> None:
        super().__init__(nets)
        self.flow = self.sized(lambda width: CouplingFlow(nets.d, width, blocks=blocks))

    def loss(self, u: Tensor, index: Tensor) -> Mapping[str, Tensor]:
        return {{"nll": self.flow.nll(u).mean()}}  # a prior that is not trained defines `fit` instead

    def sample(self, e: Tensor) -> Tensor:
        return self.flow.inverse(e)  # noise -> codes. `noise` draws N(0, I)

    def log_prob(self, u: Tensor) -> Tensor:
        return -self.flow.nll(u)  # optional
'''

IMPORTED = ("Baseline", "CouplingFlow", "Mapping", "Nets", "Prior", "Tensor", "Updates")


def new(name: str, local: Path, folder: Path | None = None, *, prior: bool = False) -> Iterator[str]:
    """Write baselines/NAME.py, or baselines/priors/NAME.py, in the folder `local`, and yield lines to print.

    `folder` is the data folder, to whose datasets a local benchmarks.yaml may refer. UserError, and nothing written,
    for a name that is invalid or taken.
    """
    kind, place, text = ("prior", "baselines/priors", PRIOR) if prior else ("baseline", "baselines", BASELINE)
    cls = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    if (
        not name.isidentifier()
        or not name.isascii()
        or name.startswith("_")
        or keyword.iskeyword(name)
        or keyword.iskeyword(cls)
    ):
        raise UserError(f"'{name}' cannot name a {kind}: use letters, digits and underscores, starting with a letter")
    if cls in IMPORTED:
        raise UserError(f"'{name}' cannot name a {kind}: its class {cls} would hide an imported one of that name")
    study = Study("paper", local=local, data=folder or data.default_folder())
    known = study.priors if prior else study.entries
    if name in known:
        raise UserError(f"'{name}' is taken: {known[name].path} is a {kind} of this name")
    if name in study.rows or name in study.groups:  # also for a prior: `check NAME` takes either
        raise UserError(f"'{name}' is taken: it is a {'row' if name in study.rows else 'group'} of benchmarks.yaml")
    path = local / place / f"{name}.py"
    if os.path.lexists(path):
        raise UserError(f"{path} exists already")
    write_text(path, text.format(cls=cls))
    yield f"{path.relative_to(local)}: a working {'prior' if prior else 'method'} for you to change"
    if prior:
        row = f"rows: {{ae+{name}: {{trunk: ae, prior: {name}}}}}"
        yield f"next: aegen-bench check {name}; then a row of benchmarks.yaml, such as {row}"
    else:
        yield f"next: aegen-bench check {name}; {command('run', 'smoke', models=[name], data=folder)}"
