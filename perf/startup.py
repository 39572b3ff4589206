"""Start-up time of the commands that train nothing, each in a new process.

python perf/startup.py [--quick] [--times 9]

Medians of wall-clock and CPU seconds. CPU seconds are more reliable on a busy machine.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile

from contest import ROOT, machine, options, seconds

COMMANDS = {"--help": 0.3, "list": 0.8, "doctor": None, "run --profile smoke --dry-run --no-forecast": None}


def once(command: str, folder: str) -> tuple[float, float]:
    """Return the wall-clock and CPU seconds of a command in an empty folder."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "AEGEN_BENCH_DATA": os.path.join(folder, "data")}
    call = [sys.executable, "-m", "aegen_bench", *command.split()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = seconds(lambda: subprocess.run(call, cwd=folder, env=env, check=True, capture_output=True))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--times", type=int, default=9)
    args = parser.parse_args()
    times = 2 if args.quick else args.times
    print(f"{machine()}; {times} times\n")
    print("| aegen-bench ... | wall s | of the processor s | target s |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for command, target in COMMANDS.items():
            once(command, folder)  # compiles what is not compiled yet
            walls, works = zip(*(once(command, folder) for _ in range(times)), strict=True)
            spent = f"{statistics.median(walls):.2f} | {statistics.median(works):.2f}"
            print(f"| {command} | {spent} | {target or ''} |", flush=True)


if __name__ == "__main__":
    main()
