"""Untrusted files: what is read, what is rejected before allocating memory, and where nothing is ever written."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aegen_bench import files
from aegen_bench.errors import UserError

MB = 1 << 20


# ---- names and paths --------------------------------------------------------------------------


NO_NAMES = ("..", ".", "", "a/b", "../victim", "/etc/passwd", "a\0b", "a\nb", "\x1b[31m", "\udcff", "a\\b", "ü" * 128)


@pytest.mark.parametrize("name", NO_NAMES)
def test_an_invalid_file_name_is_refused(tmp_path: Path, name: str) -> None:
    assert not files.is_name(name)
    with pytest.raises(UserError, match="cannot be the name of a file"):
        files.inside(tmp_path, "tables", name)


@pytest.mark.parametrize("name", ["table1.md", "beta0.5", "lite+train_images=2000", "größe", ".hidden", "x" * 255])
def test_valid_names_are_joined(tmp_path: Path, name: str) -> None:
    assert files.inside(tmp_path, "lite", name) == tmp_path / "lite" / name


def test_a_link_on_the_way_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    outside, tables = tmp_path / "outside", tmp_path / "tables"
    outside.mkdir()
    tables.mkdir()
    (tables / "lite").symlink_to(outside)
    (tables / "loop").symlink_to(tables / "loop")
    for name in ("lite", "loop"):
        with pytest.raises(UserError):
            files.inside(tables, name, "table1.md")
    whole = tmp_path / "link"  # a folder that is itself reached through a link is the user's own arrangement
    whole.symlink_to(tables)
    assert files.inside(whole, "smoke", "table1.md") == whole / "smoke" / "table1.md"


# ---- writing ----------------------------------------------------------------------------------


def test_a_link_in_place_of_a_temporary_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "guessed")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / ".table.md.guessed.tmp").symlink_to(victim)
    with pytest.raises(UserError, match="cannot write"):
        files.write_bytes(tmp_path / "table.md", b"new")
    assert victim.read_text() == "untouched" and not (tmp_path / "table.md").exists()


def test_a_link_in_place_of_a_file_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    victim, place = tmp_path / "victim", tmp_path / "table.md"
    victim.write_text("untouched")
    place.symlink_to(victim)
    files.write_bytes(place, b"new")
    assert victim.read_text() == "untouched" and place.read_bytes() == b"new" and not place.is_symlink()


def test_temporary_names_are_random_and_fit_even_for_the_longest_name(tmp_path: Path) -> None:
    longest = tmp_path / ("ü" * 127)
    files.write_bytes(longest, b"content")
    assert longest.read_bytes() == b"content" and list(tmp_path.iterdir()) == [longest]
    assert files._temporary(longest) != files._temporary(longest)


def test_lines_are_appended_only_to_regular_files(tmp_path: Path) -> None:
    log, link, victim, fifo = (tmp_path / name for name in ("log.txt", "link", "victim", "fifo"))
    files.append_line(log, "one \udcff")
    files.append_line(log, "two")
    assert log.read_text() == "one \\udcff\ntwo\n"
    victim.write_text("untouched")
    link.symlink_to(victim)
    os.mkfifo(fifo)
    for path in (link, fifo):
        with pytest.raises(OSError):
            files.append_line(path, "three")
    assert victim.read_text() == "untouched"


def test_a_new_folder_is_complete_or_absent(tmp_path: Path) -> None:
    with pytest.raises(UserError), files.new_folder(tmp_path / "out") as unfinished:
        (unfinished / "0.png").write_bytes(b"")
        raise OSError("the disk is full")
    assert list(tmp_path.iterdir()) == []
    with files.new_folder(tmp_path / "deep" / "out") as unfinished:
        (unfinished / "0.png").write_bytes(b"")
    assert (tmp_path / "deep" / "out" / "0.png").is_file()


# ---- reading ----------------------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse


@pytest.mark.parametrize(
    "make", [fifo, large, Path.mkdir, lambda p: p.symlink_to("/dev/zero"), lambda p: p.symlink_to(p)]
)
def test_only_a_regular_file_of_bounded_size_is_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "history.json"
    make(path)
    for read in (files.read_bytes, files.read_json, files.read_arrays):
        with pytest.raises(OSError):
            read(path, MB)


def test_a_link_is_followed_unless_follow_is_false(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("secret")
    assert files.read_bytes(tmp_path / "link", MB) == b"secret"
    with pytest.raises(OSError):
        files.read_bytes(tmp_path / "link", MB, follow=False)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b'{"seed": 1e999}',
        b'{"seed": NaN}',
        b'{"seed": -Infinity}',
        b'{"seed": 1' + b"0" * 400 + b"}",
        b'{"seed": 9223372036854775808}',
        b"[" + b"1" * 5000 + b"]",
        b'{"row": "\\udcff"}',
        b'{"row": "\xed\xb3\xbf"}',
        b"[" * 20_000,
        b'{"a":' * 20_000,
        b'{"a": 1} more',
    ],
    ids=lambda text: repr(text[:20]),
)
def test_invalid_or_extreme_json_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(text)
    with pytest.raises(ValueError):
        files.read_json(path, MB)


def test_valid_json_is_read_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"seed": 0, "value": 1.5, "none": null, "name": "größe 😀", "list": [true, -9223372036854775808]}')
    assert files.read_json(path, MB) == {
        "seed": 0,
        "value": 1.5,
        "none": None,
        "name": "größe 😀",
        "list": [True, -(2**63)],
    }


def packed(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def declaring(header: str, *, version: bytes = b"\x01\x00") -> bytes:
    """Return an npz whose only array has this header and no content."""
    text = header.encode("latin1") + b"\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("samples.npy", b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text)
    return out.getvalue()


def encrypted() -> bytes:
    content = bytearray(packed(samples=np.zeros(3)))
    content[6] |= 1  # the flag: here in the local header, below in the central directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def method(number: int) -> bytes:
    content = bytearray(packed(samples=np.zeros(3)))
    content[8] = number
    content[content.index(b"PK\x01\x02") + 10] = number
    return bytes(content)


class Malicious:
    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, ("touch executed",)


def pickled() -> bytes:
    out = io.BytesIO()
    np.savez(out, samples=np.array([Malicious()], dtype=object))
    return out.getvalue()


BAD_ARRAYS = {
    "no bytes": b"",
    "no zip": b"not a zip file",
    "cut short": packed(samples=np.arange(1000))[:-30],
    "encrypted": encrypted(),
    "unknown method": method(93),
    "bzip2": method(12),
    "pickled": pickled(),
    "a pickle": pickle.dumps([1]),
    "58 TiB": declaring("{'descr': '<f8', 'fortran_order': False, 'shape': (8, 1000000000000), }"),
    "a negative shape": declaring("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 8), }"),
    "a shape of text": declaring("{'descr': '<f8', 'fortran_order': False, 'shape': ('a',), }"),
    "an unknown type": declaring("{'descr': 'nope', 'fortran_order': False, 'shape': (1,), }"),
    "a deep header": declaring("(" * 9000),
    "no array": declaring("", version=b"\x09\x00"),
    "zeros that fill memory": packed(samples=np.zeros(5 * MB, np.uint8)),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_damaged_or_hostile_arrays_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "artefacts.npz"
    path.write_bytes(BAD_ARRAYS[kind])
    with pytest.raises((OSError, ValueError)):
        files.read_arrays(path, 4 * MB)
    assert not Path("executed").exists()


def test_arrays_are_read_by_name_and_the_others_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "artefacts.npz"
    path.write_bytes(packed(samples=np.arange(12).reshape(3, 4), prd=np.asfortranarray(np.ones((2, 3)))))
    whole = files.read_arrays(path, MB)
    assert {name: array.shape for name, array in whole.items()} == {"samples": (3, 4), "prd": (2, 3)}
    assert files.read_arrays(path, MB, ["prd", "absent"]).keys() == {"prd"}
    assert (whole["samples"] == np.arange(12).reshape(3, 4)).all()
    path.write_bytes(packed(prd=np.ones(3), huge=np.zeros(5 * MB, np.uint8)))
    assert files.read_arrays(path, MB, ["prd"])["prd"].tolist() == [1, 1, 1]
