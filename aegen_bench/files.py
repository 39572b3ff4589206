"""Reading untrusted files, and writing files atomically.

Readers accept only regular files (a FIFO would block forever) and check sizes before they allocate memory. Writers
create new temporary files under unpredictable names, so that no link is followed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aegen_bench.errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from numpy.typing import NDArray

__all__ = [
    "append_line",
    "finite",
    "fitting",
    "inside",
    "is_name",
    "last_file",
    "lock",
    "locked",
    "new_folder",
    "place",
    "read_array",
    "read_arrays",
    "read_bytes",
    "read_json",
    "regular",
    "require_folder",
    "require_plain_json",
    "shown",
    "write_bytes",
    "write_json",
    "write_text",
]

MB = 1 << 20
LONGEST_NAME = 255  # bytes, on every common file system
INT64 = 2**63
DEEPEST = 100  # nesting of JSON
MOST_DEFLATED = 1032  # the largest ratio by which deflate can compress


# ---- names ------------------------------------------------------------------------------------


def is_name(text: str) -> bool:
    """Whether this is a valid name of a file or folder: no separator, not `.` or `..`, no control character, at most
    255 bytes of UTF-8.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return 0 < length <= LONGEST_NAME and text not in (".", "..") and not re.search(r"[/\\\x00-\x1f\x7f-\x9f]", text)


def fitting(stem: str, suffix: str) -> str:
    """Return `stem + suffix` as a name that every file system accepts: a long stem is cut and a hash of it added."""
    if len(f"{stem}{suffix}".encode()) <= LONGEST_NAME:
        return f"{stem}{suffix}"
    digest = hashlib.sha256(stem.encode()).hexdigest()[:12]
    return stem.encode()[:180].decode(errors="ignore") + f"-{digest}{suffix}"


def shown(path: Path | str) -> str:
    """Return a path as text for terminals, JSON and UTF-8 files: control characters and bytes that are not UTF-8 are
    escaped.
    """
    text = os.fsencode(path).decode(errors="backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def place(text: str | os.PathLike[str]) -> Path:
    """Return the path that a user typed, with `~` expanded.

    UserError if the home folder is unknown, or if the path cannot be accessed at all.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{shown(Path(text))}: the home folder is unknown: set HOME, or give the full path") from None
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # too long, a loop of links, no permission
        raise UserError(f"{shown(path)[:200]}: {getattr(error, 'strerror', None) or error}") from error
    return path


def inside(folder: Path, *names: str) -> Path:
    """Return `folder/NAME/...` after checking that it is inside `folder`: every name is valid, and no link on the way
    leads outside. UserError otherwise. All paths that contain text from a file are built with this function.
    """
    path = folder.joinpath(*(_checked(name) for name in names))
    try:
        leads_out = not path.parent.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a loop of links
        raise UserError(f"cannot follow {path}: {error}") from error
    if leads_out:
        raise UserError(f"{path} leads out of {folder} through a link: nothing is written there")
    return path


def _checked(name: str) -> str:
    if not is_name(name):
        raise UserError(f"{name[:80]!r} cannot be the name of a file or folder")
    return name


# ---- reading ----------------------------------------------------------------------------------


def read_bytes(path: Path, limit: int, *, follow: bool = True) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    OSError for anything else: a folder, a FIFO, a device, a larger file and, with `follow=False`, a link.
    """
    with regular(path, limit, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)  # allocates no more than the file needs
    if len(content) > size:  # it grew, or it is a file of /proc, whose size is 0
        raise OSError(errno.EBUSY, "it grew while it was read", str(path))
    return content


def read_json(path: Path, limit: int) -> Any:
    """Return the content of a JSON file of at most `limit` bytes.

    OSError if it cannot be read. ValueError if it is not JSON in which every number is finite and fits into 64 bits,
    every string can be encoded, and nesting is at most 100 deep.
    """
    from pydantic_core import from_json

    content = from_json(read_bytes(path, limit), allow_inf_nan=False)
    require_plain_json(content)
    return content


def read_arrays(path: Path, limit: int, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of an npz by name, or only those of `names` that it contains. Nothing is unpickled.

    `limit` bounds the declared size of all arrays together, in bytes, before memory is allocated. OSError if the file
    cannot be read, ValueError if it is not an npz of plain arrays.
    """
    wanted = None if names is None else set(names)
    with regular(path, limit) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
                chosen = {name: m for name, m in members.items() if wanted is None or name in wanted}
                for member in chosen.values():
                    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise ValueError(f"{member.filename} is encrypted or packed by a method that numpy never uses")
                    if member.file_size > MOST_DEFLATED * (member.compress_size + 1):
                        raise ValueError(f"{member.filename} declares more than it can hold")
                if (declared := sum(member.file_size for member in chosen.values())) > limit:
                    raise ValueError(f"it declares {declared:,} bytes, more than the {limit:,} that are read")
                return {name: _array(archive, member) for name, member in chosen.items()}
        except (OSError, ValueError):
            raise
        except Exception as error:  # zipfile, zlib and numpy's header parser raise a dozen kinds
            raise ValueError(f"not an npz of plain arrays: {type(error).__name__}: {error}") from error


def read_array(path: Path, limit: int) -> NDArray[Any]:
    """Return the array of an npy file. Nothing is unpickled; `limit` and errors are as in `read_arrays`."""
    with regular(path, limit) as file:
        try:
            _check_header(file, os.fstat(file.fileno()).st_size, shown(path.name))
            file.seek(0)
            return _npy().read_array(file, allow_pickle=False)  # type: ignore[no-any-return]
        except (OSError, ValueError):
            raise
        except Exception as error:
            raise ValueError(f"not an npy of a plain array: {type(error).__name__}: {error}") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Read one array after comparing its header with the size stated by the archive."""
    with archive.open(member) as stream:
        _check_header(stream, member.file_size, member.filename)
    with archive.open(member) as stream:
        array: NDArray[Any] = _npy().read_array(stream, allow_pickle=False)
    return array


def _check_header(stream: IO[bytes], size: int, name: str) -> None:
    """Raise ValueError if the header of an array declares objects, or a shape that does not match `size` in bytes."""
    npy = _npy()
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} has version {version} of numpy's format")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, which are never unpickled")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"{name} declares the shape {shape}, which its content does not have")


def _npy() -> Any:
    from numpy.lib import format as npy

    return npy


_last: Path | None = None


def last_file() -> Path | None:
    """Return the file that this module opened last, which is often the one that an unexpected error is about."""
    return _last


@contextmanager
def regular(path: Path, limit: int, *, follow: bool = True) -> Iterator[BufferedReader]:
    """Open a regular file of at most `limit` bytes for reading; OSError for anything else. Never blocks on a FIFO."""
    global _last
    _last = path
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    with open(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if about.st_size > limit:
            raise _too_large(path, limit)
        yield file


def _too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"larger than the {limit / MB:,.0f} MB that such a file may have", str(path))


def require_plain_json(value: Any, depth: int = 0) -> None:
    """Raise ValueError for anything that `read_json` would reject: a number that is not finite or exceeds 64 bits, text
    that cannot be encoded, nesting deeper than 100.
    """
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # UnicodeEncodeError, a ValueError, for a lone surrogate
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number is too large for a float")
    elif isinstance(value, int):
        if not -INT64 <= value < INT64:
            raise ValueError("a number is too large for 64 bits")
    elif isinstance(value, (dict, list)):
        if depth == DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST}")
        for key in value if isinstance(value, dict) else ():
            require_plain_json(key)
        for part in value.values() if isinstance(value, dict) else value:
            require_plain_json(part, depth + 1)


# ---- locking ----------------------------------------------------------------------------------

HOUR = 3600.0
POLL = 0.05  # seconds between two attempts


def lock(path: Path, wait: float) -> BaseFileLock | None:
    """Acquire the lock of a file and return it, or None if another process still holds it after `wait` seconds.

    The operating system releases it when the process ends. UserError if the file system has no such locks; the
    existence of a file never counts as a lock, since the file may have been copied along with its folder.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        taken = FileLock(path, thread_local=False, fallback_to_soft=False)
        taken.acquire(timeout=wait, poll_interval=POLL)
    except Timeout:
        return None
    except OSError as error:
        place = f"the file system of {path.parent} may have no locks: use a folder on another one"
        raise UserError(f"cannot lock {path}: {error.strerror or error}: {place}") from error
    return taken


@contextmanager
def locked(path: Path, wait: float = HOUR) -> Iterator[None]:
    """Hold the lock of a file. UserError as in `lock`, and if another process still holds it after `wait` seconds."""
    held = lock(path, wait)
    if held is None:
        raise UserError(
            f"{path} has been locked by another process for {wait / 60:,.0f} minutes: wait for the command that works "
            "there, or delete the file if there is none"
        )
    try:
        yield
    finally:
        held.release()


# ---- writing ----------------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file atomically, creating its folders; UserError if that fails.

    With `durable=False` the data is not flushed to the disk, and may be lost in a power failure.
    """
    global _last
    _last = path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        try:
            with open(os.open(temporary, _NEW, 0o666), "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically. Characters that cannot be encoded (of a path that is not UTF-8) are escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def append_line(path: Path, line: str) -> None:
    """Append a line to a regular file, which is created if necessary; OSError for a link or a FIFO."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags, 0o666), "ab") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        file.write(line.encode(errors="backslashreplace") + b"\n")


def require_folder(path: Path, hint: str = "") -> None:
    """Create a folder, unless it exists. UserError, ending with `hint`, if it cannot be created or written to."""
    end = f": {hint}" if hint else ""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to the folder {path}: {error.strerror or error}{end}") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"cannot write to the folder {path}: permission denied{end}")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Context that yields a folder to fill, which becomes `path` on success and is removed otherwise.

    UserError if it cannot be written.
    """
    unfinished = _temporary(path)
    made = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()  # fails if anything, including a link, has this name
        made = True
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if made:
            shutil.rmtree(unfinished, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """An unpredictable hidden name in the folder of `path`."""
    with suppress(UnicodeError):  # shortened to leave room, without splitting a character
        start = os.fsencode(path.name)[:200].decode(errors="ignore")
        return path.with_name(f".{start}.{secrets.token_hex(8)}.tmp")
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def write_json(path: Path, obj: object, *, durable: bool = True) -> None:
    """Write JSON atomically, one value per line. NaN and infinity, which JSON lacks, become null."""
    try:
        text = json.dumps(obj, indent=1, allow_nan=False)
    except ValueError:
        text = json.dumps(finite(obj), indent=1, allow_nan=False)
    write_bytes(path, text.encode() + b"\n", durable=durable)


def finite(obj: Any) -> Any:
    """Return an object of JSON in which NaN and infinity are null."""
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    if isinstance(obj, dict):
        return {key: finite(value) for key, value in obj.items()}
    return [finite(value) for value in obj] if isinstance(obj, (list, tuple)) else obj
