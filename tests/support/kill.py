"""Kill the process of a trial with SIGKILL at random times, resume the trial, and compare it with an undisturbed one.

python tests/support/kill.py [--kills 30] [--how one,two,jobs,dask,disk] [--seed 0]

--how says what is killed: the only run (one), one of two runs in the folder (two), one of two worker processes of a run
(jobs), a dask worker and the process of its trial (dask), or nothing (disk); in this case, a random amount of space is
left on the disk of the results folder.

The moment is a random share of the processor time that an undisturbed trial takes, so the load of the machine does not
matter. What the process was doing is read from its stack, which it writes just before it is killed. Equal means that
weights, loss terms, logs, facts, metrics and every array of artefacts.npz agree bit for bit. The exit code is 1 if one
of them differs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from loopback import Dask, scheduler
from small_grid import RESUMED, ROWS, begin, essence, prepare, trial

HOW = ("one", "two", "jobs", "dask", "disk")
OFTEN = ("--checkpoint-every", "0.01")
# What a process was doing: the first of these that occurs in its stack.
PLACES = {
    "checkpoint.py": "saving a checkpoint",
    "in write_bytes": "writing",
    "artefacts.py": "drawing artefacts",
    "in evaluate": "evaluation",
    "in _fit": "fit",
    "in _extracted": "between stages",
    "in _train": "training",
}


def working(folder: Path, row: str) -> psutil.Process | None:
    """Return the process that is running the trial of `row`, if there is one."""
    from aegen_bench.results import locks

    note = locks.whose(locks.lock_path(folder / "results", "kill", "digits", row, "seed-0"))
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(note["pid"]) if note else None
    return None


def spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def follow(folder: Path, row: str, runs: Sequence[Any]) -> Iterator[tuple[psutil.Process, float]]:
    """Repeatedly yield the process that is running the trial and the processor seconds that it has spent on it."""
    first: dict[int, float] = {}
    while any(run.exitcode is None for run in runs):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process := working(folder, row):
                yield process, spent(process) - first.setdefault(process.pid, spent(process))
            elif first:
                return
        time.sleep(0.01)


def place_of(process: psutil.Process, stacks: Path) -> str:
    """Make a process write its stack, and return which part of a trial it is in."""
    file = stacks / str(process.pid)
    before = file.stat().st_size if file.is_file() else 0
    process.send_signal(signal.SIGQUIT)
    for _ in range(6_000):  # a minute, since other work may keep the processors busy
        if file.is_file() and (text := file.read_text()[before:]).count("\n") > 3:
            return next((name for sign, name in PLACES.items() if sign in text), "beginning or end")
        time.sleep(0.01)
    return "unknown"


@dataclass
class Bench:
    """What all disturbances share: folders, expected results, durations, and a scheduler if one is needed."""

    root: Path
    stacks: Path
    dask: Dask | None = None
    expected: dict[str, dict[str, Any]] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)

    def leave_alone(self, row: str) -> None:
        """Run the trial of `row` undisturbed, unless this has been done, and keep its result in `expected`."""
        if row not in self.expected:
            alone = self.root / "alone"
            begin(alone if alone.is_dir() else prepare(alone), row).join()
            self.expected[row] = essence(alone, row)

    def lasts(self, row: str) -> float:
        """Return the processor seconds of an undisturbed trial of `row` that is saved as often as a disturbed one."""
        if row not in self.times:
            folder = prepare(Path(tempfile.mkdtemp(dir=self.root), "timed"))
            [run] = runs = self._begin("one", folder, [row])
            self.times[row] = max((cpu for _, cpu in follow(folder, row, runs)), default=1.0)
            run.join()
        return self.times[row]

    def disturb(self, how: str, rows: Sequence[str], share: float) -> tuple[str, str, bool]:
        """Disturb the trial of the first row, and let the next run finish all rows. Return what the trial was doing,
        the point from which it was resumed, and whether all results are equal.
        """
        for row in rows:
            self.leave_alone(row)
        folder = prepare(Path(tempfile.mkdtemp(dir=self.root), "work"))
        with small_disk(folder / "results") if how == "disk" else contextlib.nullcontext():
            where = self._fill(folder, rows, share) if how == "disk" else self._kill(how, folder, rows, share)
            begin(folder, ",".join(rows)).join()
            on = RESUMED.findall((trial(folder, rows[0]) / "log.txt").read_text())
            return where, "; ".join(on), all(essence(folder, row) == self.expected[row] for row in rows)

    def _begin(self, how: str, folder: Path, rows: Sequence[str]) -> list[Any]:
        args = {"jobs": ("--jobs", "2"), "dask": ("--cluster", self.dask.address if self.dask else "")}.get(how, ())
        return [begin(folder, ",".join(rows), *OFTEN, *args) for _ in range(2 if how == "two" else 1)]

    def _kill(self, how: str, folder: Path, rows: Sequence[str], share: float) -> str:
        moment = share * self.lasts(rows[0])
        runs, where = self._begin(how, folder, rows), "its end"
        for process, seconds in follow(folder, rows[0], runs):
            if seconds >= moment:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victims = [self.dask.parent_of(process.pid), process] if how == "dask" and self.dask else [process]
                    where = place_of(process, self.stacks)
                    for victim in victims:
                        victim.kill()
                break
        for run in runs:
            run.join()
        return where

    def _fill(self, folder: Path, rows: Sequence[str], share: float) -> str:
        """Leave from 1 kB to 100 MB free, depending on `share`, start a run, and return how it ended."""
        results, free = folder / "results", int(10 ** (3 + 5 * share))
        disk = os.statvfs(results)
        (results / "filler").write_bytes(bytes(disk.f_bavail * disk.f_frsize - free))
        run = begin(folder, ",".join(rows), *OFTEN)
        run.join()
        (results / "filler").unlink()
        half, told = list(results.rglob("*.tmp")), (folder / "log").read_text()
        assert not half and "Traceback" not in told, f"{half} {told}"
        return f"exit code {run.exitcode}"


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mount a file system of 110 MB in memory at `place`; this needs root."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=110m", "tmpfs", place], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@contextlib.contextmanager
def laboratory(how: Sequence[str]) -> Iterator[Bench]:
    """Context with a temporary folder, processes that write their stack on request, and dask workers if needed."""
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as held:
        bench = Bench(Path(root), Path(root, "stacks"))
        bench.stacks.mkdir()
        os.environ |= {"OMP_NUM_THREADS": "1", "TEST_STACKS": str(bench.stacks)}
        if "dask" in how:
            Path(root, "dask").mkdir()
            bench.dask = held.enter_context(scheduler(Path(root, "dask")))
            bench.dask.workers(2)
        yield bench


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="of each kind")
    parser.add_argument("--how", default=",".join(HOW))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    moments, unequal, kinds = random.Random(args.seed), 0, args.how.split(",")
    with laboratory(kinds) as bench:
        print(
            "| kind | row | share of its time | hit | went on after | equal |\n|---|---|---:|---|---|---|", flush=True
        )
        for how in kinds:
            hits = Counter[str]()
            for number in range(args.kills):
                rows = [ROWS[(number + i) % len(ROWS)] for i in range(1 if how in ("one", "disk") else 2)]
                share = moments.random()
                try:
                    where, on, equal = bench.disturb(how, rows, share)
                except subprocess.CalledProcessError as error:
                    print(f"{how}: left out, no file system can be mounted here: {error.stderr.decode().strip()}")
                    break
                hits[where] += 1
                unequal += not equal
                print(f"| {how} | {rows[0]} | {share:.2f} | {where} | {on} | {'yes' if equal else 'NO'} |", flush=True)
            print(f"{how}: " + ", ".join(f"{count} {where}" for where, count in hits.most_common()), flush=True)
    print(f"{unequal} unequal")
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
