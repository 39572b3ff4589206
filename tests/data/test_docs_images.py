"""docs/images.md, line by line: how each kind of file is read or rejected, as a dataset and as generated images."""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_data import random_images
from PIL import Image

from aegen_bench import data
from aegen_bench.data import Recipe
from aegen_bench.errors import UserError

DOCS = Path(__file__).parents[2] / "docs/images.md"


def table(number: int) -> dict[str, str]:
    """Return {first cell: second cell} for the rows of a table in docs/images.md."""
    tables = re.findall(r"(?:^\|.*\n)+", DOCS.read_text(), re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in tables[number].splitlines()[2:]]
    return {first: second for first, second in rows}


GREY, COLOUR = random_images(8, 8), random_images(8, 8, 3)
OPAQUE = np.full((8, 8, 1), 255, np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return packed.getvalue()


def png(depth: int, colour: int, *rows: bytes, size: tuple[int, int] = (8, 8)) -> bytes:
    """Return a PNG of a kind that none of our libraries writes: rows of raw bytes, no palette."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">2I5B", *size, depth, colour, 0, 0, 0)
    raw = b"".join(b"\0" + row for row in rows)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    )


def of(array: np.ndarray, mode: str | None = None) -> Image.Image:
    image = Image.fromarray(array)
    return image.convert(mode) if mode else image


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be displayed rotated clockwise by a quarter turn
    return encoded(of(COLOUR), exif=exif)


def several(kind: str) -> bytes:
    frames = [of(random_images(8, 8, 3, seed=i)) for i in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


# Examples of each line of the table: {line: {file name: content}}.
EXAMPLES: dict[str, dict[str, bytes]] = {
    "PNG, JPEG, WebP, BMP or TIFF (`.png .jpg .jpeg .webp .bmp .tif .tiff`)": {
        "a.png": encoded(of(COLOUR)),
        "a.jpg": encoded(of(COLOUR), "JPEG"),
        "a.JPEG": encoded(of(COLOUR), "JPEG"),
        "a.webp": encoded(of(COLOUR), "WEBP"),
        "a.bmp": encoded(of(COLOUR), "BMP"),
        "a.tif": encoded(of(COLOUR), "TIFF"),
        "a.tiff": encoded(of(COLOUR), "TIFF", compression="tiff_lzw"),
        "jpeg named.png": encoded(of(COLOUR), "JPEG"),
    },
    "any other format with one of these endings (GIF, EPS, ...)": {
        "gif.png": encoded(of(COLOUR), "GIF"),
        "eps.png": encoded(of(COLOUR), "EPS"),
        "ppm.bmp": encoded(of(COLOUR), "PPM"),
        "icon.png": encoded(of(COLOUR), "ICO"),
    },
    "grey, 1, 2, 4 or 8 bits": {
        "1.png": encoded(of(GREY > 127)),
        "2.png": png(2, 0, *[b"\x1b\x1b"] * 8),
        "4.png": png(4, 0, *[b"\x01\x23\x45\x67"] * 8),
        "8.png": encoded(of(GREY)),
        "8.jpg": encoded(of(GREY), "JPEG"),
        "8.tif": encoded(of(GREY), "TIFF"),
    },
    "grey with an alpha channel that hides nothing": {"a.png": encoded(of(GREY, "LA"))},
    "RGB, 8 bits a channel": {"a.png": encoded(of(COLOUR)), "a.webp": encoded(of(COLOUR), "WEBP", lossless=True)},
    "RGB with an alpha channel that hides nothing": {"a.png": encoded(of(np.concatenate([COLOUR, OPAQUE], 2)))},
    "palette": {"a.png": encoded(of(COLOUR, "P")), "a.bmp": encoded(of(COLOUR, "P"), "BMP")},
    "palette whose table is missing": {"a.png": png(8, 3, *[bytes(8)] * 8)},
    "transparent pixels, in any mode": {
        "rgba.png": encoded(of(np.concatenate([COLOUR, OPAQUE // 2], 2))),
        "la.png": encoded(Image.merge("LA", [of(GREY), of(np.zeros((8, 8), np.uint8))])),
        "p.png": encoded(of(COLOUR, "P"), transparency=bytes(256)),
        "rgb.png": encoded(of(np.zeros((8, 8, 3), np.uint8)), transparency=(0, 0, 0)),
    },
    "grey, 16 bits": {
        "a.png": encoded(of(GREY.astype(np.uint16) << 8)),
        "a.tif": encoded(of(GREY.astype(np.uint16) << 4), "TIFF"),
    },
    "RGB, 16 bits a channel": {
        "rgb.png": png(16, 2, *[bytes(range(48))] * 8),
        "rgba.png": png(16, 6, *[b"\xff" * 64] * 8),
        "la.png": png(16, 4, *[b"\xff" * 32] * 8),
    },
    "floating point (TIFF)": {"a.tif": encoded(of(GREY.astype(np.float32) / 255), "TIFF")},
    "CMYK": {"a.jpg": encoded(of(COLOUR, "CMYK"), "JPEG"), "a.tif": encoded(of(COLOUR, "CMYK"), "TIFF")},
    "an EXIF orientation": {"a.png": turned()},
    "several frames or pages (WebP, PNG, TIFF)": {f"a.{kind}": several(kind) for kind in ("webp", "png", "tiff")},
    "more than 8192 x 8192 pixels, or 1 GB on disk": {
        "large.png": png(8, 0, b"", size=(8192, 8196)),
        "bomb.png": png(8, 0, b"", size=(30000, 30000)),
    },
    "cut off, or damaged": {
        "cut.png": encoded(of(COLOUR))[:100],
        "empty.jpg": b"",
        "noise.tif": b"II*\0" + bytes(range(200)),
        "noise.webp": b"RIFF\x20\0\0\0WEBPVP8 " + bytes(40),
    },
}
NOT_REGULAR = ("a link to a regular file", "a FIFO, a device, a folder, a loop of links")


def test_every_line_of_the_table_is_tested() -> None:
    assert list(table(0)) == [*EXAMPLES, *NOT_REGULAR]


def as_dataset(folder: Path, name: str, write: Callable[[Path], object]) -> np.ndarray:
    for place in (f"toy/train/{name}", f"toy/test/{name}"):
        (folder / place).parent.mkdir(parents=True)
        write(folder / place)
    return np.asarray(data.load("toy", Recipe(source="folder"), folder, "train"))


def as_generated(folder: Path, name: str, write: Callable[[Path], object]) -> np.ndarray:
    (folder / "made").mkdir()
    for prefix in ("", "again "):
        write(folder / "made" / (prefix + name))
    files = data.find(folder / "made")
    return files.take(np.arange(1), files.first())


CASES = [
    pytest.param(content, table(0)[line], name, id=f"{line[:30]} {name}")
    for line, files in EXAMPLES.items()
    for name, content in files.items()
]


@pytest.mark.parametrize("use", [as_dataset, as_generated])
@pytest.mark.parametrize(("content", "outcome", "name"), CASES)
def test_a_file_is_read_as_the_table_says(
    tmp_path: Path, content: bytes, outcome: str, name: str, use: Callable[..., np.ndarray]
) -> None:
    def write(path: Path) -> None:
        path.write_bytes(content)

    if outcome == "refused":
        with pytest.raises(UserError, match=re.escape(name)) as error:
            use(tmp_path, name, write)
        assert "\n" not in str(error.value)
    else:
        images = use(tmp_path, name, write)
        assert images.shape == (1, 1 if outcome == "grey" else 3, 8, 8)


def test_an_eps_image_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_spawn", None)
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *args, **options: pytest.fail(f"started {args}"))
    with pytest.raises(UserError, match="found something else"):
        as_dataset(tmp_path, "a.png", lambda path: path.write_bytes(EXAMPLES[list(EXAMPLES)[1]]["eps.png"]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_an_image_is_turned_upright_once(tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    blocks = np.zeros((16, 16, 3), np.uint8)
    blocks[:8, :8] = 255  # the upper left quarter
    name = f"a.{kind.lower()}"
    images = as_dataset(tmp_path, name, lambda path: path.write_bytes(encoded(of(blocks), kind, exif=exif)))
    bright = images[0, 0, 4::8, 4::8] > 127
    assert bright.tolist() == [[False, True], [False, False]], "expected one quarter turn clockwise"


SPECIAL: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("use", [as_dataset, as_generated])
@pytest.mark.parametrize("kind", SPECIAL)
def test_a_path_that_is_not_a_regular_file_is_named_without_waiting(
    tmp_path: Path, kind: str, use: Callable[..., np.ndarray]
) -> None:
    with pytest.raises(UserError, match=r"a\.png"):
        use(tmp_path, "a.png", SPECIAL[kind])


def test_a_link_to_an_image_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(encoded(of(COLOUR)))
    images = as_generated(tmp_path, "a.png", lambda path: path.symlink_to(tmp_path / "real.png"))
    np.testing.assert_array_equal(images[0], COLOUR.transpose(2, 0, 1))


def test_file_names_that_are_not_utf_8_are_accepted_and_shown_escaped(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        Path(os.fsdecode(os.fsencode(path.with_suffix("")) + b"\xff.png")).write_bytes(encoded(of(GREY)))

    assert as_generated(tmp_path, "a.png", write).shape == as_dataset(tmp_path, "a.png", write).shape
    (made,) = (tmp_path / "toy/train").iterdir()
    made.write_bytes(b"")
    with pytest.raises(UserError, match=r"a\\xff\.png: expected a whole image"):
        data.load("toy", Recipe(source="folder"), tmp_path, "train")


# ---- arrays ------------------------------------------------------------------------------------

FLOATS = GREY[None].repeat(4, 0) / np.float32(255)
ARRAYS: dict[str, list[np.ndarray]] = {
    "uint8, `[n, S, S]`": [random_images(4, 8, 8)],
    "uint8, `[n, S, S, 1]`": [random_images(4, 8, 8, 1)],
    "uint8, `[n, S, S, 3]`": [random_images(4, 8, 8, 3)],
    "uint8, `[n, C, S, S]`": [random_images(4, 3, 8, 8), random_images(4, 1, 8, 8)],
    "float in [0, 1], any of these shapes": [FLOATS, FLOATS[:, None].astype(np.float16), FLOATS[..., None]],
    "float a rounding error outside [0, 1], such as 1.0000001": [
        np.where(FLOATS > 0.5, np.float32(1.0000001), np.float32(-1e-7))
    ],
    "float outside [0, 1] or NaN": [FLOATS * 1.01 + 0.5, FLOATS * 2 - 1, FLOATS * 255, FLOATS * np.nan],
    "other types, Python objects": [
        random_images(4, 8, 8).astype(np.int64),
        FLOATS.astype(complex),
        FLOATS.astype(object),
        np.zeros((4, 8, 8), "S9"),
    ],
}


def test_every_line_of_the_table_of_arrays_is_tested() -> None:
    assert list(table(1)) == list(ARRAYS)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
@pytest.mark.parametrize(
    ("array", "outcome"),
    [pytest.param(a, table(1)[line], id=f"{line} {i}") for line, found in ARRAYS.items() for i, a in enumerate(found)],
)
def test_an_array_is_read_as_the_table_says(tmp_path: Path, array: np.ndarray, outcome: str, suffix: str) -> None:
    path = tmp_path / f"toy.{suffix}"
    np.save(path, array) if suffix == "npy" else np.savez(path, x_train=array, x_test=array)

    def dataset() -> np.ndarray:
        return np.asarray(data.load("toy", Recipe(source="npz"), tmp_path, "train"))

    def generated() -> np.ndarray:
        np.savez(tmp_path / "made.npz", array)
        files = data.find(path if suffix == "npy" else tmp_path / "made.npz")
        return files.take(np.arange(4), files.first())

    for use in (generated, dataset) if suffix == "npz" else (generated,):
        if outcome in ("grey", "colour") or (outcome == "generated images only" and use is generated):
            images = use()
            assert images.dtype == np.uint8 and images.shape[2:] == (8, 8)
            assert outcome == "generated images only" or images.shape[1] == (1 if outcome == "grey" else 3)
        else:
            with pytest.raises(UserError, match=r"(toy|made)\.np[yz]"):
                use()


def test_values_within_half_a_level_of_the_range_are_rounded_and_others_shown_in_full(tmp_path: Path) -> None:
    np.save(tmp_path / "near.npy", np.array([[[1.0000001, -0.001], [0.0, 1.001]]] * 2))
    files = data.find(tmp_path / "near.npy")
    assert files.take(np.arange(1), files.first()).tolist() == [[[[255, 0], [0, 255]]]]
    np.save(tmp_path / "far.npy", np.full((2, 4, 4), 1.002001))
    far = data.find(tmp_path / "far.npy")
    with pytest.raises(UserError, match=r"these span \[1\.002001, 1\.002001\]"):
        far.take(np.arange(1), far.first())


def hostile(kind: str) -> bytes:
    """Return an npz to be refused: it declares too much data, or is cut off, encrypted, pickled or LZMA-compressed."""
    array = io.BytesIO()
    np.save(array, random_images(4, 8, 8))
    content = array.getvalue()
    method = zipfile.ZIP_DEFLATED
    if kind == "a shape of TiB":
        content = content.replace(b"(4, 8, 8)", b"(9999999999, 80, 80)").replace(b" " * 11 + b"\n", b"\n")
    elif kind == "objects":
        packed = io.BytesIO()
        np.save(packed, np.array([Path("x")], dtype=object), allow_pickle=True)
        content = packed.getvalue()
    elif kind == "another method":
        method = zipfile.ZIP_LZMA
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as made:
        for name in ("x_train.npy", "x_test.npy"):
            made.writestr(name, content)
    raw = archive.getvalue()
    if kind == "encrypted":  # set the flag in both headers of each member
        raw = re.sub(rb"(PK\x03\x04..).", lambda found: found[1] + b"\x01", raw, flags=re.DOTALL)
        raw = re.sub(rb"(PK\x01\x02....).", lambda found: found[1] + b"\x01", raw, flags=re.DOTALL)
    return raw[: len(raw) // 2] if kind == "cut" else raw


@pytest.mark.parametrize("kind", ["a shape of TiB", "objects", "another method", "encrypted", "cut"])
def test_a_hostile_npz_is_refused_before_memory_is_allocated(tmp_path: Path, kind: str) -> None:
    (tmp_path / "toy.npz").write_bytes(hostile(kind))
    with pytest.raises(UserError, match=r"toy\.npz: expected an npz file"):
        data.load("toy", Recipe(source="npz"), tmp_path, "train")
    with pytest.raises(UserError, match=r"toy\.npz: expected an array of images"):
        data.find(tmp_path / "toy.npz")


def test_a_fifo_named_npz_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "toy.npz")
    for use in (
        lambda: data.find(tmp_path / "toy.npz"),
        lambda: data.load("toy", Recipe(source="npz"), tmp_path, "train"),
    ):
        with pytest.raises(UserError, match=r"toy\.npz: .*not a regular file"):
            use()
    assert data.discover(tmp_path) == {}
