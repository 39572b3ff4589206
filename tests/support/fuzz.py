"""A seeded fuzz test of the whole command line: how do commands end on untrusted files and odd requests?

A case is identified by a kind and a number. It copies a finished run, damages or adds something, and runs a few
commands in this process. `python tests/support/fuzz.py 3000` runs 3000 cases of each kind that is not SLOW. It prints a
table of how they ended and, for each fault, the command that reproduces it. tests/test_fuzz.py runs a few dozen cases.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import faulthandler
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import TINY, Bench, Ended

PATIENCE = 180  # seconds that a command may take, even on busy processors
MEMORY = 12 << 30  # bytes that the process may allocate; with torch imported it needs one or two GiB
FAULTS = ("traceback", "net", "hang", "silence", "wrote outside", "lost weights")
OUTCOMES = ("done", "done in part", "refused", "skipped", "stopped", "killed", *FAULTS)

WORDS = (
    "", " ", ".", "..", "../x", "/etc/passwd", "a/b", "a" * 300, "\udcff", "nan", "inf", "-1", "0", "1e999", "[x]",
    "[bold]", "=1+1", "@x", "-x", "--x", "\x1b[31mred", "a\nb", "größe", "all", "external", "anchors", "tables",
    ".locks", "null", "true", "2147483648", "9" * 30, ",", ",,", "1,", "2,x", "{", "{{x}}", "*a",
    "!!python/name:os.system", "%s", "$HOME", "~", "~nobody/x", "\\input{x}", "<script>alert(1)</script>", "tiny",
    "digits", "glf", "vae", "rae_gmm", "smoke", "lite", "cpu", "glf,vae", "x" * 70,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, 1e-308, float("nan"), float("inf"),
    [], {}, [[]], [None], {"": 0}, {"draws": []}, {"a": {"b": {"c": 1}}}, "2026-11-29", *WORDS,
)  # fmt: skip

Rng = random.Random
Made = tuple[Callable[[Bench], None], list[tuple[str, ...]]]  # the function that prepares a case, and its commands


@dataclass(frozen=True)
class Case:
    """What is done to a copy of a finished run, and the commands that follow; with `process`, each in a new process."""

    kind: str
    seed: int
    commands: tuple[tuple[str, ...], ...]
    prepare: Callable[[Bench], None]
    process: bool = False


@dataclass(frozen=True)
class Result:
    """How one command ended: one of OUTCOMES, and the output or traceback that shows it."""

    case: Case
    command: tuple[str, ...]
    outcome: str
    detail: str


# ---- damage ------------------------------------------------------------------------------------


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) inside a JSON value."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def changed(rng: Rng, value: Any) -> Any:
    """Return a copy of a JSON value with one to three things changed, removed, renamed or added."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        found = list(places(value))
        if not found:
            return rng.choice(VALUES)
        container, key = rng.choice(found)
        match rng.randrange(6):
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container[rng.choice(WORDS)] = container.pop(key)
            case 2:
                other, there = rng.choice(found)
                container[key] = copy.deepcopy(other[there]) if there in other or isinstance(other, list) else None
            case 3 if isinstance(container, dict):
                container[rng.choice(WORDS)] = rng.choice(VALUES)
            case _:
                container[key] = rng.choice(VALUES)
    return value


def damaged(rng: Rng, raw: bytes) -> bytes:
    """Return the bytes with some of them changed, cut, doubled or inserted."""
    out = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0:
                del out[at:]
            case 1:
                del out[at : at + rng.randrange(1, 20)]
            case 2:
                out[at:at] = rng.choice([b"\0", b"\xff\xfe", b"{", b"[" * 20_000, b'"', b"\n", b"-", b"1e999", b"NaN"])
            case 3:
                out[at:at] = out[at : at + 50]
            case _ if at < len(out):
                out[at] = rng.randrange(256)
    return bytes(out)


def special(rng: Rng, path: Path) -> None:
    """Replace a file or folder with something that is not a regular file or never ends, or with an empty file."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    match rng.randrange(7):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to("/dev/zero")
        case 2:
            path.symlink_to(path.name)
        case 3:
            path.symlink_to("nowhere")
        case 4:
            path.mkdir()
        case 5:
            path.symlink_to("..")
        case 6:
            path.write_bytes(b"")


def json_file(rng: Rng, path: Path) -> None:
    if rng.random() < 0.1:
        return special(rng, path)
    raw = path.read_bytes()
    if rng.random() < 0.7:
        path.write_text(json.dumps(changed(rng, json.loads(raw))))
    else:
        path.write_bytes(damaged(rng, raw))
    return None


def any_file(rng: Rng, path: Path) -> None:
    if rng.random() < 0.3:
        special(rng, path)
    else:
        path.write_bytes(damaged(rng, path.read_bytes()))


def npz_bytes(rng: Rng, **arrays: Any) -> bytes:
    """Return an npz as numpy writes it, or one that is malformed or damaged."""
    packed = io.BytesIO()
    method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=True)
            raw = content.getvalue()
            if rng.random() < 0.3:
                shape = str(array.shape).encode()
                raw = raw.replace(shape, rng.choice([b"(9999999, 9999999)", b"(-1,)", b"(2, 8, 8, 3)", b"None"]), 1)
            archive.writestr(f"{name}.npy", raw)
    return packed.getvalue() if rng.random() < 0.7 else damaged(rng, packed.getvalue())


def array(rng: Rng) -> np.ndarray[Any, Any]:
    if rng.random() < 0.4:
        return np.random.default_rng(rng.randrange(2**31)).integers(0, 256, (70, 8, 8), dtype=np.uint8)
    side = rng.choice([0, 1, 4, 8, 8, 8, 10, 12])
    shape = rng.choice(
        [(70, side, side), (70, side, side, 3), (70, 1, side, side), (70, side, side + 4), (70,), (1, 8, 8), ()]
    )
    kind = rng.choice(["u1", "u1", "u1", "f4", "f8", "i8", "?", "O", "S3", "c8", "f2"])
    made = np.random.default_rng(rng.randrange(2**31)).integers(0, 256, shape).astype(np.uint8)
    if kind in ("f4", "f8", "f2"):
        return (made / rng.choice([255, 255, 1, -255])).astype(kind)
    return made.astype(kind)


def png(rng: Rng) -> bytes:
    """Return a small PNG, valid or not."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    depth, colour = rng.choice([(8, 0), (8, 0), (8, 2), (16, 2), (8, 3), (8, 4), (8, 6), (1, 0), (16, 0), (3, 7)])
    side = rng.choice([8, 8, 8, 8, 9, 0, 70_000, 2**31])
    raw = zlib.compress(bytes(rng.randrange(256) for _ in range(8 * 70)))
    head = chunk(b"IHDR", struct.pack(">2I5B", side, 8 if rng.random() < 0.8 else side, depth, colour, 0, 0, 0))
    whole = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", raw) + chunk(b"IEND", b"")
    return whole if rng.random() < 0.6 else damaged(rng, whole)


def picture(rng: Rng) -> bytes:
    mode = rng.choice(["L", "L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "F", "YCbCr"])
    kind = rng.choice(["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "EPS", "PPM", "ICO"])
    packed = io.BytesIO()
    with contextlib.suppress(Exception):  # not every format supports every mode
        Image.new(mode, (8, 8), rng.randrange(200)).save(packed, kind)
    raw = packed.getvalue() or png(rng)
    return raw if rng.random() < 0.6 else damaged(rng, raw)


def images(rng: Rng, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    odd = rng.choice([0, 0, 0.01, 0.01, 0.5])
    for number in range(rng.choice([0, 2, 70, 70, 70])):
        if rng.random() >= odd:
            Image.new("L", (8, 8), rng.randrange(256)).save(folder / f"{number:03}.png")
            continue
        path = folder / f"{number:03}.{rng.choice(['png', 'png', 'jpg', 'tif', 'webp', 'bmp', 'PNG', 'txt'])}"
        if rng.random() < 0.1:
            special(rng, path)
        else:
            path.write_bytes(picture(rng) if rng.random() < 0.5 else png(rng))
    if rng.random() < 0.1:
        Path(os.fsdecode(bytes(folder) + b"/\xff.png")).write_bytes(png(rng))


# ---- kinds of cases ----------------------------------------------------------------------------

TRIAL = "results/tiny/digits/{}/seed-0"
CROWD = 15
ROWS = ("vae", "rae_gmm", "glf")
LOOKS = (
    ("report", "--profile", "tiny"),
    ("report", "--profile", "tiny", "--claims"),
    ("report", "--profile", "tiny", "--format", "json"),
    ("report", "--profile", "tiny", "--format", "html"),
    ("report", "--profile", "tiny", "--format", "csv"),
    ("list", "--profile", "tiny"),
    ("list", "trials", "--profile", "tiny"),
    ("list", "--why", "glf", "--profile", "tiny"),
    ("doctor",),
    ("run", "--profile", "tiny", "--dry-run", "--no-forecast"),
)


def records(rng: Rng) -> Made:
    """A damaged record of a trial or of anchors, and commands that read it."""
    row = rng.choice(ROWS)
    where = rng.choice([TRIAL.format(row)] * 4 + ["results/anchors/digits/floor/seed-0"])

    def prepare(bench: Bench) -> None:
        json_file(rng, bench.folder / where / "record.json")

    others = [
        ("clean", "--yes"),
        ("merge", "results", "--results", "mine"),
        ("evaluate", "--trial", where),
        ("evaluate", "--trial", where, "--protocol", "other"),
        ("sample", row, "--dataset", "digits", "--out", "drawn", "-n", "2"),
        ("run", "--profile", "tiny"),
    ]
    return prepare, [rng.choice([*LOOKS, *LOOKS, *others]), rng.choice([*LOOKS, *others])]


def neighbours(rng: Rng) -> Made:
    """Damaged history, artefacts, log, lock or weights of a trial."""
    row = rng.choice(ROWS)

    def prepare(bench: Bench) -> None:
        folder = bench.folder / TRIAL.format(row)
        match rng.randrange(5):
            case 0 | 1:
                json_file(rng, folder / "history.json")
            case 2:
                arrays = {
                    name: array(rng)
                    for name in ("samples", "neighbours", "reconstructions", "prd")
                    if rng.random() < 0.8
                }
                (folder / "artefacts.npz").write_bytes(npz_bytes(rng, **arrays))
            case 3:
                any_file(rng, rng.choice(sorted((bench.data / "weights").iterdir())))
            case 4:
                any_file(rng, rng.choice(sorted(folder.iterdir())))

    others = [
        ("sample", row, "--dataset", "digits", "--out", "drawn.npz", "-n", "2"),
        ("evaluate", "--trial", TRIAL.format(row), "--protocol", "other"),
        ("report", "--profile", "tiny", "--figures", "curves"),
        ("report", "--profile", "tiny", "--figures", "samples"),
        ("report", "--profile", "tiny", "--format", "html"),
        ("clean", "--yes"),
        ("merge", "results", "--results", "mine"),
    ]
    return prepare, [rng.choice([*others, *LOOKS]), rng.choice(LOOKS)]


def crowds(rng: Rng) -> Made:
    """Many seeds of one row, each with a damaged record, history or artefacts."""
    row = rng.choice(ROWS)

    def prepare(bench: Bench) -> None:
        first = bench.folder / TRIAL.format(row)
        for seed in range(1, 1 + CROWD):
            folder = first.with_name(f"seed-{seed}")
            shutil.copytree(first, folder)
            record = json.loads((folder / "record.json").read_text())
            (folder / "record.json").write_text(json.dumps({**record, "seed": seed}))
            match rng.randrange(4):
                case 0:
                    json_file(rng, folder / "history.json")
                case 1:
                    arrays = {name: array(rng) for name in ("samples", "reconstructions", "prd") if rng.random() < 0.8}
                    (folder / "artefacts.npz").write_bytes(npz_bytes(rng, **arrays))
                case _:
                    json_file(rng, folder / "record.json")

    return prepare, [
        rng.choice(LOOKS),
        rng.choice([*LOOKS, ("merge", "results", "--results", "mine"), ("clean", "--yes")]),
    ]


def links(rng: Rng) -> Made:
    """A part of the results or data folder that is replaced by a link, a FIFO, a device or something empty."""

    def prepare(bench: Bench) -> None:
        root = rng.choice([bench.folder / "results", bench.folder / "results", bench.data])
        path = rng.choice(sorted(root.rglob("*")))
        if rng.random() < 0.4:
            outside = bench.folder.parent / "elsewhere"
            path.rename(outside)
            path.symlink_to(outside)
        else:
            special(rng, path)

    others = [
        ("clean", "--yes"),
        ("run", "--profile", "tiny"),
        ("merge", "results", "--results", "mine"),
        ("report",),
    ]
    return prepare, [rng.choice([*LOOKS, *others]), rng.choice([*LOOKS, *others])]


def declarations(rng: Rng) -> Made:
    """benchmarks.yaml or published.yaml with damaged content or damaged bytes."""
    row = rng.choice(ROWS)

    def prepare(bench: Bench) -> None:
        content = copy.deepcopy(TINY)
        content["rows"] = {"beta": {"baseline": "vae", "sweep": {"beta": [1, 2]}}, "glf": {"with": {"beta": 2}}}
        content["groups"] = {"both": ["glf", "vae"]}
        content["datasets"] = {"mine": {"recipe": {"source": "npz", "size": 8}, "d": 8, "stages": {"*": {"epochs": 2}}}}
        path = bench.folder / "benchmarks.yaml"
        if rng.random() < 0.2:
            shipped = Path(__file__).parents[2] / "baselines" / "published.yaml"
            path = bench.folder / "baselines" / "published.yaml"
            path.parent.mkdir()
            path.write_bytes(shipped.read_bytes())
            content = yaml.safe_load(shipped.read_text())
        match rng.randrange(8):
            case 0:
                path.write_bytes(damaged(rng, yaml.safe_dump(content, sort_keys=False).encode()))
            case 1:
                bomb = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(12))
                path.write_text(
                    rng.choice([bomb, "[" * 20_000, "a: !!python/name:os.system\n", "\ufeffa: 1\n", "a: &a [*a]\n"])
                )
            case 2:
                special(rng, path)
            case _:
                path.write_text(yaml.safe_dump(changed(rng, content), sort_keys=False))

    others = [
        ("list",),
        ("run", "--profile", "tiny", "--models", "all", "--dry-run", "--no-forecast"),
        ("report", "--profile", "tiny", "--tables", "1"),
        ("evaluate", "nothing", "--dataset", "digits", "--protocol", "tiny"),
        ("fetch", "digits"),
    ]
    return prepare, [rng.choice([*LOOKS, *others]), rng.choice([*LOOKS, ("clean", "--yes"), ("list", row)])]


SETTINGS = {
    "train_images": "64",
    "protocols": "[tiny]",
    "scale_epochs": "0.5",
    "seeds": "2",
    "draws": "2",
    "d": "4",
    "recon": "sse",
    "precision": "fp32",
    "models": "[glf]",
    "datasets": "[digits]",
    "probe": "{every: 1, images: 64}",
    "stages.*.lr": "0.01",
    "stages.*.batch": "32",
    "stages.*.lr_at": "{1: 0.5}",
    "stages.train.epochs": "2",
    "rows.glf.with.beta": "2",
    "rows.glf.stages.train.optimizers": "{model: {lr: 0.1}}",
    "rows.vae.on.digits.with.beta": "3",
}


def settings(rng: Rng) -> Made:
    """--set with odd paths and values."""
    given: list[str] = []
    for _ in range(rng.choice([1, 1, 2])):
        key, value = rng.choice(list(SETTINGS.items()))
        match rng.randrange(12):
            case 0:
                key += "." + rng.choice(WORDS)
            case 1:
                key = rng.choice(WORDS)
            case 2 | 3:
                value = str(rng.choice(VALUES))
            case 4:
                value = json.dumps(rng.choice(VALUES))
            case 5:
                value = rng.choice(["[" * 9000, "{a: 1}", "[]", "[[]]", "{}", "*a", "!!set {a}", "- 1"])
            case 6:
                value = damaged(rng, value.encode()).decode(errors="replace").replace("\0", "")
        given += ["--set", f"{key}={value}"]
    command = rng.choice(
        [("list",), ("list", "trials"), ("run", "--dry-run", "--no-forecast"), ("list", "--why", "glf")]
    )
    return lambda bench: None, [(*command, "--profile", "tiny", *given)]


# The argument and the options of each command. FITTING has a valid value for each option.
REQUESTS = {
    "run": ("", "models datasets seeds profile device jobs devices jobs-per-device precision set data results weights "
                "retry checkpoint-every time-limit resources"),
    "evaluate": ("images", "dataset against trial protocol count name seed device data results weights"),
    "sample": ("glf", "dataset out count seed draw profile device data results weights"),
    "list": ("models", "why profile set data results weights"),
    "report": ("", "profile format tables figures models datasets protocol spread data results out"),
    "clean": ("", "data results weights"),
    "merge": ("results", "results"),
    "fetch": ("digits", "data"),
    "check": ("odd", "data"),
    "new": ("my_model", "data"),
    "doctor": ("", "data"),
}  # fmt: skip
FITTING = {
    "models": "glf", "datasets": "digits", "seeds": "1", "profile": "tiny", "device": "cpu", "jobs": "1",
    "devices": "cpu", "jobs-per-device": "1", "precision": "fp32", "set": "train_images=64", "data": "../data",
    "results": "results", "weights": "../data/weights", "retry": "failed", "checkpoint-every": "5",
    "time-limit": "1h", "resources": "GPU=1", "dataset": "digits", "against": "images.npz",
    "trial": "results/tiny/digits/glf/seed-0", "protocol": "tiny", "count": "20", "name": "mine", "seed": "0",
    "out": "drawn", "draw": "0", "why": "glf", "format": "json", "tables": "1", "figures": "curves", "spread": "seeds",
}  # fmt: skip
NEEDED = {
    "run": "profile",
    "evaluate": "dataset protocol",
    "sample": "dataset out",
    "report": "profile",
    "list": "profile",
    "merge": "results",
}


def requests(rng: Rng) -> Made:
    """A command with random options, most of them with valid values."""

    def word(fitting: str) -> str:
        return fitting if rng.random() < 0.7 else rng.choice([*WORDS, *FITTING.values()])

    name = rng.choice(list(REQUESTS))
    positional, options = REQUESTS[name]
    command = [name, *([word(positional)] if positional or rng.random() < 0.1 else [])]
    needed = NEEDED.get(name, "").split()
    for option in options.split():
        if rng.random() < (0.9 if option in needed else 0.2):
            value = word("other" if (name, option) == ("merge", "results") else FITTING[option])
            command += [f"--{option}", value] if rng.random() < 0.8 else [f"--{option}={value}"]
    if name == "run":
        command += ["--dry-run", "--no-forecast"]
    if name == "clean":
        command.append("--yes")
    if name == "fetch":
        command = [part for part in command if part not in ("all", "smoke", "lite")]

    def prepare(bench: Bench) -> None:
        images(rng, bench.folder / "images")
        np.savez(bench.folder / "images.npz", np.zeros((70, 8, 8), np.uint8))
        (bench.folder / "baselines").mkdir()
        (bench.folder / "baselines" / "odd.py").write_text(METHOD)

    return prepare, [tuple(command), ("report", "--profile", "tiny")]


def datasets(rng: Rng) -> Made:
    """The user's own data: an npz, a folder of images, prepared arrays, features."""

    def prepare(bench: Bench) -> None:
        match rng.randrange(6):
            case 0 | 1:
                names = rng.choice([("x_train", "x_test"), ("train_images", "test_images"), ("x_train",), ("a", "b")])
                (bench.data / "mine.npz").write_bytes(npz_bytes(rng, **{name: array(rng) for name in names}))
            case 2:
                for split in rng.choice([("train", "test"), ("train",), ("train/a", "train/b", "test/a"), ("",)]):
                    images(rng, bench.data / "mine" / split)
            case 3:
                special(
                    rng,
                    bench.data / rng.choice(["mine.npz", "mine", "mine/train/0.png", "fashion.npz", "celeba", "MNIST"]),
                )
            case 4:
                json_file(
                    rng, bench.data / next((bench.data / "prepared").glob("*/train.json")).relative_to(bench.data)
                )
            case 5:
                any_file(rng, rng.choice([path for path in sorted(bench.data.rglob("*")) if path.is_file()]))

    others = [
        ("list", "datasets"),
        ("run", "--profile", "tiny", "--datasets", "mine", "--dry-run", "--no-forecast"),
        ("run", "--profile", "tiny", "--datasets", "digits"),
        ("fetch", "mine"),
        ("fetch", "celeba") if rng.random() < 0.2 else ("fetch", "digits"),
        ("evaluate", str(Path("..", "data", "mine.npz")), "--dataset", "digits", "--protocol", "tiny"),
        ("evaluate", str(Path("..", "data", "mine")), "--dataset", "mine", "--protocol", "tiny"),
    ]
    return prepare, [rng.choice(others), rng.choice([*others, *LOOKS])]


def generated(rng: Rng) -> Made:
    """Images of another generator, to be evaluated."""
    file = rng.choice(["images", "images", "images.npz", "images.npy", "other"])

    def prepare(bench: Bench) -> None:
        images(rng, bench.folder / "images")
        (bench.folder / "images.npz").write_bytes(npz_bytes(rng, images=array(rng)))
        content = io.BytesIO()
        np.save(content, array(rng), allow_pickle=True)
        raw = content.getvalue()
        (bench.folder / "images.npy").write_bytes(raw if rng.random() < 0.6 else damaged(rng, raw))
        if file == "other":
            special(rng, bench.folder / "other")

    against = rng.choice(
        [("--dataset", "digits"), ("--dataset", "digits"), ("--against", "images.npz"), ("--against", "images")]
    )
    extra = rng.choice([(), (), ("--count", "20"), ("--name", rng.choice(WORDS)), ("--seed", rng.choice(WORDS))])
    return prepare, [("evaluate", file, *against, "--protocol", "tiny", *extra), rng.choice(LOOKS)]


METHOD = '''
from aegen_bench.baseline import Baseline


class Odd(Baseline):
    """A method."""

    def __init__(self, nets, *, beta: float = 1.0, name: str = "x") -> None:
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()

    def step(self, x, index):
        yield "model", {"loss": self.recon(self.decoder(self.encoder(x)), x)}

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)
'''
ODD = (
    "import sys; sys.exit(0)", "raise SystemExit", "raise KeyboardInterrupt", "raise BaseException", "1 / 0",
    "x = " + "(" * 20_000, "x = " + "1+" * 20_000 + "1", "import my_helpers", "# coding: latin-1\nx = '\xe4'",
    "from __future__ import nothing", "\0", "\ufeff", "class Odd: pass", "class Even(Baseline): pass",
    "def __init__(self, nets, *, x: [().__class__] = ()): pass", "yield", "\tx", "",
)  # fmt: skip


def methods(rng: Rng) -> Made:
    """A method with damaged or odd source, and commands that read or import it."""

    def prepare(bench: Bench) -> None:
        path = bench.folder / "baselines" / "odd.py"
        path.parent.mkdir()
        match rng.randrange(5):
            case 0:
                path.write_bytes(damaged(rng, METHOD.encode()))
            case 1:
                special(rng, path)
            case 2:
                lines = METHOD.splitlines()
                lines.insert(rng.randrange(len(lines)), rng.choice(ODD))
                path.write_text("\n".join(lines), errors="surrogateescape")
            case 3:
                path.write_text(
                    METHOD.replace(rng.choice(["1.0", '"x"', "float", "str"]), rng.choice(WORDS)), errors="replace"
                )
            case 4:
                lines = METHOD.splitlines()
                lines[rng.randrange(len(lines))] = rng.choice(
                    ["", "        pass", "        return None", "        raise SystemExit(0)"]
                )
                path.write_text("\n".join(lines))

    runs = [("check", "odd"), ("run", "--profile", "tiny", "--models", "odd,vae")]
    return prepare, [rng.choice([*LOOKS, ("list",), *runs]), rng.choice([*LOOKS, ("list", "models")])]


ENDINGS = (
    "import os; os._exit(0)", "import os; os._exit(3)", "import os; os.abort()", "import sys; sys.exit(0)",
    "raise KeyboardInterrupt", "import os; os.kill(os.getpid(), 11)",
    "import threading; threading.Thread(target=lambda: 1 / 0).start()", "import os; os.close(2)",
    "import os; os.close(1)", "import os; os.chdir('/')", "raise MemoryError", "raise RecursionError",
    "import os; os.kill(os.getpid(), 9)",
)  # fmt: skip


def endings(rng: Rng) -> Made:
    """A method that ends or disturbs its process, run in a new process."""
    ending = rng.choice(ENDINGS)

    def prepare(bench: Bench) -> None:
        path = bench.folder / "baselines" / "odd.py"
        path.parent.mkdir()
        anchor = rng.choice(
            [
                "\n\nclass Odd",
                "        super().__init__(nets)",
                '        yield "model"',
                "        return self.decoder(z)",
            ]
        )
        indent = "" if anchor.startswith("\n") else "        "
        path.write_text(METHOD.replace(anchor, f"\n{indent}{ending}\n{anchor}"))

    run = ("run", "--profile", "tiny", "--models", "odd,vae", *rng.choice([(), (), ("--jobs", "2")]))
    return prepare, [rng.choice([run, run, ("check", "odd")]), ("list", "trials", "--profile", "tiny")]


KINDS: dict[str, Callable[[Rng], Made]] = {
    "records": records,
    "neighbours": neighbours,
    "crowds": crowds,
    "links": links,
    "declarations": declarations,
    "settings": settings,
    "requests": requests,
    "datasets": datasets,
    "generated": generated,
    "methods": methods,
    "endings": endings,
}
SLOW = ("endings",)


def case(kind: str, seed: int) -> Case:
    """Return the case of this kind and number: always the same one, as long as this file and Python stay the same."""
    prepare, commands = KINDS[kind](random.Random(f"{kind} {seed}"))
    return Case(kind, seed, tuple(commands), prepare, process=kind in SLOW)


# ---- running -----------------------------------------------------------------------------------


class Hung(KeyboardInterrupt):
    """A command took longer than PATIENCE.

    It is a KeyboardInterrupt, because only Ctrl-C gets through the program whatever a method does.
    """


def template(folder: Path) -> Bench:
    """Make the finished run that every case starts from."""
    made = Bench(folder / "work", folder / "data")
    made.folder.mkdir(parents=True)
    made.declare()
    ended = made("run", "--profile", "tiny")
    assert ended.code == 0, ended.err
    return made


def attempt(case: Case, finished: Bench, folder: Path) -> list[Result]:
    """Run a case in `folder`, which is created and removed again; return how each of its commands ended."""
    bench = Bench(folder / "place" / "work", folder / "place" / "data")
    shutil.copytree(finished.folder, bench.folder)
    shutil.copytree(finished.data, bench.data)
    (bench.folder.parent / "victim").mkdir()
    (bench.folder.parent / "victim" / "settings.json").write_text("untouched")
    case.prepare(bench)
    results = []
    try:
        for command in case.commands:
            before = _state(bench)
            outcome, detail = _ended(bench, command, case.process)
            if command[0] == "run" and outcome == "done" and not _whole(bench, command):
                outcome, detail = "silence", "exit code 0, and not every trial has a record"
            if outcome not in FAULTS and (lost := _lost(bench, command, before)):
                outcome, detail = lost
            results.append(Result(case, command, outcome, detail))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return results


def _whole(bench: Bench, command: tuple[str, ...]) -> bool:
    """Whether a run of `odd`, the method under test, and `vae` left a record of both; True for other commands."""
    return "odd,vae" not in command or all((bench.trial(row) / "record.json").is_file() for row in ("odd", "vae"))


def _ended(bench: Bench, command: tuple[str, ...], process: bool) -> tuple[str, str]:
    hung: list[str] = []
    try:
        with _limits(hung):
            ended = bench.process(*command) if process else bench(*command)
    except BaseException:
        if hung:
            return "hang", hung[0]
        return "traceback", "".join(traceback.format_exc().splitlines(keepends=True)[-12:])
    if hung:
        return "hang", hung[0]
    how, told = outcome(ended), ended.err[-600:] or ended.out[-300:]
    if how in ("net", "hang"):
        kept = re.search(r"traceback is in (\S+)", told)
        with contextlib.suppress(OSError):
            told += "".join((bench.folder / kept[1]).read_text().splitlines(keepends=True)[-16:]) if kept else ""
    return how, told


def outcome(ended: Ended) -> str:
    """Return how a command ended, as one of OUTCOMES."""
    if "Traceback (most recent call last)" in ended.err + ended.out:
        return "traceback"
    if ended.code == 70:  # the command line caught an unexpected exception
        return "hang" if f"{Hung.__name__}" in ended.err else "net"
    if ended.code in (-6, -9, -11):  # by a signal that a method caused and its process cannot catch
        return "killed"
    if ended.code not in (130, 143) and not (ended.out.strip() or ended.err.strip()):
        return "silence"
    by_code = {0: "done", 1: "done in part", 2: "refused", 3: "skipped", 130: "stopped", 143: "stopped"}
    return by_code.get(ended.code, "traceback")


@contextlib.contextmanager
def _limits(hung: list[str]) -> Iterator[None]:
    """Context with a time limit, which adds the stack to `hung` when it is exceeded, a memory limit, and no network."""

    def stop(*args: object) -> None:
        hung.append("".join(traceback.format_stack()[-8:]))
        raise Hung

    def refuse(*args: object, **options: object) -> None:
        raise OSError("no network in a fuzz")

    before = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, hard))
    signal.alarm(PATIENCE)
    faulthandler.dump_traceback_later(PATIENCE + 60, exit=True)  # in case it is stuck in C code
    try:
        with mock.patch.object(socket, "create_connection", refuse), mock.patch.object(socket, "getaddrinfo", refuse):
            yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _state(bench: Bench) -> dict[str, str]:
    """Return what a command must leave alone: the folder `victim` next to the working folder, and the weights."""
    state = {}
    for path in sorted((bench.folder.parent / "victim").rglob("*")):
        state[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    weights = bench.data / "weights"
    if weights.is_dir() and not weights.is_symlink():
        state |= {str(path): "weights" for path in weights.glob("*.safetensors")}
    return state


def _lost(bench: Bench, command: tuple[str, ...], before: dict[str, str]) -> tuple[str, str] | None:
    after = _state(bench)
    gone = [path for path, content in before.items() if after.get(path) != content]
    # One file may be deleted, since a row may have been trained again, or its record may be so damaged that its weights
    # are no longer needed.
    outside = [path for path in gone if before[path] != "weights"]
    if outside:
        return "wrote outside", ", ".join(outside)
    new = [path for path in after if path not in before and after[path] != "weights"]
    if new:
        return "wrote outside", ", ".join(new)
    if command[0] == "clean" and len(gone) > 1:
        return "lost weights", ", ".join(gone)
    return None


def table(results: list[Result]) -> str:
    """Return a table of the inputs by kind, and of how the commands that read them ended."""
    counts = Counter((result.case.kind, result.outcome) for result in results)
    lines = [f"| kind | inputs | commands | {' | '.join(OUTCOMES)} |", "|---" * (len(OUTCOMES) + 3) + "|"]
    inputs = 0
    for kind in KINDS:
        of_kind = [result for result in results if result.case.kind == kind]
        made = len({result.case.seed for result in of_kind}) * (CROWD if kind == "crowds" else 1)
        inputs += made
        numbers = " | ".join(str(counts[kind, outcome]) for outcome in OUTCOMES)
        lines.append(f"| {kind} | {made} | {len(of_kind)} | {numbers} |")
    total = " | ".join(str(sum(counts[kind, outcome] for kind in KINDS)) for outcome in OUTCOMES)
    return "\n".join([*lines, f"| all | {inputs} | {len(results)} | {total} |"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, help="cases of each kind")
    parser.add_argument("--start", type=int, default=0, help="the first number")
    parser.add_argument("--kinds", default=",".join(kind for kind in KINDS if kind not in SLOW))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no more cases after so many seconds")
    args = parser.parse_args()
    results: list[Result] = []
    end = time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as place:
        finished = template(Path(place) / "finished")
        for seed in range(args.start, args.start + args.count):
            for kind in args.kinds.split(","):
                if time.monotonic() > end:
                    break
                made = attempt(case(kind, seed), finished, Path(place) / "case")
                for result in made:
                    if result.outcome in FAULTS:
                        again = f"python tests/support/fuzz.py 1 --start {seed} --kinds {kind}"
                        print(f"\n{result.outcome}: {again}\n  {result.command!r:.300}\n{result.detail}", flush=True)
                results += made
    print(table(results))


if __name__ == "__main__":
    main()
