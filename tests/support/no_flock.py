"""Emulates a file system without locks for all programs: `flock` of libc fails with the errno in FLOCK_ERRNO.

python tests/support/no_flock.py reads a list of commands, each with an errno, as JSON from standard input, runs them,
and prints how each ended. LD_PRELOAD must name the shim that `shim` compiles.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = """
#include <errno.h>
#include <stdlib.h>

int flock(int descriptor, int operation) {
    const char *number = getenv("FLOCK_ERRNO");
    errno = number ? atoi(number) : ENOSYS;
    return -1;
}
"""
HERE = Path(__file__).parent


def shim(folder: Path) -> Path:
    """Compile the shim, or skip the test if that is impossible."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("there is no C compiler, or no LD_PRELOAD")
    library = folder / "no_flock.so"
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", library]
    subprocess.run(command, input=SOURCE, text=True, check=True, capture_output=True)
    return library


def run(folder: Path, data: Path, library: Path, asked: list[tuple[int, list[str]]]) -> list[dict[str, object]]:
    """Run commands on such a file system, all in one new process; return code, out, err and seconds of each."""
    environment = {**os.environ, "LD_PRELOAD": str(library), "AEGEN_BENCH_DATA": str(data)}
    command = [sys.executable, __file__]
    ended = subprocess.run(
        command, cwd=folder, env=environment, input=json.dumps(asked), capture_output=True, text=True, timeout=1800
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)  # type: ignore[no-any-return]


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    from conftest import Bench

    bench, ends = Bench(Path.cwd(), Path(os.environ["AEGEN_BENCH_DATA"])), []
    for number, command in json.load(sys.stdin):
        os.environ["FLOCK_ERRNO"] = str(number)
        begin = time.monotonic()
        ended = bench(*command)
        ends.append({"code": ended.code, "out": ended.out, "err": ended.err, "seconds": time.monotonic() - begin})
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
