"""The contract of aegen_bench.baseline: all methods keep it, and `check` detects violations."""

from __future__ import annotations

from pathlib import Path

import pytest

from aegen_bench.conformance import check
from aegen_bench.study import catalog

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[1]
METHODS = [*sorted((HERE.parent / "baselines").glob("*.py")), *sorted((HERE / "toys").glob("*.py"))]

GOOD = """
import numpy as np
import torch
from aegen_bench.baseline import Baseline, Stage

class Method(Baseline):
    def __init__(self, nets):
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()

    def step(self, x, index):
        z = self.encoder(x)
        yield "model", {"reconstruction": self.recon(self.decoder(z), x)}

    def encode(self, x):
        return self.encoder(x)

    def prior(self, e):
        return e

    def decode(self, z):
        return self.decoder(z)
"""
Z = "z = self.encoder(x)"
TERM = "self.recon(self.decoder(z), x)"
DECODE = "return self.decoder(z)"
INIT = "nets.encoder(), nets.decoder()"

FAULTS = {
    "an argument before the star": (
        "def __init__(self, nets):",
        "def __init__(self, nets, beta: float = 1.0):",
        "the yaml cannot set beta, because it comes before the `*`",
    ),
    "arguments without names": (
        "def __init__(self, nets):",
        "def __init__(self, nets, **options):",
        "__init__ takes **options, which the yaml cannot set",
    ),
    "a hyperparameter of the class": (
        "class Method(Baseline):",
        "class Method(Baseline):\n    beta: float = -2.5\n",
        "beta = -2.5 of the class is a hyperparameter that the yaml cannot set",
    ),
    "a hyperparameter of the instance": (
        INIT,
        INIT + "\n        self.beta, self.betas = 2.5, (0.5, 0.9)",
        "__init__: self.beta = 2.5 is a hyperparameter that the yaml cannot set",
    ),
    "a source that does not import": (
        "import numpy as np",
        "import nunpy",
        "needs the module nunpy, which is neither installed nor a file nunpy.py next to",
    ),
    "a constant start": (
        INIT,
        INIT + "\n        for p in self.parameters(): p.data.fill_(0.01)",
        "do not depend on the seed",
    ),
    "a start from numpy": (
        INIT,
        INIT + "\n        self.start = torch.nn.Parameter(torch.from_numpy(np.random.default_rng().random(4)))",
        "__init__: two instances with the same seed differ in start",
    ),
    "step without yield": (
        'yield "model",',
        'return "model",',
        "stage 'train': step must yield (optimizer name, {term: loss}), not return",
    ),
    "a bare loss": (
        '"model", {"reconstruction": ' + TERM + "}",
        TERM,
        "step must yield (optimizer name, {term: loss}), not tensor(",
    ),
    "a loss per image": (TERM, TERM + " + z", "must be a tensor of shape (), not (8, 4)"),
    "a loss that is a number": (TERM, "1.5", "must be a tensor of shape (), not 1.5"),
    "a loss that is not finite": (TERM, TERM + " * float('nan')", "term 'reconstruction' of optimizer 'model' is nan"),
    "a term without gradient": (
        TERM,
        TERM + ', "size": z.detach().mean()',
        "'size' of optimizer 'model' has no gradient",
    ),
    "an unknown optimizer": ('"model"', '"modle"', "unknown optimizer 'modle': did you mean 'model'?"),
    "a parameter without optimizer": (
        "return e\n",
        'return e\n\n    def optimizers(self):\n        return {"model": [{"params": self.encoder.parameters()}]}\n',
        "Method.optimizers() leaves out decoder.body.0.weight",
    ),
    "a parameter without loss": (
        INIT,
        INIT + "\n        self.spare = torch.nn.Linear(2, 2)",
        "has a gradient for spare.weight, spare.bias",
    ),
    "torch's randomness in step": (
        Z,
        Z + " + torch.randn_like(x)[:, 0, 0, :4]",
        "training uses the global generator of torch",
    ),
    "numpy's randomness in step": (Z, Z + " * np.random.rand()", "training uses the global generator of numpy"),
    "unseeded randomness in step": (
        Z,
        Z + " * np.random.default_rng().random()",
        "two trainings with the same seed differ in enc",
    ),
    "randomness in prior": ("return e\n", "return e + self.randn(*e.shape)\n", "prior(e) differs from call to call"),
    "a prior that looks at the batch": (
        "return e\n",
        "return e - e.mean(0)\n",
        "prior(e) of a batch differs from that of its halves",
    ),
    "too little noise": (
        "return e\n",
        "return e\n\n    def noise(self, n):\n        return self.randn(n - 1, 4)\n",
        "noise(6) returns 5 rows",
    ),
    "no noise": (
        "return e\n",
        "return e\n\n    def noise(self, n):\n        return 0 * self.randn(n, 4)\n",
        "the samples do not depend on the noise",
    ),
    "images of another shape": (
        DECODE,
        DECODE + "[:, :, 1:]",
        "decode(prior(e)) returns shape (6, 1, 7, 8), but images have shape (6, 1, 8, 8)",
    ),
    "images out of range": (DECODE, DECODE + " - 1", "images must be in [0, 1]"),
    "images that are not numbers": (DECODE, DECODE + " / 0 * 0", "decode(prior(e)) returns NaN or infinity"),
    "a gradient that is not a number": (
        TERM,
        TERM + " + torch.sqrt((z - z).square().sum())",
        "term 'reconstruction' of optimizer 'model' is finite, but its gradient is not",
    ),
    "a size written down": (
        DECODE,
        DECODE + ".view(-1, 1, 8, 8)",
        "fails on images of 3x12x12, perhaps because of a hard-coded size: method.py, line ",
    ),
    "images of integers": (DECODE, DECODE + ".round().long()", "torch.int64, but images must be floats in [0, 1]"),
    "a density per dimension": (
        "return e\n",
        "return e\n\n    def log_prior(self, z):\n        return -0.5 * z.square()\n",
        "log_prior returns shape (6, 4) for 6 codes, but needs a number for each",
    ),
    "a logged vector": (
        TERM + "}",
        TERM + "}\n        self.log('spread', z.std(0))",
        "log('spread'): shape (4,), but a scalar is needed: take its mean",
    ),
    "stages in another class": (
        "class Method(Baseline):",
        "class Shared:\n    def stages(self):\n        return [Stage('own', self.step)]\n\n"
        "class Method(Shared, Baseline):",
        "stage 'own' is not found in method.py: schedules are read from the source",
    ),
    "extract that averages": (
        "return e\n",
        "return e\n\n    def extract(self, x, index):\n        return self.encoder(x).mean(0)\n",
        "extract returns shape (4,) for 6 images",
    ),
    "state outside the state_dict": (
        "return e\n",
        "return e + self.shift\n\n    shift = 0\n\n    def fit(self, codes):\n        self.shift = codes.mean(0)\n",
        "a new instance with the trained state_dict generates different samples",
    ),
    "a buffer that grows": (
        "return e\n",
        "return e\n\n    def fit(self, codes):\n        self.register_buffer('codes', codes)\n",
        "the trained state_dict does not load into a new instance",
    ),
    "a wait for the device": (TERM, TERM + " * (1 if z.std() < 9 else 2)", "fails on devices other than the CPU"),
    "a loop over the batch": (
        Z,
        Z + "\n        z = torch.stack([z[i] for i in range(len(z))])",
        "of 16: avoid loops over the batch in Python",
    ),
    "a slow step": (
        Z,
        Z + "\n        for _ in range(120 * (len(x) > 16)):\n            self.encoder(x)",
        "times as long as one of GLF with the same networks, images and batch: over 10 times is too slow",
    ),
    "a tensor made on the CPU": (Z, Z + " + torch.zeros(4)", "fails on devices other than the CPU"),
    "a matrix made on the CPU": (
        Z,
        Z + " @ torch.eye(4)",
        "line 12, in step: RuntimeError: aten.mm.default receives tensors on cpu and meta",
    ),
}


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_every_baseline_and_every_toy_keeps_the_contract(path: Path) -> None:
    assert check(catalog.read(path.stem, path)) == []


def test_the_source_without_faults_keeps_the_contract(tmp_path: Path) -> None:
    assert _check(tmp_path, GOOD) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_says_in_plain_words_what_breaks_the_contract(tmp_path: Path, fault: str) -> None:
    right, wrong, finding = FAULTS[fault]
    assert GOOD.count(right) == 1
    found = _check(tmp_path, GOOD.replace(right, wrong))
    assert any(finding in line for line in found), found
    assert all("\n" not in line for line in found)


def test_a_source_without_a_method_is_a_finding(tmp_path: Path) -> None:
    (found,) = _check(tmp_path, "class Method:\n    pass\n")
    assert found.endswith("needs one class that derives from Baseline, has 0")


def _check(folder: Path, source: str) -> list[str]:
    path = folder / "method.py"
    path.write_text(source)
    return check(catalog.read("method", path))
