"""Damaged or forged checkpoints are not used, and are reported."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aegen_bench.training.checkpoint import Checkpoints

STATE: dict[str, Any] = {"identity": {"key": "k"}, "threads": 1, "stage": 0, "epoch": 0, "step": 0}
STATE |= {"model": {}, "history": {}}


class Malicious:
    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, ("touch executed",)


def sealed(state: object) -> bytes:
    packed = io.BytesIO()
    torch.save(state, packed)
    return hashlib.sha256(packed.getvalue()).digest() + packed.getvalue()


BAD = {
    "no bytes": b"",
    "another hash": b"x" + sealed(STATE)[1:],
    "no torch": hashlib.sha256(b"text").digest() + b"text",
    "a list": sealed([1]),
    "code": sealed(STATE | {"model": Malicious()}),
    "no identity": sealed({k: v for k, v in STATE.items() if k != "identity"}),
    "text for a place": sealed(STATE | {"stage": "first"}),
    "a million threads": sealed(STATE | {"threads": 1_000_000}),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_invalid_checkpoint_is_not_used(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    mine = Checkpoints(tmp_path, {"key": "k"}, note=said.append)
    (tmp_path / "checkpoint-1.pt").write_bytes(sealed(STATE))
    (tmp_path / "checkpoint-2.pt").write_bytes(BAD[kind])
    assert mine.read() == STATE and said == [f"{tmp_path / 'checkpoint-2.pt'} is not used, because it cannot be read"]
    assert not Path("executed").exists()


def test_reading_does_not_wait_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "checkpoint-1.pt")
    assert Checkpoints(tmp_path, {}, note=lambda text: None).read() is None
