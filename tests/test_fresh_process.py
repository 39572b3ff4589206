"""Saved weights are the whole model: a new process draws the same samples from them, for every method."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import BASELINES, build
from safetensors.torch import save_file

from aegen_bench.conformance.subject import train_a_little
from aegen_bench.trial.sampling import generate

pytestmark = pytest.mark.slow

NAMES = sorted(path.stem for path in BASELINES.glob("*.py"))
CHILD = """
import sys
from pathlib import Path
from safetensors.torch import load_file
from methods import build
from test_fresh_process import samples

for path in sorted(Path(sys.argv[1]).iterdir()):
    model = build(path.stem, seed=1)
    model.load_state_dict(load_file(path))
    print(path.stem, *(samples(model, seed) for seed in (0, 1)))
"""


def samples(model: Any, seed: int) -> str:
    return hashlib.sha256(generate(model, 6, seed=seed, draw=0, device=torch.device("cpu")).tobytes()).hexdigest()


def test_a_fresh_process_with_the_weights_draws_the_same_samples_and_of_another_seed_others(tmp_path: Path) -> None:
    drawn = {}
    for name in NAMES:
        model = build(name)
        untrained = samples(model, 0)
        train_a_little(model)
        drawn[name] = [samples(model, seed) for seed in (0, 1)]
        assert len({untrained, *drawn[name]}) == 3, name
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / name)
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here / "support")])}
    out = subprocess.run(command, cwd=here, env=env, check=True, capture_output=True, text=True).stdout
    assert {name: hashes for name, *hashes in map(str.split, out.splitlines())} == drawn
