"""Seeded mutations of the files in a results folder (records, histories and artefacts), as an attacker or a faulty disk
would make them.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[[random.Random, Path], str]
"""Changes a file in place and returns a short description of the change."""

HUGE = 10**400
RAW = {"1e999": "1e999", "NaN": "NaN", "a surrogate": '"\\ud800"', "deep": "[" * 20_000, "many digits": "1" * 5000}
VALUES: dict[str, Any] = {
    "null": None,
    "text": "text",
    "empty text": "",
    "true": True,
    "zero": 0,
    "negative": -1,
    "float": 0.5,
    "64 bits": 2**63,
    "huge": HUGE,
    "1e308": 1e308,
    "tiny": 5e-324,
    "list": [],
    "object": {},
    "list of null": [None],
    "object of text": {"a": "b"},
    "nested": {"a": {"a": {"a": [{}]}}},
    "a path": "../../../../victim/settings",
    "a whole path": "/tmp/victim",
    "control codes": "\x1b]0;title\x07\x1b[31m\x00",
    "a long text": "x" * 5000,
    "a script": "<script>alert(1)</script>$\\input{/etc/passwd}$",
    "a formula": "=HYPERLINK(1)",
}


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside parsed JSON."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here] * bool(here) + [found for name, part in parts for found in places(part, (*here, name))]


def change_json(chance: random.Random, path: Path) -> str:
    content = json.loads(path.read_text())
    *way, last = chance.choice(places(content))
    inner = content
    for name in way:
        inner = inner[name]
    kind = chance.choice(["value", "value", "value", "raw", "delete", "rename", "copy"])
    text = None
    if kind == "value":
        told = chance.choice(list(VALUES))
        inner[last] = copy.deepcopy(VALUES[told])
    elif kind == "raw":
        told = chance.choice(list(RAW))
        inner[last] = "@@"
        text = json.dumps(content).replace('"@@"', RAW[told])
    elif kind == "delete" or not isinstance(inner, dict):
        told = "deleted"
        del inner[last]
    else:
        told = kind
        name = chance.choice([text for text in VALUES.values() if isinstance(text, str)])
        inner[name] = inner.pop(last) if kind == "rename" else copy.deepcopy(inner[last])
    path.write_text(json.dumps(content) if text is None else text)
    return told


def change_bytes(chance: random.Random, path: Path) -> str:
    content = bytearray(path.read_bytes())
    kind = chance.choice(["flipped", "cut", "emptied", "doubled", "not UTF-8", "zeros"])
    if kind == "flipped":
        for _ in range(chance.choice([1, 3, 30])):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del content[chance.randrange(len(content)) :]
    elif kind == "emptied":
        content = bytearray()
    elif kind == "doubled":
        content = content * 2
    elif kind == "zeros":
        content[chance.randrange(len(content)) :] = bytes(1000)
    else:
        content[chance.randrange(len(content))] = 0xFF
    path.write_bytes(content)
    return f"bytes {kind}"


def change_file(chance: random.Random, path: Path) -> str:
    """Replace the file with something else: a FIFO, a folder, a link, or a sparse file of 1 TB."""
    kind = chance.choice(["FIFO", "folder", "loop of links", "link to /dev/zero", "link to nowhere", "sparse 1 TB"])
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse 1 TB":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        targets = {"loop of links": path.name, "link to /dev/zero": "/dev/zero", "link to nowhere": "nowhere"}
        path.symlink_to(targets[kind])
    return kind


def change_arrays(chance: random.Random, path: Path) -> str:
    with np.load(path) as arrays:
        content = dict(arrays)
    name = chance.choice(list(content))
    array = content[name]
    kinds: dict[str, Callable[[], Any]] = {
        "absent": lambda: None,
        "one dimension": lambda: array.ravel(),
        "no dimension": lambda: np.array(3, array.dtype),
        "empty": lambda: array[:0],
        "floats": lambda: array.astype(np.float64) / 3,
        "NaN": lambda: np.full(array.shape, np.nan),
        "complex": lambda: array.astype(np.complex128),
        "text": lambda: np.array(["a", "b"]),
        "objects": lambda: np.array([{"a": 1}], dtype=object),
        "more dimensions": lambda: array[None, None],
        "no square": lambda: array[..., :1],
        "another": lambda: content[chance.choice(list(content))],
    }
    told = chance.choice([*kinds, "58 TiB", "encrypted", "unknown method"])
    if told in kinds:
        made = kinds[told]()
        content = {**content, name: made} if made is not None else {k: v for k, v in content.items() if k != name}
        np.savez_compressed(path, **content)
        return told
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for one, values in content.items():
            out = io.BytesIO()
            np.lib.format.write_array(out, values)
            data = out.getvalue()
            if told == "58 TiB" and one == name:
                shape = str(array.shape)
                data = data.replace(shape.encode(), b"(8, 1000000000000)".ljust(len(shape)), 1)
            archive.writestr(f"{one}.npy", data)
    raw = bytearray(packed.getvalue())
    directory = raw.index(b"PK\x01\x02")
    if told == "encrypted":
        raw[6] |= 1
        raw[directory + 8] |= 1
    elif told == "unknown method":
        raw[8] = raw[directory + 10] = chance.choice([1, 9, 12, 14, 93, 99])
    path.write_bytes(raw)
    return told


KINDS: dict[str, tuple[str, list[Make]]] = {
    "record": ("record.json", [change_json, change_json, change_json, change_json, change_bytes, change_file]),
    "history": ("history.json", [change_json, change_json, change_json, change_bytes, change_file]),
    "artefacts": ("artefacts.npz", [change_arrays, change_arrays, change_bytes, change_file]),
}


def mutate(chance: random.Random, kind: str, folder: Path) -> str:
    """Mutate one file of a trial's folder and say how."""
    name, ways = KINDS[kind]
    return chance.choice(ways)(chance, folder / name)
