"""Saved weights are the whole model: a new process draws the same samples from them, for every method."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
from methods import BASELINES, build
from safetensors.torch import load_file, save_file

from aegen_bench.conformance.subject import train_a_little
from aegen_bench.trial.sampling import generate

pytestmark = pytest.mark.slow

NAMES = sorted(path.stem for path in BASELINES.glob("*.py"))


def samples(model: Any, seed: int) -> str:
    return hashlib.sha256(generate(model, 6, seed=seed, draw=0, device=torch.device("cpu")).tobytes()).hexdigest()


def draw(weights: Path, out: Path) -> None:
    """Write the hashes of the samples that each model draws with these weights."""
    drawn = {}
    for name in NAMES:
        model = build(name, seed=1)
        model.load_state_dict(load_file(weights / name))
        drawn[name] = [samples(model, seed) for seed in (0, 1)]
    out.write_text(json.dumps(drawn))


def test_a_fresh_process_draws_the_same_samples_from_the_weights_and_others_with_another_seed(tmp_path: Path) -> None:
    drawn = {}
    for name in NAMES:
        model = build(name)
        untrained = samples(model, 0)
        train_a_little(model)
        drawn[name] = [samples(model, seed) for seed in (0, 1)]
        assert len({untrained, *drawn[name]}) == 3, name
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / name)
    warm.run(draw, tmp_path, tmp_path / "drawn.json")
    assert json.loads((tmp_path / "drawn.json").read_text()) == drawn
