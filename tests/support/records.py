"""A realistic record that tests modify and write to disk."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

from aegen_bench.results.timings import Stage, Timing, identity

PROTOCOL = {
    "name": "lite",
    "extractor": "efficientnet_lite0",
    "describe": "Protocol aaaaaaaaaaaa: EfficientNet-Lite0 at 224 px.",
}
INCEPTION = {"name": "paper", "extractor": "inception", "describe": "Protocol bbbbbbbbbbbb: FID Inception at 299 px."}


def evaluation(draws: list[dict[str, float]], protocol: dict[str, str] = PROTOCOL) -> dict[str, Any]:
    settings = {"protocol": protocol, "fd": {"n_generated": 10000, "n_real": 10000}, "prd": {"clusters": 20}}
    return {"draws": draws, "model": {"reconstruction_mse": 0.011}, "settings": settings, "failed": {}}


def make(**fields: Any) -> dict[str, Any]:
    """Return a record of one good trial of glf on fashion under `lite`; keywords replace its fields."""
    record = {
        "schema": 1,
        "key": "3f2a000000000000",
        "profile": "lite",
        "dataset": "fashion",
        "row": "glf",
        "seed": 0,
        "status": "ok",
        "reason": "",
        "collapsed": False,
        "metrics": {"a1b2c3d4e5f6": evaluation([{"fd": 674.1, "f8": 0.91, "f1_8": 0.88}])},
        "stages": {
            "train": {"epochs": 10, "steps": 1870, "images": 119680, "seconds": 290.0, "seconds_per_epoch": 28.9}
        },
        "seconds": {"train": 290.0, "extract": 0.0, "fit": 0.0, "sample": 4.0, "features": 33.0, "metrics": 30.0},
        "peak_memory": 1234567890,
        "parameters": {"total": 13225141, "encoder": 6578644, "decoder": 6597185, "flow": 49312},
        "layers": {"encoder": "Conv 1->64", "decoder": "Linear 20->1024", "flow": "4 blocks"},
        "facts": {},
        "config": {
            "baseline": "glf",
            "recon": "sse",
            "with": {"beta": 1.0},
            "stages": {"train": {"epochs": 10, "batch": 64, "lr": 0.001, "lr_at": [[5.0, 0.5]]}},
            "precision": "fp32",
            "d": 20,
            "flow_width": 64,
            "train_images": 12000,
            "overrides": ["epochs x 0.1", "batch 64"],
            "dagger": [],
        },
        "environment": {"device": "AMD EPYC, 2 threads", "device_type": "cpu", "threads": 2, "torch": "2.14.1"},
    }
    return copy.deepcopy(record) | copy.deepcopy(fields)


def ended(status: str, **fields: Any) -> dict[str, Any]:
    """Return the record of a trial that ended badly: without metrics or parameter counts."""
    empty: dict[str, Any] = {"metrics": {}, "stages": {}, "seconds": {}, "parameters": {}, "peak_memory": None}
    return make(status=status, **({"reason": "loss is nan"} | empty | fields))


def put(root: Path, *records: dict[str, Any]) -> list[Path]:
    """Write records where they belong under `root`, without using the writer under test, and return their paths."""
    paths = []
    for r in records:
        path = root / r["profile"] / r["dataset"] / r["row"] / f"seed-{r['seed']}" / "record.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(r))
        paths.append(path)
    return paths


def put_artefacts(folder: Path, epochs: int = 4, *, side: int = 8, probes: bool = False) -> None:
    """Write a history and artefacts beside a record, as a trial does; the images depend on the row's name."""
    start = sum(folder.parent.name.encode()) % 256
    images = (np.arange(36 * side * side).reshape(36, 1, side, side) + start).astype(np.uint8)
    arrays: dict[str, Any] = {
        "samples": images,
        "interpolations": images[:20].reshape(2, 10, 1, side, side),
        "reconstructions": images[:8].reshape(4, 2, 1, side, side),
        "neighbours": images[:12].reshape(2, 6, 1, side, side),
        "prd": np.stack([np.linspace(0, 1, 1001), np.linspace(1, 0, 1001)]).astype(np.float32),
    }
    np.savez_compressed(folder / "artefacts.npz", **arrays)
    values = {"terms": {"model": {"reconstruction": 9.0, "nll": 3.0}}, "logs": {"half_sse": 9.0, "entropy_paper": 1.0}}
    rows = [{"stage": "train", "epoch": i, "images": i, "seconds": i, **values} for i in range(1, epochs + 1)]
    looked = [{**row, "metrics": {"fd": 50.0}, "probe_train": values, "probe_test": values} for row in rows]
    (folder / "history.json").write_text(json.dumps({"epochs": rows, "probes": looked if probes else []}))


def timing(
    row: str, *seconds: float, others: float | None = 0.0, device: str = "EPYC, 2 threads", **changes: Any
) -> Timing:
    """Return a timing run of a row on fashion under `lite`, whose stage `train` has timed epochs of these `seconds`;
    keywords replace its fields.
    """
    about = {"device": device, "precision": "fp32"}
    facts = {
        "profile": "lite",
        "dataset": "fashion",
        "row": row,
        "key": make()["key"],
        "when": "2026-01-01T00:00:00+00:00",
    }
    spent = {"extract": 1.0, "fit": 2.0, "sample": 4.0, "sampled": 10_000, "peak_memory": 2**30, "others": others}
    known: dict[str, Any] = {"id": identity(about), "about": about, **facts, **spent}
    return Timing(**{**known, "stages": {"train": stage(*seconds)} if seconds else {}, **changes})


def stage(*seconds: float, epochs: float = 10) -> Stage:
    """Return a training stage of `epochs`, of which those timed took these `seconds`."""
    return Stage(seconds=seconds, epochs=epochs, images=12_000, steps=1870)
