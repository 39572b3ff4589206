"""Packing trials into one file: their records with the files next to them, kept weights, and a table of all results.

A pack is a zip file with these members only:

    manifest.json                                    {"format": 1, "aegen_bench": version, "files": {member: sha256}}
    frame.parquet                                    the table of `aegen_bench.results.load`
    results/PROFILE/DATASET/ROW/seed-K/FILE          record.json, history.json, samples.png, artefacts.npz
    results/times/PROFILE/DATASET/ROW/ID.json        timing runs
    weights/KEY-SHA.safetensors                      of trials whose weights were kept

With a pack, tables can be cited together with everything they were made from, and models loaded without training them
again. Packs are untrusted: member names, sizes and hashes are checked before anything is written, and nothing is
unpickled.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from aegen_bench import __version__, results
from aegen_bench.errors import MissingError, UserError
from aegen_bench.files import is_name, read_bytes, write_bytes
from aegen_bench.results import Record, timings
from aegen_bench.results.record import Sha256, Strict

__all__ = ["open_trial", "pack", "unpack"]

FORMAT = 1
BESIDE = ("record.json", *results.NEIGHBOURS)
LARGEST_FILE = 4 << 30  # bytes of one member
MANIFEST, FRAME = "manifest.json", "frame.parquet"
LARGEST_MANIFEST = 64 << 20


class _Manifest(Strict):
    format: int
    aegen_bench: str
    files: dict[str, Sha256]


def pack(root: Path, out: Path, *, weights: Path, profile: str | None = None) -> Iterator[str]:
    """Write the trials under `root` (of one profile, or all) to the new file `out`, and yield lines on its content.

    UserError if there is no trial, `out` exists, or a record or timing run cannot be read; MissingError without
    pyarrow, which is needed for parquet.
    """
    if find_spec("pyarrow") is None:
        raise MissingError("the package pyarrow is not installed: pip install 'aegen-bench[exchange]'")
    if out.exists():
        raise UserError(f"{out} exists already: delete it, or choose another name")

    def refuse(path: Path, error: UserError) -> None:
        raise error

    found = list(results.records(root, profile=profile, on_corrupt=refuse))
    if profile is not None:  # also the anchors and external sets of its tables
        for name in results.NO_TRIALS:
            found += list(results.records(root, profile=name, on_corrupt=refuse))
    timed = [path for path, _ in timings.read(root, profile)]
    trials = [record for _, record in found if record.profile not in results.NO_TRIALS]
    if not trials:
        raise UserError(f"no trials under {root}" + (f" of profile {profile}" if profile else ""))
    hashes, kept = dict[str, str](), 0
    frame = results.load(root, profile=profile)
    frame.attrs = {}  # parquet cannot store them
    with _new_archive(out) as archive:

        def add(member: str, content: bytes, how: int = zipfile.ZIP_STORED) -> None:
            hashes[member] = hashlib.sha256(content).hexdigest()
            info = zipfile.ZipInfo(member)  # without the time, so that equal results give equal files
            info.compress_type, info.external_attr = how, 0o644 << 16
            archive.writestr(info, content)

        for path, record in found:
            for name in BESIDE:
                beside = path.with_name(name)
                if beside.is_file():
                    how = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
                    add("/".join(("results", *record.place, name)), _read(beside, follow=False), how)
            if record.weights_sha256 and record.has_weights(weights):
                kept += record.profile not in results.NO_TRIALS
                for model in record.all_weights(weights):
                    if (member := f"weights/{model.name}") not in hashes:
                        add(member, _read(model))
        for path in timed:
            add("/".join(("results", *path.parts[-5:])), _read(path, follow=False), zipfile.ZIP_DEFLATED)
        add(FRAME, frame.to_parquet(index=False))
        manifest = _Manifest(format=FORMAT, aegen_bench=__version__, files=hashes)
        archive.writestr(zipfile.ZipInfo(MANIFEST), manifest.model_dump_json(indent=1))
    others = f", {len(found) - len(trials)} other sets of images" if len(found) > len(trials) else ""
    others += f", {len(timed)} timing runs" if timed else ""
    yield f"{out}: {len(trials)} trials, {kept} with their weights{others}, {out.stat().st_size / 1e6:,.1f} MB"
    if kept < len(trials):
        yield f"{len(trials) - kept} trials have no weights in {weights}: their models cannot be loaded from the pack"


def unpack(file: Path, out: Path) -> Iterator[str]:
    """Write the content of a pack to the new folder `out`, as out/results, out/weights and out/frame.parquet, and yield
    a line. UserError if the file is not a pack, a hash differs, or `out` exists.
    """
    if out.exists():
        raise UserError(f"{out} exists already: choose a new folder")
    with _opened(file) as (archive, members):
        for member in members:  # check all of them before writing anything
            _content(file, archive, member, members)
        for member in members:
            write_bytes(out.joinpath(*PurePosixPath(member).parts), _content(file, archive, member, members))
    records = [PurePosixPath(member).parts for member in members if member.endswith("/record.json")]
    trials = sum(parts[1] not in results.NO_TRIALS for parts in records)
    models = sum(member.startswith("weights/") for member in members)
    yield f"{out}: {trials} trials in {out / 'results'}, weights of {models} in {out / 'weights'}; every sha256 agrees"


@contextmanager
def open_trial(file: Path, words: str) -> Iterator[tuple[Path, Path]]:
    """Yield the folder of one packed trial, ROW/DATASET/SEED or PROFILE/ROW/DATASET/SEED, and the folder of its
    weights. Both are temporary. UserError if the pack has no such trial, or several.
    """
    *profile, row, dataset, seed = words.split("/") if words.count("/") in (2, 3) else ("", "", "")
    with _opened(file) as (archive, members), tempfile.TemporaryDirectory() as place:
        records = [PurePosixPath(member).parts[1:] for member in members if member.endswith("/record.json")]
        chosen = [p for p in records if p[1:4] == (dataset, row, f"seed-{seed}") and p[0] in (profile or [p[0]])]
        if len(chosen) != 1:
            there = ", ".join(sorted(f"{p[0]}/{p[2]}/{p[1]}/{p[3][5:]}" for p in (chosen or records))[:10])
            raise UserError(f"{file}#{words}: choose one trial PROFILE/ROW/DATASET/SEED: {there}")
        path = Path(place, "results", *chosen[0])
        write_bytes(path, _content(file, archive, "/".join(("results", *chosen[0])), members))
        record: Record = results.read_record(path)
        names = [path.name for path in record.all_weights(Path(place, "weights"))]
        for name in (*names, f"{record.key}.safetensors"):
            if (member := f"weights/{name}") in members:
                write_bytes(Path(place, member), _content(file, archive, member, members))
        yield path.parent, Path(place, "weights")


def _read(path: Path, *, follow: bool = True) -> bytes:
    """Return the content of a file to pack; UserError if it cannot be read or, with `follow=False`, is a link."""
    try:
        return read_bytes(path, LARGEST_FILE, follow=follow)
    except OSError as error:
        why = "it is a link" if path.is_symlink() and not follow else error.strerror or error
        raise UserError(f"cannot read {path}: {why}") from error


@contextmanager
def _new_archive(out: Path) -> Iterator[zipfile.ZipFile]:
    """Create a zip file, which is deleted if writing it fails (full disk, Ctrl-C). An existing file is left alone."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(out, "xb") as file:
            try:
                with zipfile.ZipFile(file, "w") as archive:
                    yield archive
            except BaseException:
                out.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error


@contextmanager
def _opened(file: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, str]]]:
    """Open a pack and yield it with its members and their hashes according to the manifest."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if sizes.get(MANIFEST, LARGEST_MANIFEST + 1) > LARGEST_MANIFEST:
                raise UserError(f"{file} is not a pack: it has no {MANIFEST}")
            manifest = _Manifest.model_validate_json(archive.read(MANIFEST))
            if manifest.format != FORMAT:
                raise UserError(f"{file} is a pack of format {manifest.format}; this version reads {FORMAT}")
            if set(sizes) - {MANIFEST} != set(manifest.files) or len(sizes) != len(archive.infolist()):
                raise UserError(f"{file}: its manifest does not list its members")
            for member in manifest.files:
                if not _expected(PurePosixPath(member).parts) or PurePosixPath(member).as_posix() != member:
                    raise UserError(f"{file}: {member[:120]!r} does not belong in a pack")
                if sizes[member] > LARGEST_FILE:
                    raise UserError(f"{file}: {member} declares {sizes[member]:,} bytes, too many")
        except UserError:
            raise
        except Exception as error:  # zipfile, zlib and pydantic raise a dozen kinds
            raise UserError(f"{file} cannot be read as a pack: {' '.join(str(error).split())[:200]}") from error
        yield archive, manifest.files


def _expected(parts: Sequence[str]) -> bool:
    if not all(is_name(part) for part in parts):
        return False
    if tuple(parts) == (FRAME,):
        return True
    if len(parts) == 2 and parts[0] == "weights":
        return parts[1].endswith(".safetensors")
    if len(parts) != 6 or parts[0] != "results":
        return False
    return parts[-1].endswith(".json") if parts[1] == timings.FOLDER else parts[-1] in BESIDE


def _content(file: Path, archive: zipfile.ZipFile, member: str, hashes: dict[str, str]) -> bytes:
    try:
        content = archive.read(member)
    except Exception as error:  # zipfile and zlib raise a dozen kinds
        raise UserError(f"{file}: {member} cannot be read: {error}") from error
    if (found := hashlib.sha256(content).hexdigest()) != hashes[member]:
        raise UserError(f"{file}: {member}: expected sha256 {hashes[member]}, found {found}: the file is damaged")
    return content
