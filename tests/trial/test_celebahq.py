"""Images of 256 px: the whole program on a folder of them, without a second copy of a training set of 6 GB."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Bench
from fake_data import write_png
from PIL import Image

from aegen_bench.blocks import nets
from aegen_bench.study import Study, catalog
from aegen_bench.trial.job import Job, Place


@pytest.fixture
def faces(bench: Bench) -> Bench:
    """A bench with a folder `celebahq` of twenty smooth pictures. A run trains on it for one epoch of two steps."""
    coarse = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    for i, picture in enumerate(coarse):
        smooth = np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.BICUBIC))
        write_png(bench.data / "celebahq" / f"{i:05d}.png", smooth)
    stages = {"*": {"epochs": 1, "batch": 2, "lr_at": {}}}
    bench.declare(profiles=bench.tiny(models=["glf"], datasets=["celebahq"], train_images=4, stages=stages))
    return bench


@pytest.mark.slow
def test_glf_trains_on_a_folder_of_256_px_images(faces: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets, "DCGAN_WIDTHS", (8, 8, 8, 16, 16, 16))  # the real ones take ten times as long
    ended = faces("run", "--profile", "tiny")
    assert ended.code == 0, ended
    record = faces.record("glf", dataset="celebahq")
    config, folder = record["config"], faces.trial("glf", dataset="celebahq")
    assert (config["shape"], config["d"], config["n_train"]) == ([3, 256, 256], 128, 4)
    assert record["layers"]["decoder"].startswith("FC256, BN, ReLU, 4x4 Deconv16, BN, ReLU, 4x4 Deconv16, BN, ReLU")
    with Image.open(folder / "samples.png") as samples:
        assert samples.size == (5 * 256 + 4, 5 * 256 + 4)
    assert (folder / "artefacts.npz").stat().st_size < 12e6


@pytest.mark.slow
def test_glf_with_a_perceptual_loss_trains_on_256_px_images_too(faces: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setattr(nets, "DCGAN_WIDTHS", (8, 8, 8, 16, 16, 16))
    changes = {"models": ["glf_perceptual"], "datasets": ["celebahq"], "train_images": 2}
    stages = {"*": {"epochs": 1, "batch": 2, "lr_at": {}}}
    faces.declare(profiles=faces.tiny(**changes, stages=stages, perceptual_net="efficientnet_lite0"))
    assert faces("run", "--profile", "tiny").code == 0
    record = faces.record("glf_perceptual", dataset="celebahq")
    assert (record["status"], record["config"]["recon"]) == ("ok", "perceptual")
    (terms,) = json.loads((faces.trial("glf_perceptual", dataset="celebahq") / "history.json").read_text())["epochs"]
    assert 0 < terms["terms"]["model"]["reconstruction"] < terms["logs"]["half_sse"], (
        "a sum of means, not a sum over pixels"
    )


@pytest.mark.parametrize("train_images", [None, 12], ids=["all", "a subset"])
def test_the_training_set_is_in_memory_once(faces: Bench, train_images: int | None) -> None:
    settings = [f"train_images={train_images or 1000}"]
    study = Study("tiny", local=faces.folder, data=faces.data, settings=settings)
    (trial,) = study.trials(["glf"], ["celebahq"], [0])
    place = Place(faces.data, faces.folder / "results", faces.folder / "weights")
    job = Job(trial, catalog.find(faces.folder)["glf"], [], 1, place)
    job.images("train")  # decoded and cached, before anything is measured
    tracemalloc.start()
    try:
        images, whole = job.training_images()
        again = job.training_set
        size, (_, peak) = images.numel(), tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(images), whole, images.dtype) == (train_images or 18, 18, torch.uint8)
    assert size <= peak < 1.2 * size
    assert np.shares_memory(again, images.numpy())
    assert not Path(faces.folder / "results").exists()
